//! A copy of the store, for whoever may do everything.

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use slipstream_shared::error_chain::Chain;
use tokio_util::io::ReaderStream;

use super::error::{ApiError, Code};
use crate::{app::Shared, backup, store::dump::DumpError};

/// `GET /api/v1/backup`
pub(super) async fn show(State(app): State<Shared>) -> Result<Response, ApiError> {
    let file = backup::copy_store(std::sync::Arc::clone(&app.store)).await.map_err(|error| {
        tracing::error!("cannot copy the store: {}", Chain(&error));
        match error {
            DumpError::File(error) => ApiError::from_io(&error),
            _ => ApiError::new(Code::Internal, "the coordinator failed to copy its store; its log says why"),
        }
    })?;
    let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((headers, Body::from_stream(ReaderStream::new(tokio::fs::File::from_std(file)))).into_response())
}
