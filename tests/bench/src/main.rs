//! Measures the coordinator, beside etcd where both can do the same.
//!
//! One load generator for both sides, on one machine, in rounds that alternate: what counts are the ratios
//! of a round, for the machine itself may be slower in the next one. Results go to `target/bench.jsonl`, one
//! JSON object per line, and into docs/performance.md.
//!
//! The coordinator that is measured is `slipstream-bench coordinator`: the library as the program starts it,
//! with a cloud whose machines are played by `slipstream-bench fleet`. Neither shares a process with the load.

mod agent;
mod cloud;
mod connection;
mod etcd;
mod fleet;
mod grpc;
mod ours;
mod process;
mod report;
mod rest;
mod row;
mod scene;
mod serve;
mod traffic;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

/// That of the coordinator, which is measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "slipstream-bench", about = "Measures the coordinator, beside etcd where both can do the same")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, and writes down what came of it
    Run(Run),
    /// Has runs come and go at half the greatest rate, and says whether memory and files stay flat
    Soak(Soak),
    /// Makes table and plot of what was measured
    Report {
        /// The measurements
        #[arg(long, default_value = "target/bench.jsonl")]
        rows: PathBuf,
        /// The document with the place for the table; the plot goes beside it
        #[arg(long, default_value = "docs/performance.md")]
        into: PathBuf,
    },
    /// Is the coordinator that is measured (started by `run`)
    #[command(hide = true)]
    Coordinator {
        /// Its configuration
        config: PathBuf,
    },
    /// Plays machines whose contexts come in at standard input (started by `run`)
    #[command(hide = true)]
    Fleet,
}

/// What to measure.
#[derive(Args, Clone)]
pub(crate) struct Run {
    /// Less of everything: under three minutes
    #[arg(long)]
    quick: bool,
    /// Only the scenes with these names
    #[arg(long, value_name = "SCENE", value_delimiter = ',')]
    only: Vec<String>,
    /// Where the servers keep their data: the disk that is measured
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
    /// Where the measurements go
    #[arg(long, default_value = "target/bench.jsonl")]
    rows: PathBuf,
    /// The agent as it goes into images
    #[arg(long)]
    agent: Option<PathBuf>,
}

/// How long to go on.
#[derive(Args, Clone)]
pub(crate) struct Soak {
    /// Seconds
    #[arg(long, default_value_t = 1200)]
    seconds: u64,
    /// Where the coordinator keeps its data
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slipstream-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    process::raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command {
        Command::Run(run) => runtime.block_on(scene::play(&run)),
        Command::Soak(soak) => runtime.block_on(scene::soak(&soak)),
        Command::Report { rows, into } => report::write(&rows, &into),
        Command::Coordinator { config } => runtime.block_on(serve::serve(&config)),
        Command::Fleet => runtime.block_on(fleet::play()),
    }
}
