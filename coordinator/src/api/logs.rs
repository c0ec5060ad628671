//! What steps and machines have printed.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use slipstream_shared::{
    api::{InstanceInfo, LogInfo, RunDetail},
    event::Event,
    id::InstanceId,
};

use super::{
    error::{ApiError, Code},
    extract::{PathOf, QueryOf},
};
use crate::{
    app::{App, Shared},
    drive::{EventFeed, RunHandle},
    logs::{StepKey, StepLog},
};

/// How much is read of a file at once, in bytes.
const READ: usize = 64 * 1024;

/// The last output of a step may be on its way when the step is known to have ended.
const LINGER: Duration = Duration::from_millis(500);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    /// Where to begin, in bytes
    #[serde(default)]
    offset: u64,
    /// Go on until the step has ended
    #[serde(default)]
    follow: bool,
    /// Of an earlier launch of the instance, whose machine was replaced
    attempt: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Of an earlier launch of the instance, whose machine was replaced
    attempt: Option<u32>,
}

/// `GET /api/v1/runs/{run}/logs/{instance}`
pub(super) async fn list(
    State(app): State<Shared>,
    Extension(run): Extension<RunHandle>,
    PathOf((_, instance)): PathOf<(String, String)>,
    QueryOf(query): QueryOf<ListQuery>,
) -> Result<Json<Vec<LogInfo>>, ApiError> {
    let detail = run.detail().await?;
    let info = find(&detail, &instance)?;
    let attempt = attempt(info, query.attempt)?;
    let sizes = app.logs.sizes(detail.summary.id, &info.instance, attempt).await;
    let sizes = sizes.map_err(|error| ApiError::from_io(&error))?;
    let entry = |step: &slipstream_shared::api::StepInfo| LogInfo {
        index: step.index,
        step: step.step.clone(),
        size: sizes.get(&step.index).copied().unwrap_or(0),
        ended: attempt < info.attempt || has_ended(&detail, info, step.index),
    };
    Ok(Json(info.steps.iter().map(entry).collect()))
}

/// `GET /api/v1/runs/{run}/logs/{instance}/{index}`
pub(super) async fn show(
    State(app): State<Shared>,
    Extension(run): Extension<RunHandle>,
    PathOf((_, instance, index)): PathOf<(String, String, u32)>,
    QueryOf(query): QueryOf<LogQuery>,
) -> Result<Response, ApiError> {
    let detail = run.detail().await?;
    let info = find(&detail, &instance)?;
    let step = info.steps.iter().find(|step| step.index == index).ok_or_else(|| {
        let steps: Vec<_> = info.steps.iter().map(|step| format!("{} {}", step.index, step.step)).collect();
        let detail = format!("{instance} has no step {index} (there are: {})", steps.join(", "));
        ApiError::new(Code::LogNotFound, detail)
    })?;
    let attempt = attempt(info, query.attempt)?;
    let log = app.logs.step(&StepKey {
        run: run.id(),
        instance: info.instance.clone(),
        attempt,
        index,
        step: step.step.clone(),
    });
    // The feed begins where `detail` ends, so the end of the step is in one of them.
    let feed = match query.follow && attempt == info.attempt && !has_ended(&detail, info, index) {
        true => Some(run.events(detail.seq).await?),
        false => None,
    };
    let end = End { feed, instance: info.instance.clone(), attempt: info.attempt, index };
    Ok(text(Body::from_stream(output(app, log, query.offset, end))))
}

/// `GET /api/v1/runs/{run}/console/{instance}`
pub(super) async fn console(
    State(app): State<Shared>,
    Extension(run): Extension<RunHandle>,
    PathOf((_, instance)): PathOf<(String, String)>,
) -> Result<Response, ApiError> {
    let detail = run.detail().await?;
    let info = find(&detail, &instance)?;
    let missing = |why: &str| ApiError::new(Code::LogNotFound, format!("there is no console of {instance}: {why}"));
    let machine = info.machine.as_deref().ok_or_else(|| missing("it has no machine"))?;
    let cloud = app.clouds.get(&info.cloud).ok_or_else(|| missing("its cloud is not configured any more"))?;
    match cloud.console(run.id(), machine).await {
        Ok(Some(console)) => Ok(text(Body::from(console))),
        Ok(None) => Err(missing("its cloud does not have it")),
        Err(error) => Err(missing(&error.to_string())),
    }
}

fn text(body: Body) -> Response {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    // What a script prints is never to be taken for a page of ours.
    let nosniff = HeaderValue::from_static("nosniff");
    ([(header::CONTENT_TYPE, plain), (header::X_CONTENT_TYPE_OPTIONS, nosniff)], body).into_response()
}

fn find<'a>(detail: &'a RunDetail, instance: &str) -> Result<&'a InstanceInfo, ApiError> {
    let id: InstanceId = instance.parse().map_err(|error| ApiError::new(Code::InvalidRequest, format!("{error}")))?;
    detail.nodes.iter().find(|info| info.instance == id).ok_or_else(|| {
        let detail = format!("run {} has no instance {instance}", detail.summary.id.short());
        ApiError::new(Code::InstanceNotFound, detail)
    })
}

/// The launch of an instance that is asked for, its last one unless said otherwise.
fn attempt(info: &InstanceInfo, asked: Option<u32>) -> Result<u32, ApiError> {
    match asked {
        None => Ok(info.attempt),
        Some(attempt) if (1..=info.attempt).contains(&attempt) => Ok(attempt),
        Some(attempt) => {
            let detail = format!("{} was launched {} times, not {attempt}", info.instance, info.attempt);
            Err(ApiError::new(Code::LogNotFound, detail))
        }
    }
}

/// True when the step will print nothing more.
fn has_ended(detail: &RunDetail, info: &InstanceInfo, index: u32) -> bool {
    let step = info.steps.iter().find(|step| step.index == index);
    let done = step.is_some_and(|step| matches!(step.status.as_str(), "succeeded" | "failed"));
    done || detail.summary.state.is_final() || info.milestone == slipstream_shared::state::Milestone::Gone
}

/// Waits for the end of a step.
struct End {
    /// None: it has ended, or nobody wants to wait.
    feed: Option<EventFeed>,
    instance: InstanceId,
    attempt: u32,
    index: u32,
}

impl End {
    /// Returns when the step will print nothing more. Cancel-safe, as the feed is.
    async fn come(&mut self) {
        let Some(feed) = &mut self.feed else { return };
        while let Some(record) = feed.next().await {
            let over = match &record.event {
                Event::StepFinished { instance, index, .. } => *instance == self.instance && *index == self.index,
                Event::MachineGone { instance, attempt, .. } => *instance == self.instance && *attempt == self.attempt,
                _ => false,
            };
            if over {
                break;
            }
        }
        self.feed = None;
    }
}

/// The output from `offset` to the end, as it comes.
fn output(app: Shared, log: Arc<StepLog>, offset: u64, end: End) -> impl Stream<Item = io::Result<Vec<u8>>> {
    let progress = log.watch();
    stream::unfold((app, log, offset, end, progress), async |(app, log, offset, mut end, mut progress)| {
        loop {
            progress.mark_unchanged();
            let followed = end.feed.is_some();
            match log.read(offset, READ).await {
                Ok(bytes) if bytes.is_empty() => (),
                Ok(bytes) => {
                    let offset = offset + bytes.len() as u64;
                    return Some((Ok(bytes), (app, log, offset, end, progress)));
                }
                Err(error) => return Some((Err(error), (app, log, offset, end, progress))),
            }
            if !followed || !grows(&app, &mut progress, &mut end).await {
                return None;
            }
        }
    })
}

/// Waits until there may be more to read. False: the coordinator stops.
async fn grows(
    app: &App,
    progress: &mut tokio::sync::watch::Receiver<crate::logs::steps::Progress>,
    end: &mut End,
) -> bool {
    tokio::select! {
        biased;
        () = app.seam.stopping().cancelled() => false,
        changed = progress.changed() => changed.is_ok(),
        () = end.come() => {
            let _ = tokio::time::timeout(LINGER, progress.changed()).await;
            true
        }
    }
}
