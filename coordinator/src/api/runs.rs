//! Runs: launch, list, show, terminate, abort.

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use slipstream_shared::{
    api::{AbortRequest, LaunchRequest, Page, RunDetail, RunSummary},
    event::Author,
    id::RunId,
};

use super::{
    error::{ApiError, Code},
    extract::{JsonBody, QueryOf, idempotency_key},
    guard::About,
};
use crate::{access::User, app::Shared, drive::RunHandle};

/// How many runs a page has unless told.
const PAGE: usize = 50;

/// The most runs of a page.
const LARGEST_PAGE: usize = 500;

/// The longest reason of an abort, in bytes; it is shown on every page and in every agent's log.
const MAX_REASON: usize = 4096;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// The `next` of the page before
    after: Option<String>,
    /// How many, at most 500
    limit: Option<usize>,
}

/// `POST /api/v1/runs`
pub(super) async fn launch(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<LaunchRequest>,
) -> Result<Response, ApiError> {
    let key = idempotency_key(&headers)?;
    let run = super::launch::launch(&app, &user, key, request).await?;
    let detail = app.runs.find(&run.to_string()).await?.detail().await?;
    let location = [(header::LOCATION, format!("/api/v1/runs/{run}"))];
    let about = About(format!("{run} {}", detail.summary.module));
    Ok((StatusCode::CREATED, location, Extension(about), Json(detail)).into_response())
}

/// `GET /api/v1/runs`
pub(super) async fn list(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    QueryOf(query): QueryOf<ListQuery>,
) -> Result<Json<Page<RunSummary>>, ApiError> {
    let after = query.after.map(|after| after.parse()).transpose();
    let after = after.map_err(|error| ApiError::new(Code::InvalidRequest, format!("`after`: {error}")))?;
    let limit = query.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let mut items = app.runs.list_for(&user, after, limit + 1).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|run| run.id.to_string());
    Ok(Json(Page { items, next }))
}

/// `GET /api/v1/runs/{run}`
pub(super) async fn show(
    State(app): State<Shared>,
    Extension(run): Extension<RunId>,
) -> Result<Json<RunDetail>, ApiError> {
    Ok(Json(app.runs.detail(run).await?))
}

/// `DELETE /api/v1/runs/{run}`
pub(super) async fn terminate(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
) -> Result<StatusCode, ApiError> {
    run.terminate(Author::User(user.name)).await?;
    Ok(StatusCode::ACCEPTED)
}

/// `POST /api/v1/runs/{run}/abort`
pub(super) async fn abort(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    JsonBody(request): JsonBody<AbortRequest>,
) -> Result<StatusCode, ApiError> {
    let reason = request.reason.trim();
    if reason.is_empty() || reason.len() > MAX_REASON {
        return Err(ApiError::new(Code::InvalidRequest, format!("a reason has 1 to {MAX_REASON} bytes")));
    }
    run.abort(Author::User(user.name), reason.to_owned()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/v1/runs/{run}/abort`
pub(super) async fn cancel_abort(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
) -> Result<StatusCode, ApiError> {
    run.cancel_abort(Author::User(user.name)).await?;
    Ok(StatusCode::NO_CONTENT)
}
