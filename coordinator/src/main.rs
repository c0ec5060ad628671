//! The program: parse, start, run until a signal.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use slipstream_coordinator::{
    RunningCoordinator, backup, check,
    cli::{Cli, Command, Serve},
    config::Config,
    files::{self, SECRET},
    seam::Seam,
    shutdown::Signals,
    start,
};
use tracing_subscriber::EnvFilter;

/// A fifth less processor time than with the C library's, see docs/performance.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("slipstream-coordinator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::CheckConfig { config } => {
            check(&Config::load(&config)?, &Seam::real())?;
            println!("{} is good", config.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Backup { file, of } => {
            log_to_stderr(&cli.log)?;
            let count = runtime()?.block_on(backup::backup(&of.path()?, &file))?;
            println!("{}: {count} entries and files", file.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Restore { file, of } => {
            log_to_stderr(&cli.log)?;
            let data = of.path()?;
            let count = runtime()?.block_on(backup::restore(&file, &data))?;
            println!("{}: {count} entries and files", data.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve(options) => {
            log_to_stderr(&cli.log)?;
            raise_open_files();
            let runtime = runtime()?;
            let code = runtime.block_on(serve(&options));
            // Whatever has not ended within the grace period is not waited for again.
            runtime.shutdown_background();
            code
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Each machine of a run holds a connection open: as many as the system allows.
fn raise_open_files() {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => return tracing::warn!("cannot read the limit of open files: {error}"),
    };
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        tracing::warn!("cannot raise the limit of open files from {soft} to {hard}: {error}");
    }
}

fn log_to_stderr(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).context("--log is not a filter")?;
    let ansi = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    if ansi {
        log.with_target(false).init();
    } else {
        // The journal has the time already.
        log.with_target(false).without_time().init();
    }
    Ok(())
}

async fn serve(options: &Serve) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let scratch = options.options.ephemeral.then(scratch_folder).transpose()?;
    let config = match &options.config {
        Some(file) => Config::load(file)?,
        None => options.options.config(scratch.clone()).context("no home folder: give --data")?,
    };
    let data = config.data.clone();
    let coordinator = start(config, Seam::real()).await?;
    if options.dev {
        greet(&coordinator, &data)?;
    } else {
        tracing::info!(token = %data.join("admin-token").display(), "the administrator's token is in this file");
    }
    tracing::info!(api = %coordinator.api_addr, agents = %coordinator.agent_addr, "ready");
    let signal = signals.next().await;
    tracing::info!("{signal}: stopping; a second signal stops at once");
    let stopped = tokio::select! {
        stopped = coordinator.stop() => stopped,
        _ = signals.next() => false,
    };
    if let Some(scratch) = scratch {
        let _ = std::fs::remove_dir_all(scratch);
    }
    Ok(if stopped { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the profile of the command line, and says what a person needs to go on.
fn greet(coordinator: &RunningCoordinator, data: &Path) -> anyhow::Result<()> {
    let url = format!("https://{}", coordinator.api_addr);
    let token = &coordinator.admin_token;
    let profile = data.join("cli.toml");
    let text = format!(
        "# Made by slipstream-coordinator serve --dev at each start.\n\
         url = \"{url}\"\ntoken = \"{token}\"\nauthority = \"\"\"\n{}\"\"\"\n",
        coordinator.authority()
    );
    files::write_atomic(&profile, text.as_bytes(), SECRET)
        .with_context(|| format!("cannot write {}", profile.display()))?;
    let profile = profile.display();
    // A terminal is a person's; anything else may be a log.
    let token = if std::io::stdout().is_terminal() { token } else { "(in the profile)" };
    println!("url      {url}\ntoken    {token}\nprofile  {profile}\nnext     slipstream profile use {profile}");
    Ok(())
}

fn scratch_folder() -> anyhow::Result<PathBuf> {
    let mut random = [0; 6];
    Seam::real().fill(&mut random);
    let name = format!("slipstream-dev-{}", slipstream_coordinator::pki::hex(&random));
    let path = std::env::temp_dir().join(name);
    files::private_folder(&path)?;
    Ok(path)
}
