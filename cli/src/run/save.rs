//! `slipstream run save`.

use slipstream_shared::{api::SaveRequest, client::Client};

use crate::{context::Context, exit::Exit};

pub(super) async fn run(context: &Context, client: &Client, run: &str, path: Option<String>) -> anyhow::Result<Exit> {
    let saved = client.save(run, &SaveRequest { path }).await?;
    let screen = &context.screen;
    if screen.is_json() {
        screen.json(&saved)?;
        return Ok(Exit::Done);
    }
    screen.line(&format!("{}@{}", saved.module.path, saved.module.version))?;
    for script in &saved.saved {
        screen.message(&format!("saved {script}"));
    }
    for script in &saved.left {
        screen.message(&format!("left out, save it in its own module: {script}"));
    }
    Ok(Exit::Done)
}
