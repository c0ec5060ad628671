//! `slipstream param`: the values by which the instances of a run talk to each other.

use std::{path::PathBuf, time::Duration};

use clap::Subcommand;
use slipstream_shared::{api::Page, condition::Condition, parameter::Key};

use crate::{
    args::{duration, from_file},
    context::Context,
    exit::{Exit, fail},
    output::Tone,
    table::{Cell, Table},
};

/// Reads and writes parameters of runs
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prints the value of a parameter; ends with 3 when it is not set
    #[command(after_help = "Examples:\n  slipstream param get 1a2b3c4d ss:url.service\n  \
        slipstream param get 1a2b3c4d db.1:port --wait 5m")]
    Get {
        /// Id of the run, short or full
        run: String,
        /// Such as ss:state, web.1:port, or web:port for that of web.1
        #[arg(value_parser = key)]
        key: Key,
        /// Wait this long for it to be set, then end with 8
        #[arg(long, value_parser = duration)]
        wait: Option<Duration>,
        /// Show the value of a secret, to the owner of the run; the coordinator's log tells that it was shown
        #[arg(long, conflicts_with = "wait")]
        reveal: bool,
    },
    /// Waits until conditions hold, all at the same time; ends with 8 when they do not in time
    #[command(
        after_help = "Conditions: KEY is set; KEY=VALUE; KEY~PATTERN, a part of it matches; KEY@REVISION, it was \
        written since; for a node 'web[*]:KEY' of all, 'web[any]:KEY' of one, 'web[2+]:KEY' of at least two instances.\n\n\
        Examples:\n  slipstream param wait 1a2b3c4d db.1:ready\n  \
        slipstream param wait 1a2b3c4d 'web[*]:state=up' 'db.1:version~^1[.]' --timeout 5m"
    )]
    Wait {
        /// Id of the run, short or full
        run: String,
        /// Such as db.1:ready or 'web[*]:state=up'
        #[arg(required = true, value_parser = condition)]
        conditions: Vec<Condition>,
        /// How long at most, as in 20m; then exit with 8
        #[arg(long, value_parser = duration)]
        timeout: Option<Duration>,
        /// Go on waiting when the run is aborted
        #[arg(long)]
        ignore_abort: bool,
    },
    /// Gives a parameter a value
    #[command(after_help = "Examples:\n  slipstream param set 1a2b3c4d web.1:debug true\n  \
        slipstream param set 1a2b3c4d ss:db_password --file password.txt")]
    Set {
        /// Id of the run, short or full
        run: String,
        /// Such as web.1:port
        #[arg(value_parser = key)]
        key: Key,
        /// The value
        #[arg(allow_hyphen_values = true, required_unless_present = "file")]
        value: Option<String>,
        /// Take the value from this file, as it is; - is standard input. For secrets: others can see arguments
        #[arg(long, conflicts_with = "value")]
        file: Option<PathBuf>,
        /// Only if it still has this revision (0: was never written), else end with 5
        #[arg(long, value_name = "N")]
        if_revision: Option<u64>,
    },
    /// Shows the last values a parameter had, newest first
    #[command(after_help = "Example:\n  slipstream param history 1a2b3c4d web.1:port")]
    History {
        /// Id of the run, short or full
        run: String,
        /// Such as web.1:port
        #[arg(value_parser = key)]
        key: Key,
    },
    /// Takes the value of a parameter away
    #[command(after_help = "Example:\n  slipstream param unset 1a2b3c4d web.1:debug")]
    Unset {
        /// Id of the run, short or full
        run: String,
        /// Such as web.1:port
        #[arg(value_parser = key)]
        key: Key,
    },
    /// Lists the parameters of a run
    #[command(after_help = "Examples:\n  slipstream param list 1a2b3c4d\n  slipstream param list 1a2b3c4d web.1:")]
    List {
        /// Id of the run, short or full
        run: String,
        /// Only those whose key begins so
        #[arg(default_value = "")]
        prefix: String,
    },
}

fn condition(text: &str) -> Result<Condition, String> {
    Condition::qualify(text, None).map_err(|e| e.to_string())
}

fn key(text: &str) -> Result<Key, String> {
    Key::qualify(text, None).map_err(|e| e.to_string())
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let client = context.client()?;
    match command {
        Command::Get { run, key, wait, reveal } => {
            let parameter = match wait {
                None if reveal => client.reveal(&run, &key).await?,
                Some(wait) => client.wait_parameter(&run, &key, wait).await?,
                None => client.parameter(&run, &key).await?,
            };
            if context.screen.is_json() {
                context.screen.json(&parameter)?;
            }
            match parameter.value {
                Some(value) if !context.screen.is_json() => context.screen.line(&value)?,
                Some(_) => {}
                None if parameter.broken.is_some() => {
                    return Err(fail(Exit::NotFound, parameter.broken.unwrap_or_default()));
                }
                None => {
                    return Err(fail(Exit::NotFound, format!("{key} of run {run} is not set; --wait 5m waits for it")));
                }
            }
        }
        Command::Wait { run, conditions, timeout, ignore_abort } => {
            let answer = client.wait(&run, &conditions, ignore_abort, timeout.unwrap_or(Duration::MAX)).await?;
            if context.screen.is_json() {
                context.screen.json(&answer)?;
            }
        }
        Command::Set { run, key, value, file, if_revision } => {
            let value = match file {
                Some(path) => from_file(&path)?,
                None => value.unwrap_or_default(),
            };
            match if_revision {
                None => client.set_parameter(&run, &key, &value).await?,
                Some(revision) => {
                    let parameter = client.set_parameter_if(&run, &key, &value, revision).await?;
                    if context.screen.is_json() {
                        context.screen.json(&parameter)?;
                    }
                }
            }
        }
        Command::History { run, key } => history(context, &run, &key).await?,
        Command::Unset { run, key } => client.unset_parameter(&run, &key).await?,
        Command::List { run, prefix } => list(context, &run, &prefix).await?,
    }
    Ok(Exit::Done)
}

async fn history(context: &Context, run: &str, key: &Key) -> anyhow::Result<()> {
    let items = context.client()?.history(run, key).await?;
    if context.screen.is_json() {
        context.screen.json(&Page { items, next: None })?;
        return Ok(());
    }
    let mut table = Table::new(&["REVISION", "AT", "BY", "VALUE"]);
    for write in &items {
        let value = write.value.as_ref().map_or(Cell::toned("(unset)", Tone::Dim), Cell::from);
        table.row([write.revision.to_string().into(), write.at.to_string().into(), write.by.to_string().into(), value]);
    }
    context.screen.table(&table, "Never written.")?;
    Ok(())
}

async fn list(context: &Context, run: &str, prefix: &str) -> anyhow::Result<()> {
    let mut items = context.client()?.parameters(run).await?;
    items.retain(|parameter| parameter.key.to_string().starts_with(prefix));
    if context.screen.is_json() {
        context.screen.json(&Page { items, next: None })?;
        return Ok(());
    }
    let mut table = Table::new(&["PARAMETER", "VALUE", "BY"]);
    for parameter in &items {
        let value = match (&parameter.value, &parameter.broken) {
            (Some(value), _) => Cell::from(value),
            (None, Some(why)) => Cell::toned(why, Tone::Bad),
            (None, None) => Cell::toned("(not set)", Tone::Dim),
        };
        let by = parameter.by.as_ref().map(ToString::to_string).unwrap_or_default();
        table.row([parameter.key.to_string().into(), value, by.into()]);
    }
    context.screen.table(&table, "No such parameters.")?;
    Ok(())
}
