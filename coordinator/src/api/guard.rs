//! What stands before every handler: who asks, and whether the route is for them.
//!
//! What a route needs is in the route table. What one may not see is answered as what does not exist.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawPathParams, Request, State},
    http::{HeaderMap, Method, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::MethodRouter,
};

use slipstream_shared::{api::AuditEntry, error_chain::Chain, id::RunId, sharing::Right};

use super::{
    error::{ApiError, Code},
    route::{Needs, Route},
    session,
};
use crate::{
    access::{AccessError, User, csrf, token},
    app::{App, Shared},
    drive::{RunError, RunHandle},
    server::Client,
};

/// What stands before a route.
#[derive(Clone)]
struct Guard {
    app: Shared,
    id: &'static str,
    needs: Needs,
    audited: bool,
}

/// What a request is about, where its path does not say it; an extension of the answer.
#[derive(Debug, Clone)]
pub(super) struct About(pub(super) String);

/// Lets only those through to a handler who have what the route needs. The handler gets them as an extension.
pub(super) fn behind(route: Route, app: &Shared) -> MethodRouter<Shared> {
    let audited = route.is_audited();
    if route.needs == Needs::Nothing && !audited {
        return route.serve;
    }
    let guard = Guard { app: Arc::clone(app), id: route.id, needs: route.needs, audited };
    route.serve.route_layer(middleware::from_fn_with_state(guard, check))
}

async fn check(
    State(guard): State<Guard>,
    Extension(client): Extension<Client>,
    path: RawPathParams,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let app = Arc::clone(&guard.app);
    if guard.needs == Needs::Nothing {
        return on_record(guard, None, client, String::new(), next.run(request)).await;
    }
    let user = authenticate(&app, request.method(), request.headers())?;
    let admitted = admit(&guard, &user, &path, &mut request).await;
    if !guard.audited {
        admitted?;
        return Ok(next.run(request).await);
    }
    let parts: Vec<&str> = path.iter().map(|(_, value)| value).collect();
    let run = request.extensions().get::<RunHandle>().map(RunHandle::id);
    let run = run.or_else(|| request.extensions().get::<RunId>().copied());
    let about = run.map_or_else(|| parts.join(" "), |run| run.to_string());
    request.extensions_mut().insert(user.clone());
    match admitted {
        Ok(()) => on_record(guard, Some(user), client, about, next.run(request)).await,
        Err(refused) => on_record(guard, Some(user), client, about, async { refused.into_response() }).await,
    }
}

/// Lets somebody through who has what the route needs.
async fn admit(guard: &Guard, user: &User, path: &RawPathParams, request: &mut Request) -> Result<(), ApiError> {
    let part =
        |name: &str| path.iter().find(|(key, _)| *key == name).map_or_else(String::new, |(_, value)| value.to_owned());
    match guard.needs {
        Needs::Run(right) => {
            let run = guard.app.runs.find_for(user, &part("run"), right).await?;
            request.extensions_mut().insert(run);
        }
        Needs::Remains(right) => {
            let run = guard.app.runs.id_for(user, &part("run"), right).await?;
            request.extensions_mut().insert(run);
        }
        Needs::Module(right) => guard.app.catalogue.seen_by(user).check(&part("path"), right).await?,
        Needs::Nothing | Needs::Login => {}
        Needs::Account | Needs::Oneself | Needs::Admin => about_accounts(guard.needs, user, part("user"))?,
    }
    request.extensions_mut().insert(user.clone());
    Ok(())
}

/// Serves a request and puts it on record, whether or not its client waits for the answer.
async fn on_record(
    guard: Guard,
    user: Option<User>,
    client: Client,
    about: String,
    serve: impl Future<Output = Response> + Send + 'static,
) -> Result<Response, ApiError> {
    let seam = guard.app.seam.clone();
    let served = seam.spawn(async move {
        let response = serve.await;
        let also = response.extensions().get::<About>().map(|about| about.0.clone());
        let about: Vec<String> = [about].into_iter().chain(also).filter(|text| !text.is_empty()).collect();
        let entry = AuditEntry {
            id: String::new(),
            at: jiff::Timestamp::UNIX_EPOCH,
            token: user.as_ref().and_then(User::token_id),
            user: user.map(|user| user.name).or_else(|| response.extensions().get::<LoginOf>().map(|of| of.0.clone())),
            address: client.address.ip().to_canonical().to_string(),
            action: guard.id.to_owned(),
            on: (!about.is_empty()).then(|| about.join(" ")),
            status: response.status().as_u16(),
            code: response.extensions().get::<Code>().map(|code| code.facts().0.to_owned()),
        };
        // What was done is done: the answer says so, and the log that the record lacks it.
        if let Err(error) = guard.app.audit.record(entry).await {
            tracing::error!(action = guard.id, "cannot put a request on record: {}", Chain(&error));
        }
        response
    });
    served.await.map_err(|_| ApiError::new(Code::Internal, "the coordinator failed; its log says why"))
}

/// Who has tried to log in; an extension of the answer.
#[derive(Debug, Clone)]
pub(super) struct LoginOf(pub(super) String);

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

/// Puts on record what is no request of its own. What cannot be put on record is not done.
pub(super) async fn put_on_record(
    app: &App,
    user: &User,
    client: &Client,
    action: &str,
    about: &str,
) -> Result<(), ApiError> {
    let entry = AuditEntry {
        id: String::new(),
        at: jiff::Timestamp::UNIX_EPOCH,
        token: user.token_id(),
        user: Some(user.name.clone()),
        address: client.address.ip().to_canonical().to_string(),
        action: action.to_owned(),
        on: Some(about.to_owned()),
        status: 200,
        code: None,
    };
    Ok(app.audit.record(entry).await?)
}

/// Whether somebody may do more with a run than its route needs.
pub(super) fn allow_run(user: &User, run: &RunHandle, right: Right) -> Result<(), ApiError> {
    let denied = || RunError::Denied { run: run.id().short(), right };
    if run.rights(user).has(right) { Ok(()) } else { Err(denied().into()) }
}
