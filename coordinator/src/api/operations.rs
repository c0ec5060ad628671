//! Operations: changes of a run that is up.

use axum::{
    Extension, Json,
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
    extract::{JsonBody, idempotency_key},
};
use crate::{access::User, drive::RunHandle, run::request::number};

type Answer = Result<(StatusCode, Json<OperationInfo>), ApiError>;

/// `POST /api/v1/runs/{run}/scale`
pub(super) async fn scale(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    headers: HeaderMap,
    JsonBody(ScaleRequest { count, remove, dry_run }): JsonBody<ScaleRequest>,
) -> Answer {
    operate(user, &run, &headers, Asked::Scale { count, remove }, dry_run).await
}

/// `POST /api/v1/runs/{run}/retry`
pub(super) async fn retry(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    headers: HeaderMap,
    JsonBody(RetryRequest { instance, from, script, dry_run }): JsonBody<RetryRequest>,
) -> Answer {
    operate(user, &run, &headers, Asked::Retry { instance, from, script }, dry_run).await
}

/// `POST /api/v1/runs/{run}/stop`
pub(super) async fn stop(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    headers: HeaderMap,
    JsonBody(PowerRequest { instances, dry_run }): JsonBody<PowerRequest>,
) -> Answer {
    operate(user, &run, &headers, Asked::Stop { instances }, dry_run).await
}

/// `POST /api/v1/runs/{run}/start`
pub(super) async fn start(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    headers: HeaderMap,
    JsonBody(PowerRequest { instances, dry_run }): JsonBody<PowerRequest>,
) -> Answer {
    operate(user, &run, &headers, Asked::Start { instances }, dry_run).await
}

/// `POST /api/v1/runs/{run}/reboot`
pub(super) async fn reboot(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    headers: HeaderMap,
    JsonBody(PowerRequest { instances, dry_run }): JsonBody<PowerRequest>,
) -> Answer {
    operate(user, &run, &headers, Asked::Reboot { instances }, dry_run).await
}

/// `POST /api/v1/runs/{run}/resize`
pub(super) async fn resize(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    headers: HeaderMap,
    JsonBody(ResizeRequest { instances, nodes, cpu, ram, dry_run }): JsonBody<ResizeRequest>,
) -> Answer {
    let asked = Asked::Resize { instances, nodes, size: Size { cpu, ram, disk: None } };
    operate(user, &run, &headers, asked, dry_run).await
}

/// `POST /api/v1/runs/{run}/disks`
pub(super) async fn add_disk(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    headers: HeaderMap,
    JsonBody(AddDiskRequest { instances, size, mount, fs, dry_run }): JsonBody<AddDiskRequest>,
) -> Answer {
    let asked = Asked::AddDisk { instances, spec: DiskSpec { size, mount, fs } };
    operate(user, &run, &headers, asked, dry_run).await
}

/// `POST /api/v1/runs/{run}/disks/remove`
pub(super) async fn remove_disk(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    headers: HeaderMap,
    JsonBody(RemoveDiskRequest { instance, disk, dry_run }): JsonBody<RemoveDiskRequest>,
) -> Answer {
    operate(user, &run, &headers, Asked::RemoveDisk { instance, disk }, dry_run).await
}

/// `GET /api/v1/runs/{run}/operations`
pub(super) async fn list(Extension(run): Extension<RunHandle>) -> Result<Json<Page<OperationInfo>>, ApiError> {
    let items = run.operations().await?;
    Ok(Json(Page { items, next: None }))
}

/// Begins an operation, or only says what it would do.
pub(super) async fn operate(user: User, run: &RunHandle, headers: &HeaderMap, asked: Asked, dry_run: bool) -> Answer {
    let op = idempotency_key(headers)?.map(number);
    if dry_run {
        return Ok((StatusCode::OK, Json(run.preview_operation(asked).await?)));
    }
    let begun = run.operate(Author::User(user.name), asked, op).await?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}
