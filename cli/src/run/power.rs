//! `slipstream run stop`, `start` and `reboot`.

use clap::Args;
use slipstream_shared::{api::PowerRequest, client::Client, id::InstanceId};

use super::scale::{How, begun, once};
use crate::{context::Context, exit::Exit};

/// Whose machines.
#[derive(Debug, Args)]
pub(crate) struct PowerOptions {
    /// The instances; all of the run where nobody is named
    instances: Vec<InstanceId>,
    #[command(flatten)]
    how: How,
}

pub(super) async fn run(
    context: &Context,
    client: Client,
    run: &str,
    what: &str,
    options: PowerOptions,
) -> anyhow::Result<Exit> {
    let PowerOptions { instances, how } = options;
    let request = PowerRequest { instances, dry_run: how.dry_run };
    let operation = once(async |key| client.power(run, what, &request, key).await).await?;
    begun(context, client, run, &operation, how).await
}
