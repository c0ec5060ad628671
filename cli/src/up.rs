//! `slipstream up`: from a folder of module files to a running application in one command, and back.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Duration,
};

use slipstream_shared::{
    api::{LaunchRequest, RunDetail},
    client::Client,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use crate::{
    context::{Context, connect},
    coordinator::Started,
    exit::{Exit, fail},
    output::Tone,
    profile::Profile,
    run::{LaunchOptions, launch, results},
    source::{self, Source},
    watch::{Until, Watch},
};

/// Deploys the application of a folder of module files and shows how it goes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Uses the configured coordinator. Where there is none it starts one for itself, stays until Ctrl-C, and then
removes everything.\n\nExamples:\n  slipstream up examples/service-testing-processes\n  \
    slipstream up examples/service-testing-busybox --images images/ --down\n  \
    slipstream up shop/app.yaml --cloud geneva --set size=small")]
pub(crate) struct Command {
    /// Folder of module files, or the file of the application in such a folder
    path: PathBuf,
    #[command(flatten)]
    options: LaunchOptions,
    /// Remove everything once the results are shown
    #[arg(long)]
    down: bool,
    /// Folder of images for virtual machines on this machine, for a coordinator that is started
    #[arg(long, value_name = "DIR", help_heading = "Coordinator")]
    images: Option<PathBuf>,
    /// Where a coordinator that is started keeps its data; else it forgets everything in the end
    #[arg(long, value_name = "DIR", help_heading = "Coordinator")]
    data: Option<PathBuf>,
}

/// What was brought into the world, and has to go again.
struct Session<'a> {
    context: &'a Context,
    interrupts: Interrupts,
    coordinator: Option<Started>,
    client: Option<Client>,
    watch: Option<Watch<'a>>,
    short: String,
    interrupted: bool,
}

/// Ctrl-C, and its kin from outside a terminal.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> std::io::Result<Self> {
        let [a, b, c] = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Ok(Interrupts([signal(a)?, signal(b)?, signal(c)?]))
    }

    async fn next(&mut self) {
        let [a, b, c] = &mut self.0;
        tokio::select! { _ = a.recv() => {}, _ = b.recv() => {}, _ = c.recv() => {} }
    }
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let (sources, application) = choose(&command.path)?;
    let mut session = Session {
        context,
        interrupts: Interrupts::new()?,
        coordinator: None,
        client: None,
        watch: None,
        short: String::new(),
        interrupted: false,
    };
    let result = session.deploy(&command, sources, &application).await;
    let stays = session.coordinator.is_none() && !command.down && !session.interrupted && result.is_ok();
    if let Err(error) = &result {
        // Before the cleaning up, which may take a while.
        context.report(error);
    }
    let clean = if stays { Ok(()) } else { session.clean().await };
    if session.interrupted && session.watch.as_ref().is_none_or(|w| w.progress.ready_after().is_none()) {
        return clean.map(|()| Exit::Interrupted);
    }
    match result {
        Err(error) => Ok(crate::exit::of(&error)),
        Ok(exit) => clean.map(|()| exit),
    }
}

/// Removes the runs that were launched beside ours: without their coordinator nobody could.
async fn others(context: &Context, client: &Client) -> anyhow::Result<()> {
    let mut told = HashSet::new();
    loop {
        let runs = client.runs(None, 500).await?.items;
        let left: Vec<_> = runs.into_iter().filter(|run| !run.state.is_final()).map(|run| run.id).collect();
        if left.is_empty() {
            return Ok(());
        }
        for run in left.into_iter().filter(|run| told.insert(*run)) {
            context.screen.message(&format!("Removing run {}, launched beside it.", run.short()));
            client.terminate(&run.to_string()).await?;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// The files to save, and the module to launch.
fn choose(path: &Path) -> anyhow::Result<(Vec<Source>, String)> {
    let is_file = path.is_file();
    let folder = if is_file { path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new(".")) } else { path };
    let mut sources = source::folder(folder)?;
    if is_file {
        let chosen = source::read(path)?;
        let name = chosen.name.clone();
        sources.retain(|s| s.kind != "application" && s.name != name);
        sources.push(chosen);
        return Ok((source::in_order(sources), name));
    }
    let applications: Vec<&Source> = sources.iter().filter(|s| s.kind == "application").collect();
    let place = folder.display();
    let name = match (applications.as_slice(), sources.as_slice()) {
        ([one], _) => one.name.clone(),
        ([], [one]) => one.name.clone(),
        ([], []) => {
            return Err(fail(Exit::Usage, format!("there is no module file (*.yaml with `slipstream: 1`) in {place}")));
        }
        ([], _) => {
            return Err(fail(Exit::Usage, format!("there is no application in {place}; give the file to launch")));
        }
        (several, _) => {
            let files: Vec<String> = several.iter().map(|s| s.file.display().to_string()).collect();
            let text = format!("there are several applications in {place}; give one of: {}", files.join(", "));
            return Err(fail(Exit::Usage, text));
        }
    };
    Ok((source::in_order(sources), name))
}

impl Session<'_> {
    /// Brings the application up and stays as long as it is to stay.
    async fn deploy(&mut self, command: &Command, sources: Vec<Source>, module: &str) -> anyhow::Result<Exit> {
        let Some(client) = self.coordinator(command).await? else { return Ok(Exit::Interrupted) };
        let Some(()) = self.save(&client, sources).await? else { return Ok(Exit::Interrupted) };
        let (keys, asked) = (command.options.keys.clone(), client.clone());
        let context = self.context;
        let Some(ssh_keys) = self.guard(async { keys.read(context, &asked).await }).await? else {
            return Ok(Exit::Interrupted);
        };
        let run = self.launch(&client, &command.options.request(module, ssh_keys)?).await?;
        if self.interrupted {
            return Ok(Exit::Interrupted);
        }
        let Some(exit) = self.watch(Until::Ready).await? else { return Ok(Exit::Interrupted) };
        let short = run.summary.id.short();
        if let Some(watch) = &self.watch {
            let run = results(self.context, &client, &short, &watch.progress).await?;
            self.look_further(command, &run);
        }
        if self.coordinator.is_some() && !command.down {
            self.watch(Until::Gone).await?;
        }
        Ok(exit)
    }

    /// Does something unless interrupted (none), or left alone by a coordinator of ours (an error).
    async fn guard<T>(&mut self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<Option<T>> {
        let died = async {
            match &mut self.coordinator {
                Some(coordinator) => coordinator.died().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = work => result.map(Some),
            error = died => Err(error),
            () = self.interrupts.next() => {
                self.interrupted = true;
                Ok(None)
            }
        }
    }

    /// The configured coordinator, or one of our own.
    async fn coordinator(&mut self, command: &Command) -> anyhow::Result<Option<Client>> {
        let (screen, global) = (&self.context.screen, &self.context.global);
        if Profile::is_configured(global) {
            let client = connect(&Profile::find(global)?)?;
            let probe = client.clone();
            match self.guard(async move { Ok(probe.health().await?) }).await {
                Ok(Some(_)) => {
                    self.say("Coordinator", client.url());
                    self.client = Some(client.clone());
                    return Ok(Some(client));
                }
                Ok(None) => return Ok(None),
                Err(error) if Profile::is_explicit(global) || crate::exit::of(&error) != Exit::Unreachable => {
                    return Err(error);
                }
                Err(error) => {
                    screen.message(&format!("The configured coordinator is not there ({error}); starting one."))
                }
            }
        }
        let coordinator = self.coordinator.insert(Started::start(command.data.as_deref(), command.images.as_deref())?);
        let client = tokio::select! {
            client = coordinator.ready() => client?,
            () = self.interrupts.next() => {
                self.interrupted = true;
                return Ok(None);
            }
        };
        let log = coordinator.log();
        self.say("Coordinator", &format!("{}, started for this; log: {}", client.url(), log.display()));
        self.client = Some(client.clone());
        Ok(Some(client))
    }

    async fn save(&mut self, client: &Client, sources: Vec<Source>) -> anyhow::Result<Option<()>> {
        let mut saved = Vec::new();
        for source in sources {
            let Some(module) = self.guard(source.put(client, "", None)).await? else { return Ok(None) };
            saved.push(format!("{}@{}", module.path, module.version));
        }
        self.say("Modules", &saved.join("\n             "));
        Ok(Some(()))
    }

    /// Launches, whatever happens: an unanswered launch could not be removed again.
    async fn launch(&mut self, client: &Client, request: &LaunchRequest) -> anyhow::Result<RunDetail> {
        let mut launching = std::pin::pin!(launch(client, request));
        let run = loop {
            tokio::select! {
                run = &mut launching => break run?,
                () = self.interrupts.next(), if !self.interrupted => self.interrupted = true,
            }
        };
        self.short = run.summary.id.short();
        self.say("Run", &format!("{} of {}\n", self.short, run.summary.module));
        self.watch = Some(Watch::new(self.context, client.clone(), &run));
        Ok(run)
    }

    async fn watch(&mut self, until: Until) -> anyhow::Result<Option<Exit>> {
        let Some(mut watch) = self.watch.take() else { return Ok(None) };
        let result = self.guard(watch.until(until)).await;
        self.watch = Some(watch);
        result
    }

    /// Removes the run and, if the coordinator is ours, whatever else it runs; then stops it. A further
    /// interruption ends that.
    async fn clean(&mut self) -> anyhow::Result<()> {
        let screen = &self.context.screen;
        let mut end = Ok(());
        if let (Some(client), Some(watch)) = (&self.client, &mut self.watch)
            && !watch.progress.state().is_final()
        {
            screen.message("\nRemoving everything; once more Ctrl-C gives up on that.");
            let removal = async {
                client.terminate(&self.short).await?;
                watch.until(Until::Gone).await
            };
            end = tokio::select! {
                result = removal => result.map(drop),
                () = self.interrupts.next() => return Err(self.give_up().await),
            };
        }
        if let (Some(client), Some(_), Ok(())) = (&self.client, &self.coordinator, &end) {
            end = tokio::select! {
                result = others(self.context, client) => result,
                () = self.interrupts.next() => return Err(self.give_up().await),
            };
        }
        if let Some(coordinator) = &mut self.coordinator {
            if end.is_err() {
                coordinator.keep();
            }
            tokio::select! {
                stopped = coordinator.stop() => if !stopped {
                    screen.error("The coordinator did not stop in time and was killed.");
                },
                () = self.interrupts.next() => return Err(self.give_up().await),
            }
        }
        end.map_err(|error| error.context(self.left()))
    }

    async fn give_up(&mut self) -> anyhow::Error {
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.kill().await;
        }
        fail(Exit::Interrupted, self.left())
    }

    /// What may still be there.
    fn left(&self) -> String {
        match (&self.coordinator, self.short.is_empty()) {
            (None, _) => format!("run {0} may not be gone; try again: slipstream run terminate {0} --wait", self.short),
            (Some(_), _) if self.watch.as_ref().is_some_and(|w| w.progress.state().is_final()) => {
                format!("run {} is gone; others that were launched beside it may not be", self.short)
            }
            (Some(_), true) => "the coordinator was killed; there was no run".to_owned(),
            (Some(coordinator), false) => format!(
                "not everything is known to be gone: machines and processes whose names begin with ss-{}- may be left; \
                 what the coordinator did is in {}",
                self.short,
                coordinator.log().display()
            ),
        }
    }

    fn look_further(&self, command: &Command, run: &RunDetail) {
        let screen = &self.context.screen;
        if command.down {
            return;
        }
        let short = run.summary.id.short();
        screen.message(&format!("\n{}", screen.err.tone(Tone::Strong, "Look further")));
        if let Some(coordinator) = &self.coordinator {
            screen.message("  In another terminal:");
            screen.message(&format!("  export SLIPSTREAM_PROFILE={}", coordinator.profile().display()));
        }
        let line = |command: &str, what: &str| screen.message(&format!("  {command:<40}  {what}"));
        line(&format!("slipstream run show {short}"), "its machines, and what they wait for");
        line(&format!("slipstream run logs {short}"), "what its scripts have written");
        line(&format!("slipstream param list {short}"), "the values its machines have exchanged");
        if let Some(node) = run.nodes.iter().find(|node| node.ssh.is_some()) {
            line(&format!("slipstream ssh {short} {}", node.instance), "a shell on a machine");
        }
        match &self.coordinator {
            Some(_) => screen.message("\nCtrl-C removes everything."),
            None => line(&format!("slipstream run terminate {short}"), "removes everything"),
        }
    }

    fn say(&self, name: &str, text: &str) {
        let screen = &self.context.screen;
        screen.message(&format!("{}{text}", screen.err.tone(Tone::Dim, &format!("{name:<13}"))));
    }
}
