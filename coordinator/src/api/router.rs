//! From the route table to what answers requests.

use std::sync::Arc;

use axum::{
    Router,
    http::{Method, Uri},
};

use super::{
    error::{ApiError, Code},
    guard, table,
};
use crate::app::Shared;

/// Everything the API port answers.
pub fn router(app: &Shared) -> Router {
    let mut router = Router::new();
    for route in table() {
        let serve = guard::behind(&route.needs, route.serve, app);
        router = router.route(route.path, serve);
    }
    router.method_not_allowed_fallback(method_not_allowed).fallback(not_found).with_state(Arc::clone(app))
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(
        Code::NotFound,
        format!("there is nothing at {}; /api/v1/openapi.json lists what there is", uri.path()),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(Code::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}
