//! `slipstream run`: executions of modules, from launch to removal.

mod disk;
mod end;
mod events;
mod launch;
mod life;
mod logs;
mod power;
mod reports;
mod resize;
mod retry;
mod save;
mod scale;
mod show;
mod update;

use std::{path::PathBuf, time::Duration};

use clap::{Subcommand, ValueEnum};
use slipstream_shared::id::InstanceId;

pub(crate) use self::{
    launch::{LaunchOptions, launch},
    show::results,
};
use crate::{args::duration, context::Context, exit::Exit};

/// Launches, shows and ends runs
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Starts a run of a module and prints its id
    #[command(after_help = "Examples:\n  slipstream run launch apps/lamp --cloud geneva --wait\n  \
        slipstream run launch apps/lamp@4 --cloud db=geneva --cloud web=local --count web=3 --set site_name=Book")]
    Launch {
        /// The module: path, or path@version
        module: String,
        #[command(flatten)]
        options: LaunchOptions,
        /// Show the progress until the run is Ready, then its results
        #[arg(long)]
        wait: bool,
    },
    /// Lists runs, newest first
    #[command(after_help = "Examples:\n  slipstream run list\n  slipstream run list --limit 5 -o json")]
    List {
        /// How many at most
        #[arg(long, default_value_t = 30)]
        limit: u32,
    },
    /// Shows a run: its state, its machines, what they wait for, its results
    #[command(after_help = "Example:\n  slipstream run show 1a2b3c4d")]
    Show {
        /// Id of the run, short or full
        run: String,
    },
    /// Prints what the scripts of a run have written
    #[command(after_help = "Examples:\n  slipstream run logs 1a2b3c4d\n  slipstream run logs 1a2b3c4d web.1 -f\n  \
        slipstream run logs 1a2b3c4d web.1 --step deploy >deploy.log")]
    Logs {
        /// Id of the run, short or full
        run: String,
        /// Only this instance
        instance: Option<InstanceId>,
        /// Only steps of this name; of one instance the output is then unchanged, without prefixes
        #[arg(long)]
        step: Option<String>,
        /// Go on until the run has ended
        #[arg(short, long)]
        follow: bool,
        /// Of an earlier launch of the instance, whose machine was replaced: 1 is the first
        #[arg(long, requires = "instance", conflicts_with = "follow")]
        attempt: Option<u32>,
    },
    /// Prints the events of a run, one on each line
    #[command(after_help = "Examples:\n  slipstream run events 1a2b3c4d\n  \
        slipstream run events 1a2b3c4d -f -o json | jq 'select(.kind == \"parameter_set\")'")]
    Events {
        /// Id of the run, short or full
        run: String,
        /// Go on until the run has ended
        #[arg(short, long)]
        follow: bool,
        /// Only those after this number
        #[arg(long, default_value_t = 0)]
        after: u64,
    },
    /// Shows the progress of a run until it is Ready, then its results
    #[command(after_help = "Examples:\n  slipstream run wait 1a2b3c4d --timeout 20m\n  \
        slipstream run wait 1a2b3c4d --for gone")]
    Wait {
        /// Id of the run, short or full
        run: String,
        /// What to wait for; gone: the run has ended and all its machines are removed
        #[arg(long = "for", value_enum, default_value_t)]
        goal: Goal,
        /// How long at most, as in 20m; then exit with 8, the run goes on
        #[arg(long, value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Gives nodes of a run that is Ready other numbers of instances
    #[command(after_help = "Examples:\n  slipstream run scale 1a2b3c4d web=5 db=2 --wait\n  \
        slipstream run scale 1a2b3c4d --remove web.2,web.4\n  slipstream run scale 1a2b3c4d web=0 --dry-run")]
    Scale {
        /// Id of the run, short or full
        run: String,
        #[command(flatten)]
        options: scale::ScaleOptions,
    },
    /// Runs a step of an instance again, and those after it, as they were or edited
    #[command(after_help = "Examples:\n  slipstream run retry 1a2b3c4d web.1 --from deploy --wait\n  \
        slipstream run retry 1a2b3c4d web.1 --from deploy --script deploy.sh")]
    Retry {
        /// Id of the run, short or full
        run: String,
        #[command(flatten)]
        options: retry::RetryOptions,
    },
    /// Saves scripts that were edited for a retry, and have succeeded, as a version of the module
    #[command(
        after_help = "Examples:\n  slipstream run save 1a2b3c4d\n  slipstream run save 1a2b3c4d --as apps/lamp-fixed"
    )]
    Save {
        /// Id of the run, short or full
        run: String,
        /// Under another path in the catalogue
        #[arg(long = "as", value_name = "PATH")]
        path: Option<String>,
    },
    /// Updates a run to another version of its module: only what differs is touched
    #[command(after_help = "Examples:\n  slipstream run update 1a2b3c4d apps/lamp@5 --dry-run\n  \
        slipstream run update 1a2b3c4d apps/lamp --wait")]
    Update {
        /// Id of the run, short or full
        run: String,
        #[command(flatten)]
        options: update::UpdateOptions,
    },
    /// Powers machines off; disks, names and values stay
    #[command(
        after_help = "Examples:\n  slipstream run stop 1a2b3c4d --wait\n  slipstream run stop 1a2b3c4d web.1 web.2"
    )]
    Stop {
        /// Id of the run, short or full
        run: String,
        #[command(flatten)]
        options: power::PowerOptions,
    },
    /// Powers machines on again
    #[command(after_help = "Example:\n  slipstream run start 1a2b3c4d --wait")]
    Start {
        /// Id of the run, short or full
        run: String,
        #[command(flatten)]
        options: power::PowerOptions,
    },
    /// Powers machines off and on again
    #[command(after_help = "Example:\n  slipstream run reboot 1a2b3c4d web.1 --wait")]
    Reboot {
        /// Id of the run, short or full
        run: String,
        #[command(flatten)]
        options: power::PowerOptions,
    },
    /// Gives machines another number of processors or more or less memory; they are powered off for it
    #[command(after_help = "Examples:\n  slipstream run resize 1a2b3c4d web.1 --cpu 2 --ram 4GiB --wait\n  \
        slipstream run resize 1a2b3c4d web --ram 8GiB --dry-run")]
    Resize {
        /// Id of the run, short or full
        run: String,
        #[command(flatten)]
        options: resize::ResizeOptions,
    },
    /// Adds, removes and lists disks of machines
    Disk {
        #[command(subcommand)]
        command: disk::DiskCommand,
    },
    /// Lists what was asked of a run since it was Ready, and the scripts that went with it
    #[command(after_help = "Example:\n  slipstream run operations 1a2b3c4d")]
    Operations {
        /// Id of the run, short or full
        run: String,
    },
    /// Ends runs and removes their machines
    #[command(after_help = "Example:\n  slipstream run terminate 1a2b3c4d --wait")]
    Terminate {
        /// Ids of the runs, short or full
        #[arg(required = true)]
        runs: Vec<String>,
        /// Until everything is gone
        #[arg(long)]
        wait: bool,
    },
    /// Says why a run is not where it is to be: what each machine lacks, since when, and until when
    #[command(after_help = "Example:\n  slipstream run why 1a2b3c4d")]
    Why {
        /// Id of the run, short or full
        run: String,
    },
    /// Says how long a run lives from now; then it is terminated
    #[command(after_help = "Examples:\n  slipstream run lease 1a2b3c4d 8h\n  \
        slipstream run lease 1a2b3c4d --end 2030-01-31T18:00:00Z\n  slipstream run lease 1a2b3c4d --never")]
    Lease {
        /// Id of the run, short or full
        run: String,
        /// From now, as in 8h
        #[arg(value_parser = duration, required_unless_present_any = ["end", "never"], conflicts_with_all = ["end", "never"])]
        within: Option<Duration>,
        /// When it ends: a time such as 2030-01-31T18:00:00Z, or `now`
        #[arg(long, value_parser = life::end)]
        end: Option<life::End>,
        /// It ends only when it is terminated
        #[arg(long, conflicts_with = "end")]
        never: bool,
    },
    /// Gives up on machines that cannot be removed: the run ends, and what it leaves is listed
    #[command(after_help = "Example:\n  slipstream run abandon 1a2b3c4d --yes")]
    Abandon {
        /// Id of the run, short or full
        run: String,
        /// Really: nobody will look after those machines any more
        #[arg(long)]
        yes: bool,
    },
    /// Aborts a run: its scripts end, what then stays is as its keep-running policy says
    #[command(after_help = "Examples:\n  slipstream run abort 1a2b3c4d 'wrong version'\n  \
        slipstream run abort 1a2b3c4d --cancel")]
    Abort {
        /// Id of the run, short or full
        run: String,
        /// Why
        #[arg(default_value = "aborted by hand")]
        reason: String,
        /// Take the abort back instead
        #[arg(long)]
        cancel: bool,
    },
    /// Lists the reports of a run, or saves them
    #[command(
        after_help = "Examples:\n  slipstream run reports 1a2b3c4d\n  slipstream run reports 1a2b3c4d -d reports/"
    )]
    Reports {
        /// Id of the run, short or full
        run: String,
        /// Save them in this folder, as INSTANCE.tar.gz
        #[arg(short, long)]
        dir: Option<PathBuf>,
    },
    /// Prints the console of a machine: what it wrote while it booted
    #[command(after_help = "Example:\n  slipstream run console 1a2b3c4d web.1")]
    Console {
        /// Id of the run, short or full
        run: String,
        /// The instance; may be left out where there is only one
        instance: Option<InstanceId>,
    },
}

/// What `run wait` waits for.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Goal {
    // No doc comments: they would make the --help long.
    #[default]
    Ready,
    Gone,
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let client = context.client()?;
    match command {
        Command::Launch { module, options, wait } => launch::run(context, client, &module, &options, wait).await,
        Command::List { limit } => show::list(context, &client, limit).await,
        Command::Show { run } => show::show(context, &client, &run).await,
        Command::Logs { run, instance, step, follow, attempt } => {
            logs::run(context, client, &run, &logs::Choice { instance, step, attempt }, follow).await
        }
        Command::Events { run, follow, after } => events::run(context, &client, &run, follow, after).await,
        Command::Wait { run, goal, timeout } => end::wait(context, client, &run, goal, timeout).await,
        Command::Scale { run, options } => scale::scale(context, client, &run, options).await,
        Command::Retry { run, options } => retry::run(context, client, &run, options).await,
        Command::Stop { run, options } => power::run(context, client, &run, "stop", options).await,
        Command::Start { run, options } => power::run(context, client, &run, "start", options).await,
        Command::Reboot { run, options } => power::run(context, client, &run, "reboot", options).await,
        Command::Resize { run, options } => resize::run(context, client, &run, options).await,
        Command::Disk { command } => disk::run(context, client, command).await,
        Command::Update { run, options } => update::run(context, client, &run, options).await,
        Command::Save { run, path } => save::run(context, &client, &run, path).await,
        Command::Operations { run } => scale::operations(context, &client, &run).await,
        Command::Terminate { runs, wait } => end::terminate(context, client, &runs, wait).await,
        Command::Why { run } => life::why(context, &client, &run).await,
        Command::Lease { run, within, end, never } => {
            life::lease(context, &client, &run, &life::request(within, end, never)).await
        }
        Command::Abandon { run, yes } => life::abandon(context, &client, &run, yes).await,
        Command::Abort { run, reason, cancel } => end::abort(context, &client, &run, &reason, cancel).await,
        Command::Reports { run, dir } => reports::run(context, &client, &run, dir.as_deref()).await,
        Command::Console { run, instance } => reports::console(context, &client, &run, instance).await,
    }
}
