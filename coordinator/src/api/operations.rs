//! Operations: changes of a run that is up.

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use slipstream_shared::{
    api::{
        AddDiskRequest, OperationInfo, Page, PowerRequest, RemoveDiskRequest, ResizeRequest, RetryRequest, ScaleRequest,
    },
    disk::DiskSpec,
    event::Author,
    operation::Asked,
    plan::Size,
};

use super::{
    error::ApiError,
    extract::{JsonBody, PathOf, idempotency_key},
};
use crate::{
    access::User,
    app::{App, Shared},
    run::request::number,
};

type Answer = Result<(StatusCode, Json<OperationInfo>), ApiError>;

/// `POST /api/v1/runs/{run}/scale`
pub(super) async fn scale(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(run): PathOf<String>,
    headers: HeaderMap,
    JsonBody(ScaleRequest { count, remove, dry_run }): JsonBody<ScaleRequest>,
) -> Answer {
    operate(&app, user, &run, &headers, Asked::Scale { count, remove }, dry_run).await
}

/// `POST /api/v1/runs/{run}/retry`
pub(super) async fn retry(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(run): PathOf<String>,
    headers: HeaderMap,
    JsonBody(RetryRequest { instance, from, script, dry_run }): JsonBody<RetryRequest>,
) -> Answer {
    operate(&app, user, &run, &headers, Asked::Retry { instance, from, script }, dry_run).await
}

/// `POST /api/v1/runs/{run}/stop`
pub(super) async fn stop(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(run): PathOf<String>,
    headers: HeaderMap,
    JsonBody(PowerRequest { instances, dry_run }): JsonBody<PowerRequest>,
) -> Answer {
    operate(&app, user, &run, &headers, Asked::Stop { instances }, dry_run).await
}

/// `POST /api/v1/runs/{run}/start`
pub(super) async fn start(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(run): PathOf<String>,
    headers: HeaderMap,
    JsonBody(PowerRequest { instances, dry_run }): JsonBody<PowerRequest>,
) -> Answer {
    operate(&app, user, &run, &headers, Asked::Start { instances }, dry_run).await
}

/// `POST /api/v1/runs/{run}/reboot`
pub(super) async fn reboot(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(run): PathOf<String>,
    headers: HeaderMap,
    JsonBody(PowerRequest { instances, dry_run }): JsonBody<PowerRequest>,
) -> Answer {
    operate(&app, user, &run, &headers, Asked::Reboot { instances }, dry_run).await
}

/// `POST /api/v1/runs/{run}/resize`
pub(super) async fn resize(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(run): PathOf<String>,
    headers: HeaderMap,
    JsonBody(ResizeRequest { instances, nodes, cpu, ram, dry_run }): JsonBody<ResizeRequest>,
) -> Answer {
    let asked = Asked::Resize { instances, nodes, size: Size { cpu, ram, disk: None } };
    operate(&app, user, &run, &headers, asked, dry_run).await
}

/// `POST /api/v1/runs/{run}/disks`
pub(super) async fn add_disk(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(run): PathOf<String>,
    headers: HeaderMap,
    JsonBody(AddDiskRequest { instances, size, mount, fs, dry_run }): JsonBody<AddDiskRequest>,
) -> Answer {
    let asked = Asked::AddDisk { instances, spec: DiskSpec { size, mount, fs } };
    operate(&app, user, &run, &headers, asked, dry_run).await
}

/// `POST /api/v1/runs/{run}/disks/remove`
pub(super) async fn remove_disk(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(run): PathOf<String>,
    headers: HeaderMap,
    JsonBody(RemoveDiskRequest { instance, disk, dry_run }): JsonBody<RemoveDiskRequest>,
) -> Answer {
    operate(&app, user, &run, &headers, Asked::RemoveDisk { instance, disk }, dry_run).await
}

/// `GET /api/v1/runs/{run}/operations`
pub(super) async fn list(
    State(app): State<Shared>,
    PathOf(run): PathOf<String>,
) -> Result<Json<Page<OperationInfo>>, ApiError> {
    let items = app.runs.find(&run).await?.operations().await?;
    Ok(Json(Page { items, next: None }))
}

/// Begins an operation, or only says what it would do.
pub(super) async fn operate(
    app: &App,
    user: User,
    run: &str,
    headers: &HeaderMap,
    asked: Asked,
    dry_run: bool,
) -> Answer {
    let op = idempotency_key(headers)?.map(number);
    let run = app.runs.find(run).await?;
    if dry_run {
        return Ok((StatusCode::OK, Json(run.preview_operation(asked).await?)));
    }
    let begun = run.operate(Author::User(user.name), asked, op).await?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}
