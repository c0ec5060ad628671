//! Parameters of a run: list, show, set, unset, and waits for them.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use slipstream_shared::{
    api::{Page, Parameter, ParameterWrite, SetParameter, WaitRequest},
    event::Author,
    parameter::Key,
};

use super::{
    error::{ApiError, Code},
    extract::{JsonBody, PathOf, QueryOf, idempotency_key},
};
use crate::{
    access::User,
    app::Shared,
    drive::{RunError, RunHandle, Write},
    run::request::number,
};

/// The longest wait of one request.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    /// Wait up to this many seconds, at most 300, until there is a value; then `wait_timeout`
    wait: Option<u64>,
    /// Go on waiting when the run is aborted
    #[serde(default)]
    ignore_abort: bool,
    /// Show the value of a secret; only to the owner of the run, without `wait`, and on record
    #[serde(default)]
    reveal: bool,
}

/// `GET /api/v1/runs/{run}/parameters`
pub(super) async fn list(
    State(app): State<Shared>,
    PathOf(run): PathOf<String>,
) -> Result<Json<Page<Parameter>>, ApiError> {
    let items = app.runs.find(&run).await?.parameters().await?;
    Ok(Json(Page { items, next: None }))
}

/// `GET /api/v1/runs/{run}/parameters/{key}`
///
/// Holds nothing but its wait, so it may be dropped when the client goes away.
pub(super) async fn show(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf((run, key)): PathOf<(String, String)>,
    QueryOf(query): QueryOf<WaitQuery>,
) -> Result<Json<Parameter>, ApiError> {
    let (run, key) = find(&app, &run, &key).await?;
    match query.wait {
        Some(_) if query.reveal => {
            return Err(ApiError::new(Code::InvalidRequest, "`reveal` and `wait` do not go together"));
        }
        None if query.reveal => {
            let value = run.reveal(&Author::User(user.name), &key).await?;
            return Ok(Json(Parameter { value, ..run.parameter(&key).await? }));
        }
        _ => {}
    }
    let Some(seconds) = query.wait else { return Ok(Json(run.parameter(&key).await?)) };
    let what = || format!("`{key}` was not set");
    within(&app, seconds, what, run.wait_parameter(&key, query.ignore_abort)).await.map(Json)
}

/// `POST /api/v1/runs/{run}/wait`
///
/// Holds nothing but its wait, so it may be dropped when the client goes away.
pub(super) async fn wait(
    State(app): State<Shared>,
    PathOf(run): PathOf<String>,
    JsonBody(request): JsonBody<WaitRequest>,
) -> Result<Response, ApiError> {
    let run = app.runs.find(&run).await?;
    let what = || "the conditions did not hold".to_owned();
    let met = within(&app, request.timeout, what, run.wait(request.conditions, request.ignore_abort)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], met.json()).into_response())
}

/// Waits for `done`, but neither longer than `seconds` nor longer than the coordinator runs.
pub(super) async fn within<T>(
    app: &Shared,
    seconds: u64,
    what: impl FnOnce() -> String + Send,
    done: impl Future<Output = Result<T, RunError>> + Send,
) -> Result<T, ApiError> {
    let within = Duration::from_secs(seconds).min(LONGEST_WAIT);
    tokio::select! {
        biased;
        answer = tokio::time::timeout(within, done) => match answer {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                Err(ApiError::new(Code::WaitTimeout, format!("{} within {} seconds", what(), within.as_secs())))
            }
        },
        () = app.seam.stopping().cancelled() => {
            Err(ApiError::new(Code::Unavailable, "the coordinator is stopping; ask again"))
        }
    }
}

/// `PUT /api/v1/runs/{run}/parameters/{key}`
pub(super) async fn set(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf((run, key)): PathOf<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<SetParameter>,
) -> Result<Json<Parameter>, ApiError> {
    let request = idempotency_key(&headers)?.map(number);
    let (run, key) = find(&app, &run, &key).await?;
    let write = Write { key, value: Some(body.value), if_revision: body.if_revision, request };
    Ok(Json(run.write(Author::User(user.name), write).await?))
}

/// `GET /api/v1/runs/{run}/parameters/{key}/history`
pub(super) async fn history(
    State(app): State<Shared>,
    PathOf((run, key)): PathOf<(String, String)>,
) -> Result<Json<Page<ParameterWrite>>, ApiError> {
    let (run, key) = find(&app, &run, &key).await?;
    Ok(Json(Page { items: run.history(&key).await?, next: None }))
}

/// `DELETE /api/v1/runs/{run}/parameters/{key}`
pub(super) async fn unset(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf((run, key)): PathOf<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Parameter>, ApiError> {
    let request = idempotency_key(&headers)?.map(number);
    let (run, key) = find(&app, &run, &key).await?;
    let write = Write { key, value: None, if_revision: None, request };
    Ok(Json(run.write(Author::User(user.name), write).await?))
}

async fn find(app: &Shared, run: &str, key: &str) -> Result<(RunHandle, Key), ApiError> {
    let run = app.runs.find(run).await?;
    let key = Key::qualify(key, None).map_err(|error| ApiError::new(Code::InvalidRequest, error.to_string()))?;
    Ok((run, key))
}
