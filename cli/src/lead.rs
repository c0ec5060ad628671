//! `slipstream lead`: which instances of a run lead.

use std::time::Duration;

use clap::Subcommand;
use slipstream_shared::{api::Page, meeting::MeetingName, module::units};

use crate::{
    context::Context,
    exit::Exit,
    output::Tone,
    table::{Cell, Table},
};

/// Shows who leads what in a run, and leads there
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists what is led in a run, by whom and since when
    #[command(after_help = "Example:\n  slipstream lead list 1a2b3c4d")]
    List {
        /// Id of the run, short or full
        run: String,
    },
    /// Waits until a program of yours leads, or keeps its lead, and prints its number
    #[command(
        after_help = "Example:\n  slipstream lead take 1a2b3c4d migrate --for 5m && ./migrate && slipstream lead end 1a2b3c4d migrate"
    )]
    Take {
        /// Id of the run, short or full
        run: String,
        /// What is led
        name: MeetingName,
        /// Name of the program that leads; else the host and the process that has started this one, such as a
        /// script
        #[arg(long = "as", value_name = "PROGRAM")]
        program: Option<MeetingName>,
        /// For how long, at most 1h; take it again before that to keep it
        #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = units::duration)]
        seconds: u64,
        /// How long to wait for it
        #[arg(long, value_name = "TIME", default_value = "5m", value_parser = units::duration)]
        timeout: u64,
    },
    /// Takes a lead away from its leader; the instance that has waited longest gets it
    #[command(after_help = "Example:\n  slipstream lead end 1a2b3c4d primary")]
    End {
        /// Id of the run, short or full
        run: String,
        /// What is led
        name: MeetingName,
    },
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List { run } => list(context, &run).await?,
        Command::Take { run, name, program, seconds, timeout } => {
            let program = program.map_or_else(caller, Ok)?;
            let within = Duration::from_secs(timeout);
            let lead = context.client()?.lead(&run, &name, &program, seconds, false, within).await?;
            if context.screen.is_json() {
                context.screen.json(&lead)?;
            } else {
                println!("{}", lead.number);
            }
        }
        Command::End { run, name } => context.client()?.end_lead(&run, &name).await?,
    }
    Ok(Exit::Done)
}

/// A name for who has started this command, the same for all commands of one script.
fn caller() -> anyhow::Result<MeetingName> {
    let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let host: String = host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Ok(format!("p{}.{host}", nix::unistd::getppid()).parse()?)
}

async fn list(context: &Context, run: &str) -> anyhow::Result<()> {
    let items = context.client()?.leads(run).await?;
    if context.screen.is_json() {
        context.screen.json(&Page { items, next: None })?;
        return Ok(());
    }
    let mut table = Table::new(&["LEAD", "NUMBER", "LEADER", "SINCE"]);
    for lead in &items {
        let leader = match &lead.leader {
            None => Cell::toned("(nobody)", Tone::Dim),
            Some(leader) if lead.silent => Cell::toned(format!("{leader} (silent)"), Tone::Warn),
            Some(leader) => leader.to_string().into(),
        };
        table.row([
            lead.name.to_string().into(),
            lead.number.to_string().into(),
            leader,
            lead.since.to_string().into(),
        ]);
    }
    context.screen.table(&table, "Nobody leads anything.")?;
    Ok(())
}
