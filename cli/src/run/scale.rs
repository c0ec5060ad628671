//! `slipstream run scale` and `operations`, and how an operation is waited for.

use std::collections::BTreeMap;

use clap::Args;
use slipstream_shared::{
    api::{OperationInfo, OperationStatus, ScaleRequest},
    client::{Client, ClientError},
    id::{InstanceId, NodeName},
};

use crate::{
    args::assignment,
    context::Context,
    exit::Exit,
    output::{Screen, Tone, one_line},
    table::{Cell, Table},
    watch::{Until, Watch},
};

/// What to scale to.
#[derive(Debug, Args)]
pub(crate) struct ScaleOptions {
    /// How many instances a node is to have
    #[arg(value_name = "NODE=N", value_parser = count, required_unless_present = "remove")]
    count: Vec<(NodeName, u32)>,
    /// Instances that are to go, separated by commas
    #[arg(long, value_name = "INSTANCE", value_delimiter = ',')]
    remove: Vec<InstanceId>,
    #[command(flatten)]
    how: How,
}

/// How to do an operation.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct How {
    /// Only show what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Show the progress until it is done
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
}

fn count(text: &str) -> Result<(NodeName, u32), String> {
    let (node, number) = assignment(text)?;
    let node = node.parse().map_err(|error| format!("{error}"))?;
    let number = number.parse().map_err(|_| format!("`{number}` is not a number of instances"))?;
    Ok((node, number))
}

pub(super) async fn scale(context: &Context, client: Client, run: &str, options: ScaleOptions) -> anyhow::Result<Exit> {
    let ScaleOptions { count, remove, how } = options;
    let mut wanted = BTreeMap::new();
    for (node, number) in count {
        if wanted.insert(node.clone(), number).is_some_and(|other| other != number) {
            return Err(crate::exit::fail(Exit::Usage, format!("`{node}` is given two numbers of instances")));
        }
    }
    let request = ScaleRequest { count: wanted, remove, dry_run: how.dry_run };
    let operation = once(async |key| client.scale(run, &request, key).await).await?;
    begun(context, client, run, &operation, how).await
}

/// Makes a request once, also when the answer is lost on its way and the request is repeated.
pub(super) async fn once<T>(ask: impl AsyncFn(&str) -> Result<T, ClientError>) -> Result<T, ClientError> {
    let key = uuid::Uuid::now_v7().to_string();
    let mut tries = 0;
    loop {
        match ask(&key).await {
            Err(error @ ClientError::Http(_)) if tries < 2 && error.is_passing() => tries += 1,
            result => return result,
        }
    }
}

/// Says that an operation has begun, and waits for it if that is wanted.
pub(super) async fn begun(
    context: &Context,
    client: Client,
    run: &str,
    operation: &OperationInfo,
    how: How,
) -> anyhow::Result<Exit> {
    let screen = &context.screen;
    let OperationInfo { number, .. } = operation;
    if how.dry_run || !how.wait {
        if screen.is_json() {
            screen.json(operation)?;
        } else if how.dry_run {
            screen.line(&format!("Nothing was changed. It would {}.", summary(operation)))?;
            screen.table(&tasks(std::iter::once(operation)), "No scripts would run.")?;
        } else {
            screen.line(&format!("Operation {number}: {}", summary(operation)))?;
            screen.message(&format!("Look at it with: slipstream run operations {run}"));
        }
        return Ok(Exit::Done);
    }
    let detail = client.run(run).await?;
    context.come_back_with(format!("slipstream run operations {}", detail.summary.id.short()));
    let mut watch = Watch::new(context, client.clone(), &detail);
    let exit = watch.until(Until::Operation(*number)).await?;
    let over = client.operations(run).await?.into_iter().find(|o| o.number == *number);
    if screen.is_json() {
        screen.json(&over)?;
    }
    Ok(exit)
}

pub(super) async fn operations(context: &Context, client: &Client, run: &str) -> anyhow::Result<Exit> {
    let operations = client.operations(run).await?;
    let screen = &context.screen;
    if screen.is_json() {
        screen.json(&operations)?;
        return Ok(Exit::Done);
    }
    screen.table(&table(&operations), "Nothing was asked of this run since it was Ready.")?;
    if operations.iter().any(|o| !o.tasks.is_empty()) {
        screen.line("")?;
        screen.table(&tasks(&operations), "")?;
    }
    Ok(Exit::Done)
}

/// Operations, one on each line.
pub(super) fn table(operations: &[OperationInfo]) -> Table {
    let mut table = Table::new(&["OPERATION", "STATUS", "WHAT", "BY", "WHY"]);
    for operation in operations {
        let (status, tone) = status(operation.status);
        table.row([
            operation.number.to_string().into(),
            Cell::toned(status, tone),
            summary(operation).into(),
            operation.by.as_ref().map(ToString::to_string).unwrap_or_default().into(),
            Cell::toned(one_line(operation.failure.as_deref().unwrap_or_default()), Tone::Bad),
        ]);
    }
    table
}

/// The operations of a run, below the run.
pub(super) fn below(screen: &Screen, operations: &[OperationInfo]) -> anyhow::Result<()> {
    if !operations.is_empty() {
        screen.line("")?;
        screen.table(&table(operations), "")?;
    }
    Ok(())
}

fn tasks<'a>(operations: impl IntoIterator<Item = &'a OperationInfo>) -> Table {
    let mut table = Table::new(&["OPERATION", "INSTANCE", "SCRIPT", "LOG", "STATUS", "RESULT"]);
    for operation in operations {
        for task in &operation.tasks {
            table.row([
                operation.number.to_string().into(),
                task.instance.to_string().into(),
                (&task.step).into(),
                task.index.to_string().into(),
                (&task.status).into(),
                Cell::toned(one_line(task.result.as_deref().unwrap_or_default()), Tone::Bad),
            ]);
        }
    }
    table
}

fn status(status: OperationStatus) -> (&'static str, Tone) {
    match status {
        OperationStatus::Planned => ("planned", Tone::Dim),
        OperationStatus::UnderWay => ("under way", Tone::Warn),
        OperationStatus::Succeeded => ("succeeded", Tone::Good),
        OperationStatus::Failed => ("failed", Tone::Bad),
    }
}

/// What an operation does, in a few words.
fn summary(operation: &OperationInfo) -> String {
    crate::operation::words(&operation.asked, &operation.add, &operation.remove, &operation.touch)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: ScaleOptions,
    }

    fn parse(line: &str) -> Result<ScaleOptions, String> {
        Line::try_parse_from(line.split_whitespace()).map(|l| l.options).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_no_number_of_instances_is_refused_here() {
        let options = parse("x web=5 db=0 --remove web.2,web.4").expect("valid");
        assert_eq!(options.count.len(), 2);
        assert_eq!(options.remove.iter().map(ToString::to_string).collect::<Vec<_>>(), ["web.2", "web.4"]);
        for (line, why) in [
            ("x web=-1", "`-1` is not a number of instances"),
            ("x web=99999999999", "`99999999999` is not a number of instances"),
            ("x web", "="),
            ("x", "NODE=N"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(why), "{error}");
        }
    }
}
