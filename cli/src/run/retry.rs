//! `slipstream run retry`.

use std::{io::Read as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use slipstream_shared::{api::RetryRequest, client::Client, id::InstanceId};

use super::scale::{How, begun, once};
use crate::{context::Context, exit::Exit};

/// What to run again.
#[derive(Debug, Args)]
pub(crate) struct RetryOptions {
    /// The instance
    instance: InstanceId,
    /// The first step to run, such as deploy; those after it follow
    #[arg(long, value_name = "STEP")]
    from: String,
    /// A file with the script to run as that step, instead of what the module says; - for standard input
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

pub(super) async fn run(context: &Context, client: Client, run: &str, options: RetryOptions) -> anyhow::Result<Exit> {
    let RetryOptions { instance, from, script, how } = options;
    let script = script.as_deref().map(read).transpose()?;
    let request = RetryRequest { instance, from, script, dry_run: how.dry_run };
    let operation = once(async |key| client.retry(run, &request, key).await).await?;
    begun(context, client, run, &operation, how).await
}

fn read(file: &std::path::Path) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read the script from standard input")?;
        return Ok(text);
    }
    let read = std::fs::read_to_string(file);
    read.map_err(|e| crate::exit::fail(Exit::Usage, format!("cannot read the script {}: {e}", file.display())))
}
