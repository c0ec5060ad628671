//! Whether the coordinator works.

use axum::{Json, extract::State};
use slipstream_shared::api::Health;

use crate::app::Shared;

/// `GET /api/v1/health`
pub(super) async fn show(State(app): State<Shared>) -> Json<Health> {
    let status = if app.seam.stopping().is_cancelled() { "stopping" } else { "ok" };
    Json(Health {
        status: status.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        clouds: app.clouds.iter().map(|(name, cloud)| (name.clone(), cloud.kind().to_owned())).collect(),
    })
}
