//! Barriers and leads of a run.

use axum::{Extension, Json, extract::State, http::StatusCode};
use slipstream_shared::{
    api::{BarrierInfo, BarrierRequest, LeadInfo, LeadRequest, Page},
    event::Author,
    meeting::{Leader, MeetingName},
};

use super::{
    error::{ApiError, Code},
    extract::{JsonBody, PathOf},
    parameters::within,
};
use crate::{access::User, app::Shared, drive::RunHandle};

/// The longest time, in seconds, for which a program leads without asking again.
const LONGEST_LEAD: u64 = 3600;

/// `GET /api/v1/runs/{run}/barriers`
pub(super) async fn barriers(Extension(run): Extension<RunHandle>) -> Result<Json<Page<BarrierInfo>>, ApiError> {
    Ok(Json(Page { items: run.barriers().await?, next: None }))
}

/// `POST /api/v1/runs/{run}/barriers/{name}`
///
/// Holds nothing but its wait, so it may be dropped when the client goes away.
pub(super) async fn meet(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    PathOf((_, name)): PathOf<(String, String)>,
    JsonBody(request): JsonBody<BarrierRequest>,
) -> Result<Json<BarrierInfo>, ApiError> {
    let name = read(&name)?;
    let what = || format!("barrier `{name}` did not open");
    let met = run.meet(Author::User(user.name), &name, request.count, request.ignore_abort);
    within(&app, request.timeout, what, met).await.map(Json)
}

/// `GET /api/v1/runs/{run}/leads`
pub(super) async fn leads(Extension(run): Extension<RunHandle>) -> Result<Json<Page<LeadInfo>>, ApiError> {
    Ok(Json(Page { items: run.leads().await?, next: None }))
}

/// `POST /api/v1/runs/{run}/leads/{name}`
///
/// Holds nothing but its wait, so it may be dropped when the client goes away.
pub(super) async fn lead(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    PathOf((_, name)): PathOf<(String, String)>,
    JsonBody(request): JsonBody<LeadRequest>,
) -> Result<Json<LeadInfo>, ApiError> {
    let name = read(&name)?;
    if !(1..=LONGEST_LEAD).contains(&request.seconds) {
        let detail = format!("`seconds` is from 1 to {LONGEST_LEAD}: ask again before they are over to keep the lead");
        return Err(ApiError::new(Code::InvalidRequest, detail));
    }
    let what = || format!("another one leads `{name}`");
    let program = Leader::Program { user: user.name, name: request.program };
    let led = run.lead(program, &name, request.seconds, request.ignore_abort);
    within(&app, request.timeout, what, led).await.map(Json)
}

/// `DELETE /api/v1/runs/{run}/leads/{name}`
pub(super) async fn end_lead(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    PathOf((_, name)): PathOf<(String, String)>,
) -> Result<StatusCode, ApiError> {
    run.end_lead(Author::User(user.name), read(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read(name: &str) -> Result<MeetingName, ApiError> {
    name.parse().map_err(|e: slipstream_shared::id::InvalidId| ApiError::new(Code::InvalidRequest, e.to_string()))
}
