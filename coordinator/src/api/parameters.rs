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
    sharing::Right,
};

use super::{
    error::{ApiError, Code},
    extract::{JsonBody, PathOf, QueryOf, idempotency_key},
    guard,
};
use crate::{
    access::User,
    app::Shared,
    drive::{RunError, RunHandle, Write},
    run::request::number,
    server::Client,
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
    /// Show the value of a secret; only to those who may manage the run, without `wait`, and on record
    #[serde(default)]
    reveal: bool,
}

/// `GET /api/v1/runs/{run}/parameters`
pub(super) async fn list(Extension(run): Extension<RunHandle>) -> Result<Json<Page<Parameter>>, ApiError> {
    let items = run.parameters().await?;
    Ok(Json(Page { items, next: None }))
}

/// `GET /api/v1/runs/{run}/parameters/{key}`
///
/// Holds nothing but its wait, so it may be dropped when the client goes away.
pub(super) async fn show(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    Extension(client): Extension<Client>,
    Extension(run): Extension<RunHandle>,
    PathOf((_, key)): PathOf<(String, String)>,
    QueryOf(query): QueryOf<WaitQuery>,
) -> Result<Json<Parameter>, ApiError> {
    let key = read_key(&key)?;
    match query.wait {
        Some(_) if query.reveal => {
            return Err(ApiError::new(Code::InvalidRequest, "`reveal` and `wait` do not go together"));
        }
        None if query.reveal => {
            guard::allow_run(&user, &run, Right::Manage)?;
            let value = run.reveal(&Author::User(user.name.clone()), &key).await?;
            guard::put_on_record(&app, &user, &client, "reveal_parameter", &format!("{} {key}", run.id())).await?;
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
    Extension(run): Extension<RunHandle>,
    JsonBody(request): JsonBody<WaitRequest>,
) -> Result<Response, ApiError> {
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
    // Boxed, as this is what ten thousand who wait have most of.
    let done = Box::pin(done);
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
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    PathOf((_, key)): PathOf<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<SetParameter>,
) -> Result<Json<Parameter>, ApiError> {
    let request = idempotency_key(&headers)?.map(number);
    let key = read_key(&key)?;
    let write = Write { key, value: Some(body.value), if_revision: body.if_revision, request };
    Ok(Json(run.write(Author::User(user.name), write).await?))
}

/// `GET /api/v1/runs/{run}/parameters/{key}/history`
pub(super) async fn history(
    Extension(run): Extension<RunHandle>,
    PathOf((_, key)): PathOf<(String, String)>,
) -> Result<Json<Page<ParameterWrite>>, ApiError> {
    let key = read_key(&key)?;
    Ok(Json(Page { items: run.history(&key).await?, next: None }))
}

/// `DELETE /api/v1/runs/{run}/parameters/{key}`
pub(super) async fn unset(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    PathOf((_, key)): PathOf<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Parameter>, ApiError> {
    let request = idempotency_key(&headers)?.map(number);
    let key = read_key(&key)?;
    let write = Write { key, value: None, if_revision: None, request };
    Ok(Json(run.write(Author::User(user.name), write).await?))
}

fn read_key(key: &str) -> Result<Key, ApiError> {
    Key::qualify(key, None).map_err(|error| ApiError::new(Code::InvalidRequest, error.to_string()))
}
