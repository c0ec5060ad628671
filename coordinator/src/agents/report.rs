//! Reports: what a machine sends when its `report` scripts have run.

use axum::{body::Body, extract::State, http::StatusCode};
use slipstream_shared::{api::InstanceInfo, error_chain::Chain, link::MAX_REPORT, state::Milestone};

use super::{Agent, Refused};
use crate::{app::Shared, drive::RunError, logs::reports::ReportError};

/// `PUT /agent/v1/report`
///
/// Idempotent: a report that is sent again replaces the first one.
pub(super) async fn store(State(app): State<Shared>, Agent(peer): Agent, body: Body) -> Result<StatusCode, Refused> {
    let key = &peer.key;
    let busy = |message: String| Refused::for_now(StatusCode::SERVICE_UNAVAILABLE, "busy", message);
    let run = app.runs.find(&key.run.to_string()).await.map_err(|error| match &error {
        RunError::NotFound(_) => Refused::new(StatusCode::GONE, "ended", error.to_string()),
        _ => busy(error.to_string()),
    })?;
    let detail = run.detail().await.map_err(|error| busy(error.to_string()))?;
    // A certificate outlives its machine by days; a replaced machine must not overwrite its successor.
    let stays = |milestone| !matches!(milestone, Milestone::Terminating | Milestone::Gone | Milestone::Planned);
    let is_it = |info: &InstanceInfo| info.instance == key.instance && info.attempt == key.attempt;
    let current = detail.nodes.iter().any(|info| is_it(info) && stays(info.milestone));
    let known = run.knows(&peer).await.map_err(|error| busy(error.to_string()))?;
    if !current || !known || detail.summary.state.is_final() {
        let message = "the run has ended, or this machine is no longer part of it";
        return Err(Refused::new(StatusCode::GONE, "ended", message));
    }
    let stored = app.reports.store(key.run, &key.instance, MAX_REPORT, body.into_data_stream()).await;
    let size = stored.map_err(|error| match &error {
        ReportError::TooLarge { .. } => Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid", error.to_string()),
        ReportError::Cut => Refused::for_now(StatusCode::BAD_REQUEST, "invalid", error.to_string()),
        ReportError::Io(_) => {
            tracing::error!(run = %key.run, instance = %key.instance, "{}", Chain(&error));
            busy("the report cannot be kept now".to_owned())
        }
    })?;
    run.report_stored(&key.instance, size).await.map_err(|error| busy(error.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}
