//! The reports of machines.

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use slipstream_shared::{
    api::{Page, ReportInfo},
    id::InstanceId,
};
use tokio_util::io::ReaderStream;

use super::{
    error::{ApiError, Code},
    extract::PathOf,
};
use crate::{app::Shared, drive::RunHandle};

/// `GET /api/v1/runs/{run}/reports`
pub(super) async fn list(
    State(app): State<Shared>,
    Extension(run): Extension<RunHandle>,
) -> Result<Json<Page<ReportInfo>>, ApiError> {
    let run = run.id();
    let items = app.reports.list(run).await.map_err(|error| ApiError::from_io(&error))?;
    Ok(Json(Page { items, next: None }))
}

/// `GET /api/v1/runs/{run}/reports/{instance}`
pub(super) async fn show(
    State(app): State<Shared>,
    Extension(run): Extension<RunHandle>,
    PathOf((_, instance)): PathOf<(String, String)>,
) -> Result<Response, ApiError> {
    let run = run.id();
    let id: InstanceId = instance.parse().map_err(|error| ApiError::new(Code::InvalidRequest, format!("{error}")))?;
    let found = app.reports.open(run, &id).await.map_err(|error| ApiError::from_io(&error))?;
    let (file, size) = found.ok_or_else(|| {
        let detail = format!("{instance} of run {} has sent no report", run.short());
        ApiError::new(Code::ReportNotFound, detail)
    })?;
    let headers = [
        (header::CONTENT_TYPE, "application/gzip".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}-{instance}.tar.gz\"", run.short())),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}
