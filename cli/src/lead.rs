//! `slipstream lead`: which instances of a run lead.

use clap::Subcommand;
use slipstream_shared::{api::Page, meeting::MeetingName};

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
        Command::End { run, name } => context.client()?.end_lead(&run, &name).await?,
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
