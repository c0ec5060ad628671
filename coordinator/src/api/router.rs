//! From the route table to what answers requests.
//!
//! A route needs a token unless the table says that it is public: a forgotten word shuts a door, it
//! never opens one.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, Method, Uri, header},
    middleware::{self, Next},
    response::Response,
};

use super::{
    error::{ApiError, Code},
    table,
};
use crate::app::Shared;

/// Everything the API port answers.
pub fn router(app: &Shared) -> Router {
    let mut router = Router::new();
    for route in table() {
        let serve = if route.public {
            route.serve
        } else {
            route.serve.route_layer(middleware::from_fn_with_state(Arc::clone(app), authenticate))
        };
        router = router.route(route.path, serve);
    }
    router.method_not_allowed_fallback(method_not_allowed).fallback(not_found).with_state(Arc::clone(app))
}

/// Lets a request through with its [`crate::access::User`] as an extension.
async fn authenticate(State(app): State<Shared>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let refused = |detail: &str| ApiError::new(Code::Unauthenticated, detail);
    let token =
        bearer(request.headers()).ok_or_else(|| refused("give an API token as `Authorization: Bearer slip_...`"))?;
    let user = app.tokens.user(token).await?.ok_or_else(|| refused("this API token is not known"))?;
    request.extensions_mut().insert(user);
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
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
