//! The port for agents: enrolment, the link, reports. What is said on it is in
//! [`slipstream_shared::link`].
//!
//! A machine enrols with the token of its context and gets a certificate; everything else needs that
//! certificate. Who the machine is comes from the certificate alone, never from what it sends.

mod enrol;
mod limit;
mod line;
mod link;
mod output;
mod report;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::{post, put},
};
use slipstream_shared::link::{ENROL_PATH, LINK_PATH, REPORT_PATH, Refusal};

use crate::{app::Shared, pki::Peer, server::Client};

/// Everything the agent port answers.
pub fn router(app: &Shared) -> Router {
    let enrol = post(enrol::enrol).layer(axum::Extension(Arc::new(limit::Limit::new())));
    Router::new()
        .route(ENROL_PATH, enrol)
        .route(LINK_PATH, post(link::link))
        .route(REPORT_PATH, put(report::store))
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .with_state(Arc::clone(app))
}

/// A request was refused.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry: bool,
}

impl Refused {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Refused { status, code, message: message.into(), retry: false }
    }

    /// The same request may succeed later.
    fn for_now(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Refused { retry: true, ..Refused::new(status, code, message) }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused { status, code, message, retry } = self;
        (status, Json(Refusal { code: code.to_owned(), message, retry })).into_response()
    }
}

/// The agent that makes a request, known by its certificate.
struct Agent(Arc<Peer>);

impl<S: Send + Sync> FromRequestParts<S> for Agent {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let peer = parts.extensions.get::<Client>().and_then(|client| client.peer.clone());
        let message = "a client certificate is needed: enrol first";
        peer.map(Agent).ok_or_else(|| Refused::new(StatusCode::UNAUTHORIZED, "certificate", message))
    }
}

async fn nothing() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "invalid", "agents use /agent/v1/enrol, /agent/v1/link and /agent/v1/report")
}

#[cfg(test)]
mod tests;
