//! Sessions: a bearer token for programs, a cookie for pages.
//!
//! The cookie is `__Host-slipstream`: browsers send it to this host only, over TLS only, not when another site has
//! made the request (`SameSite=Strict`), and show it to no script (`HttpOnly`). What changes something carries
//! the header `X-CSRF-Token` as well, which another site could neither read nor send.

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use slipstream_shared::api::{Login, Session};

use super::{error::ApiError, extract::JsonBody};
use crate::{
    access::{User, csrf},
    app::Shared,
    server::Client,
};

/// The cookie of pages.
const COOKIE: &str = "__Host-slipstream";

/// The header that goes with it.
pub(super) const CSRF: &str = "x-csrf-token";

/// `POST /api/v1/session`
pub(super) async fn begin(
    State(app): State<Shared>,
    Extension(client): Extension<Client>,
    JsonBody(login): JsonBody<Login>,
) -> Result<Response, ApiError> {
    let cookie = login.cookie;
    let mut session = app.access.login(login, client.address.ip()).await?;
    if !cookie {
        return Ok((StatusCode::CREATED, Json(session)).into_response());
    }
    let secret = session.token.take().unwrap_or_default();
    let left = session.expires.map_or(0, |end| end.as_millisecond() / 1000 - (app.seam.now() / 1000).cast_signed());
    let headers = [(header::SET_COOKIE, set_cookie(&secret, left))];
    Ok((StatusCode::CREATED, headers, Json(session)).into_response())
}

/// `GET /api/v1/session`
pub(super) async fn show(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    headers: HeaderMap,
) -> Result<Json<Session>, ApiError> {
    let session = app.access.session(&user)?;
    // A page that was opened anew asks for it here.
    Ok(Json(Session { csrf: cookie(&headers).map(csrf), ..session }))
}

/// `DELETE /api/v1/session`
pub(super) async fn end(State(app): State<Shared>, Extension(user): Extension<User>) -> Result<Response, ApiError> {
    app.access.logout(&user).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie("", 0))]).into_response())
}

fn set_cookie(secret: &str, seconds: i64) -> HeaderValue {
    let text = format!("{COOKIE}={secret}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Strict");
    let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// The secret in the cookie, if the request has no other token.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    if headers.contains_key(header::AUTHORIZATION) {
        return None;
    }
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}
