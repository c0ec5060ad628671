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

/// Shows which instances of a run lead
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists what is led in a run, by whom and since when
    #[command(after_help = "Example:\n  slipstream lead list 1a2b3c4d")]
    List {
        /// Id of the run, short or full
        run: String,
    },
    /// Waits until you lead, or keeps your lead, and prints its number
    #[command(
        after_help = "Example:\n  slipstream lead take 1a2b3c4d migrate --for 5m && ./migrate && slipstream lead end 1a2b3c4d migrate"
    )]
    Take {
        /// Id of the run, short or full
        run: String,
        /// What is led
        name: MeetingName,
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
        Command::Take { run, name, seconds, timeout } => return take(context, &run, &name, seconds, timeout).await,
        Command::End { run, name } => context.client()?.end_lead(&run, &name).await?,
    }
    Ok(Exit::Done)
}

async fn take(context: &Context, run: &str, name: &MeetingName, seconds: u64, timeout: u64) -> anyhow::Result<Exit> {
    let lead = context.client()?.lead(run, name, seconds, false, Duration::from_secs(timeout)).await?;
    if context.screen.is_json() {
        context.screen.json(&lead)?;
    } else {
        println!("{}", lead.number);
    }
    Ok(Exit::Done)
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
