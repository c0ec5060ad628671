//! `slipstream run reports` and `console`.

use std::{fs, io::Write as _, path::Path};

use anyhow::Context as _;
use slipstream_shared::{api::Page, client::Client, http::Body, id::InstanceId};

use crate::{
    context::Context,
    exit::{Exit, fail},
    output::bytes,
    table::Table,
};

pub(super) async fn run(context: &Context, client: &Client, run: &str, dir: Option<&Path>) -> anyhow::Result<Exit> {
    let reports = client.reports(run).await?;
    let screen = &context.screen;
    if let Some(dir) = dir {
        fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
        for report in &reports {
            let path = dir.join(format!("{}.tar.gz", report.instance));
            save(client.report(run, &report.instance).await?, &path).await?;
            screen.message(&format!("{} ({})", path.display(), bytes(report.size)));
        }
    }
    if screen.is_json() {
        screen.json(&Page { items: reports, next: None })?;
    } else if dir.is_none() || reports.is_empty() {
        let mut table = Table::new(&["INSTANCE", "SIZE"]).numbers();
        for report in &reports {
            table.row([report.instance.to_string().into(), bytes(report.size).into()]);
        }
        screen.table(&table, "No reports. They are collected when all instances have deployed, and on abort.")?;
    }
    Ok(Exit::Done)
}

/// Saves a body; a file of that name is whole or not there.
async fn save(mut body: Body, path: &Path) -> anyhow::Result<()> {
    let fresh = path.with_extension("part");
    let written = async {
        let mut file = fs::File::create(&fresh).with_context(|| format!("cannot write {}", fresh.display()))?;
        while let Some(chunk) = body.chunk().await? {
            file.write_all(&chunk).with_context(|| format!("cannot write {}", fresh.display()))?;
        }
        fs::rename(&fresh, path).with_context(|| format!("cannot write {}", path.display()))
    };
    let result = written.await;
    if result.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    result
}

pub(super) async fn console(
    context: &Context,
    client: &Client,
    run: &str,
    instance: Option<InstanceId>,
) -> anyhow::Result<Exit> {
    let instance = match instance {
        Some(instance) => instance,
        None => only_instance(client, run).await?,
    };
    let mut body = client.console(run, &instance).await?;
    while let Some(chunk) = body.chunk().await? {
        context.screen.raw(&chunk)?;
    }
    Ok(Exit::Done)
}

/// The instance of a run that has only one.
async fn only_instance(client: &Client, run: &str) -> anyhow::Result<InstanceId> {
    let run = client.run(run).await?;
    match run.nodes.as_slice() {
        [node] => Ok(node.instance.clone()),
        nodes => {
            let names: Vec<String> = nodes.iter().map(|n| n.instance.to_string()).collect();
            Err(fail(
                Exit::Usage,
                format!("run {} has several instances, name one: {}", run.summary.id.short(), names.join(", ")),
            ))
        }
    }
}
