//! What stands before every handler: who asks, and whether the route is for them.
//!
//! What a route needs is in the route table. What one may not see is answered as what does not exist.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, Request, State},
    http::{HeaderMap, Method, header},
    middleware::{self, Next},
    response::Response,
    routing::MethodRouter,
};

use super::{
    error::{ApiError, Code},
    route::Needs,
    session,
};
use crate::{
    access::{AccessError, User, csrf, token},
    app::{App, Shared},
};

/// Lets only those through to a handler who have what the route needs. The handler gets them as an extension.
pub(super) fn behind(needs: &Needs, serve: MethodRouter<Shared>, app: &Shared) -> MethodRouter<Shared> {
    if *needs == Needs::Nothing {
        return serve;
    }
    serve.route_layer(middleware::from_fn_with_state((Arc::clone(app), *needs), check))
}

async fn check(
    State((app, needs)): State<(Shared, Needs)>,
    path: RawPathParams,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let user = authenticate(&app, request.method(), request.headers())?;
    allow(needs, &user, &path)?;
    request.extensions_mut().insert(user);
    Ok(next.run(request).await)
}

fn authenticate(app: &App, method: &Method, headers: &HeaderMap) -> Result<User, ApiError> {
    let refused = |detail: &str| ApiError::new(Code::Unauthenticated, detail);
    if let Some(secret) = session::cookie(headers) {
        let user = app.access.page_user(secret).ok_or_else(|| refused("the session has ended; log in again"))?;
        let given = headers.get(session::CSRF).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // Compared by their hashes: how long that takes tells nothing.
        if !method.is_safe() && token::hash(given) != token::hash(&csrf(secret)) {
            let detail = "a page sends the `csrf` of GET /api/v1/session as the header X-CSRF-Token";
            return Err(ApiError::new(Code::Csrf, detail));
        }
        return Ok(user);
    }
    let secret = bearer(headers).ok_or_else(|| refused("give an API token as `Authorization: Bearer slip_...`"))?;
    app.access.user(secret).ok_or_else(|| refused("this API token is not known, or its time is over"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn allow(needs: Needs, user: &User, path: &RawPathParams) -> Result<(), ApiError> {
    let part = |name: &str| path.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    if matches!(needs, Needs::Account | Needs::Oneself | Needs::Admin) && !user.scope.is_whole() {
        return Err(ApiError::new(Code::Denied, "this token is limited: it is not good for that"));
    }
    match needs {
        Needs::Nothing | Needs::Login | Needs::Account => Ok(()),
        Needs::Admin if !user.admin => Err(ApiError::new(Code::Denied, "only an administrator may do that")),
        Needs::Oneself if !user.admin => match part("user") {
            Some(name) if name == user.name => Ok(()),
            name => Err(AccessError::NoUser(name.unwrap_or_default()).into()),
        },
        Needs::Admin | Needs::Oneself => Ok(()),
    }
}
