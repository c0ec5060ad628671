//! `slipstream run wait`, `terminate` and `abort`.

use std::time::Duration;

use slipstream_shared::client::Client;

use super::{Goal, show};
use crate::{
    context::Context,
    exit::Exit,
    watch::{Until, Watch},
};

pub(super) async fn wait(
    context: &Context,
    client: Client,
    run: &str,
    goal: Goal,
    within: Option<Duration>,
) -> anyhow::Result<Exit> {
    let run = client.run(run).await?;
    let short = run.summary.id.short();
    context.come_back_with(format!("slipstream run wait {short}"));
    let mut watch = Watch::new(context, client.clone(), &run);
    let until = match goal {
        Goal::Ready => Until::Ready,
        Goal::Gone => Until::Gone,
    };
    let exit = match within {
        None => watch.until(until).await?,
        Some(within) => match tokio::time::timeout(within, watch.until(until)).await {
            Ok(exit) => exit?,
            Err(_) => {
                let state = watch.progress.state();
                context.screen.error(&format!(
                    "After {} s run {short} is {state}. It goes on; come back with: slipstream run wait {short}",
                    within.as_secs()
                ));
                return Ok(Exit::TimeOut);
            }
        },
    };
    show::results(context, &client, &short, &watch.progress).await?;
    Ok(exit)
}

pub(super) async fn terminate(context: &Context, client: Client, runs: &[String], wait: bool) -> anyhow::Result<Exit> {
    for run in runs {
        client.terminate(run).await?;
        if !wait {
            context
                .screen
                .message(&format!("Run {run} is ending; wait for it with: slipstream run wait {run} --for gone"));
        }
    }
    if wait {
        for run in runs {
            let run = client.run(run).await?;
            context.come_back_with(format!("slipstream run wait {} --for gone", run.summary.id.short()));
            Watch::new(context, client.clone(), &run).until(Until::Gone).await?;
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn abort(
    context: &Context,
    client: &Client,
    run: &str,
    reason: &str,
    cancel: bool,
) -> anyhow::Result<Exit> {
    if cancel {
        client.cancel_abort(run).await?;
        context.screen.message(&format!("The abort of run {run} is taken back."));
    } else {
        client.abort(run, reason).await?;
        context.screen.message(&format!("Run {run} is aborted."));
    }
    Ok(Exit::Done)
}
