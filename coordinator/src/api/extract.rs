//! Reading requests: every failure becomes a problem with a code, never a bare text.

use std::time::Duration;

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::error::{ApiError, Code};

/// The largest body of a request, in bytes.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        expect_type(request.headers(), &["application/json"])?;
        let bytes = read(request).await?;
        let invalid = |error: serde_json::Error| {
            ApiError::new(Code::InvalidRequest, format!("the body is not what is expected: {error}"))
        };
        serde_json::from_slice(&bytes).map(JsonBody).map_err(invalid)
    }
}

/// The text of a module file.
pub(super) struct YamlBody(pub(super) String);

impl<S: Send + Sync> FromRequest<S> for YamlBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        expect_type(request.headers(), &["application/yaml", "application/x-yaml", "text/yaml", "text/plain"])?;
        let text = String::from_utf8(read(request).await?.into());
        text.map(YamlBody).map_err(|_| ApiError::new(Code::InvalidRequest, "the module file is not UTF-8"))
    }
}

/// The parts of the path.
pub(super) struct PathOf<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathOf<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(path)| PathOf(path)).map_err(|error| ApiError::new(Code::InvalidRequest, error.body_text()))
    }
}

/// The query.
pub(super) struct QueryOf<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryOf<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(query)| QueryOf(query)).map_err(|error| ApiError::new(Code::InvalidRequest, error.body_text()))
    }
}

/// The text of a header that may be given once.
pub(super) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let invalid = || ApiError::new(Code::InvalidRequest, format!("the header `{name}` is not plain text"));
    headers.get(name).map(|value| value.to_str().map_err(|_| invalid())).transpose()
}

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 255;

/// The key by which a request that is sent again is known.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let key = header_text(headers, "idempotency-key")?;
    if key.is_some_and(|key| key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        let detail = format!("an idempotency key has 1 to {MAX_KEY} printable ASCII characters without spaces");
        return Err(ApiError::new(Code::InvalidRequest, detail));
    }
    Ok(key)
}

fn expect_type(headers: &HeaderMap, expected: &[&str]) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if expected.iter().any(|expected| essence.eq_ignore_ascii_case(expected)) {
        return Ok(());
    }
    Err(ApiError::new(Code::MediaType, format!("the body must be sent as `Content-Type: {}`", expected[0])))
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    let body = to_bytes(request.into_body(), MAX_BODY);
    let within = BODY_WITHIN.as_secs();
    match tokio::time::timeout(BODY_WITHIN, body).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => {
            Err(ApiError::new(Code::TooLarge, format!("a body may have {MAX_BODY} bytes")))
        }
        Ok(Err(_)) => Err(ApiError::new(Code::InvalidRequest, "the body did not arrive whole")),
        Err(_) => Err(ApiError::new(Code::SlowBody, format!("the body did not arrive within {within} seconds"))),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>())
}
