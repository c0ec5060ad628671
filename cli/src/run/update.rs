//! `slipstream run update`.

use clap::Args;
use slipstream_shared::{api::UpdateRequest, client::Client};

use super::scale::{How, begun, once};
use crate::{context::Context, exit::Exit};

/// To what.
#[derive(Debug, Args)]
pub(crate) struct UpdateOptions {
    /// The version: path@version, or path for the latest
    module: String,
    #[command(flatten)]
    how: How,
}

pub(super) async fn run(context: &Context, client: Client, run: &str, options: UpdateOptions) -> anyhow::Result<Exit> {
    let UpdateOptions { module, how } = options;
    // What would be done is shown first, and is on the screen when it is done.
    let planned = client.update(run, &UpdateRequest { module: module.clone(), dry_run: true }, "plan").await?;
    for note in &planned.notes {
        context.screen.message(note);
    }
    if how.dry_run {
        return begun(context, client, run, &planned, how).await;
    }
    let request = UpdateRequest { module, dry_run: false };
    let operation = once(async |key| client.update(run, &request, key).await).await?;
    begun(context, client, run, &operation, how).await
}
