//! `slipstream audit`: who did what.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use slipstream_shared::api::{AuditEntry, Page};

use crate::{
    args::duration,
    context::Context,
    exit::Exit,
    output::Tone,
    table::{Cell, Table},
};

/// Lists who did what, when, from where, and what came of it; who is no administrator sees what they did
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  slipstream audit\n  slipstream audit --since 30d --user ann --failed\n  \
    slipstream audit --since 7d --on 01890a5d-ac96-774b-bcce-b302099a8057")]
pub(crate) struct Command {
    /// Not longer ago than that
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = duration)]
    since: Duration,
    /// Only of this user
    #[arg(long)]
    user: Option<String>,
    /// Only of this kind, such as launch_run
    #[arg(long)]
    action: Option<String>,
    /// Only about this: the full id of a run, a module as path@version, a user, a group
    #[arg(long, value_name = "WHAT")]
    on: Option<String>,
    /// Only what was refused or failed
    #[arg(long)]
    failed: bool,
    /// The most entries to show
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let filters = [
        ("since", Some((Timestamp::now() - jiff::SignedDuration::try_from(command.since)?).to_string())),
        ("user", command.user),
        ("action", command.action),
        ("on", command.on),
        ("failed", command.failed.then(|| "true".to_owned())),
    ];
    let mut items: Vec<AuditEntry> = Vec::new();
    let mut next = None;
    loop {
        let given = filters.iter().map(|(name, value)| (*name, value.as_deref())).chain([("after", next.as_deref())]);
        let page = client.audit(&given.filter_map(|(name, value)| Some((name, value?))).collect::<Vec<_>>()).await?;
        items.extend(page.items);
        next = page.next;
        if next.is_none() || items.len() >= command.limit {
            break;
        }
    }
    if items.len() > command.limit || next.is_some() {
        context.screen.message("There are more; show them with a larger --limit");
    }
    items.truncate(command.limit);
    show(context, items)
}

fn show(context: &Context, items: Vec<AuditEntry>) -> anyhow::Result<Exit> {
    if context.screen.is_json() {
        context.screen.json(&Page { items, next: None })?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["WHEN", "WHO", "FROM", "WHAT", "ON", "RESULT"]);
    for entry in &items {
        let result = entry.code.clone().unwrap_or_else(|| "done".to_owned());
        table.row([
            format!("{:.0}", entry.at).into(),
            entry.user.as_deref().unwrap_or("(nobody)").into(),
            (&entry.address).into(),
            (&entry.action).into(),
            entry.on.as_deref().unwrap_or_default().into(),
            Cell::toned(result, if entry.status < 400 { Tone::Plain } else { Tone::Warn }),
        ]);
    }
    context.screen.table(&table, "Nothing was done in that time.")?;
    Ok(Exit::Done)
}
