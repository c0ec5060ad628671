//! Who did what.

use axum::{Extension, Json, extract::State};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use slipstream_shared::api::{AuditEntry, Page};

use super::{
    error::{ApiError, Code},
    extract::QueryOf,
};
use crate::{
    access::{User, audit::Filter},
    app::Shared,
    seam::Millis,
};

/// How many entries a page has unless told, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// The `next` of the page before
    after: Option<String>,
    /// How many, at most 1000
    limit: Option<usize>,
    /// From this time on, such as 2030-01-31T18:00:00Z
    since: Option<String>,
    /// Before this time
    until: Option<String>,
    /// Only of this user
    user: Option<String>,
    /// Only of this kind: the `operationId` of the request
    action: Option<String>,
    /// Only about this: the full id of a run, a module with its version, a user, a group
    on: Option<String>,
    /// Only what was refused or failed
    #[serde(default)]
    failed: bool,
}

/// `GET /api/v1/audit`
pub(super) async fn list(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    QueryOf(query): QueryOf<AuditQuery>,
) -> Result<Json<Page<AuditEntry>>, ApiError> {
    let filter = Filter {
        after: query.after,
        since: query.since.map(|text| time("since", &text)).transpose()?,
        until: query.until.map(|text| time("until", &text)).transpose()?,
        user: query.user,
        action: query.action,
        on: query.on,
        failed: query.failed,
    };
    let limit = query.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let found = app.audit.list(&user, &filter, limit).await?;
    Ok(Json(Page { items: found.items, next: found.next }))
}

fn time(field: &str, text: &str) -> Result<Millis, ApiError> {
    let wrong = |why: String| ApiError::new(Code::InvalidRequest, format!("`{field}`: {why}"));
    let time: Timestamp = text.parse().map_err(|error: jiff::Error| wrong(error.to_string()))?;
    Ok(Millis::try_from(time.as_millisecond()).unwrap_or(0))
}
