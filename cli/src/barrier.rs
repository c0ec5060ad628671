//! `slipstream barrier`: where the instances of a run meet.

use std::time::Duration;

use clap::Subcommand;
use slipstream_shared::{api::Page, meeting::MeetingName};

use crate::{
    args::duration,
    context::Context,
    exit::Exit,
    output::Tone,
    table::{Cell, Table},
};

/// Shows where the instances of a run meet, and meets them there
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the barriers of a run, with who has arrived
    #[command(after_help = "Example:\n  slipstream barrier list 1a2b3c4d")]
    List {
        /// Id of the run, short or full
        run: String,
    },
    /// Waits until a barrier opens; ends with 8 when it does not in time
    #[command(
        after_help = "Without --count it only looks on. With it, this user is one of those who arrive, once.\n\n\
        Examples:\n  slipstream barrier wait 1a2b3c4d schema\n  \
        slipstream barrier wait 1a2b3c4d go --count 4 --timeout 20m"
    )]
    Wait {
        /// Id of the run, short or full
        run: String,
        /// Its name, the same as on the machines
        name: MeetingName,
        /// Arrive as one of so many
        #[arg(long, value_name = "N")]
        count: Option<u32>,
        /// How long at most, as in 20m; then exit with 8
        #[arg(long, value_parser = duration)]
        timeout: Option<Duration>,
        /// Go on waiting when the run is aborted
        #[arg(long)]
        ignore_abort: bool,
    },
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let client = context.client()?;
    match command {
        Command::List { run } => list(context, &run).await?,
        Command::Wait { run, name, count, timeout, ignore_abort } => {
            let barrier = client.meet(&run, &name, count, ignore_abort, timeout.unwrap_or(Duration::MAX)).await?;
            if context.screen.is_json() {
                context.screen.json(&barrier)?;
            }
        }
    }
    Ok(Exit::Done)
}

async fn list(context: &Context, run: &str) -> anyhow::Result<()> {
    let items = context.client()?.barriers(run).await?;
    if context.screen.is_json() {
        context.screen.json(&Page { items, next: None })?;
        return Ok(());
    }
    let mut table = Table::new(&["BARRIER", "FOR", "OPEN SINCE", "ARRIVED"]);
    for barrier in &items {
        let open = barrier.open.map_or(Cell::toned("(not open)", Tone::Warn), |at| at.to_string().into());
        let arrived: Vec<String> = barrier.arrived.iter().map(ToString::to_string).collect();
        table.row([
            barrier.name.to_string().into(),
            barrier.parties.to_string().into(),
            open,
            arrived.join(", ").into(),
        ]);
    }
    context.screen.table(&table, "No barriers.")?;
    Ok(())
}
