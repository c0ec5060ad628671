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

use slipstream_shared::sharing::Right;

use super::{
    error::{ApiError, Code},
    route::Needs,
    session,
};
use crate::{
    access::{AccessError, User, csrf, token},
    app::{App, Shared},
    drive::{RunError, RunHandle},
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
    let part =
        |name: &str| path.iter().find(|(key, _)| *key == name).map_or_else(String::new, |(_, value)| value.to_owned());
    match needs {
        Needs::Run(right) => {
            let run = app.runs.find_for(&user, &part("run"), right).await?;
            request.extensions_mut().insert(run);
        }
        Needs::Module(right) => app.catalogue.seen_by(&user).check(&part("path"), right).await?,
        Needs::Nothing | Needs::Login => {}
        Needs::Account | Needs::Oneself | Needs::Admin => about_accounts(needs, &user, part("user"))?,
    }
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

fn about_accounts(needs: Needs, user: &User, named: String) -> Result<(), ApiError> {
    if !user.scope.is_whole() {
        return Err(ApiError::new(Code::Denied, "this token is limited: it is not good for that"));
    }
    match needs {
        Needs::Admin if !user.admin => Err(ApiError::new(Code::Denied, "only an administrator may do that")),
        Needs::Oneself if !user.admin && named != user.name => Err(AccessError::NoUser(named).into()),
        _ => Ok(()),
    }
}

/// Whether somebody may do more with a run than its route needs.
pub(super) fn allow_run(user: &User, run: &RunHandle, right: Right) -> Result<(), ApiError> {
    let denied = || RunError::Denied { run: run.id().short(), right };
    if run.rights(user).has(right) { Ok(()) } else { Err(denied().into()) }
}
