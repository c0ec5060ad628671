//! Modules: save, list, show.

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use slipstream_shared::api::{ModuleInfo, Page};

use super::{
    error::ApiError,
    extract::{PathOf, QueryOf, YamlBody},
};
use crate::{access::User, app::Shared};

/// How many modules a page has.
const PAGE: usize = 200;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only modules whose path begins like this
    #[serde(default)]
    prefix: String,
    /// The `next` of the page before
    after: Option<String>,
}

/// `PUT /api/v1/modules`
pub(super) async fn save(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    YamlBody(text): YamlBody,
) -> Result<Response, ApiError> {
    let module = app.catalogue.put(&user.name, &text).await?;
    Ok((StatusCode::CREATED, Json(module)).into_response())
}

/// `GET /api/v1/modules`
pub(super) async fn list(
    State(app): State<Shared>,
    QueryOf(query): QueryOf<ListQuery>,
) -> Result<Json<Page<ModuleInfo>>, ApiError> {
    let all = app.catalogue.list(None).await?;
    let wanted = |module: &ModuleInfo| {
        module.path.starts_with(&query.prefix) && query.after.as_ref().is_none_or(|after| module.path > *after)
    };
    let mut items: Vec<ModuleInfo> = all.into_iter().filter(wanted).take(PAGE + 1).collect();
    let more = items.len() > PAGE;
    items.truncate(PAGE);
    let next = items.last().filter(|_| more).map(|module| module.path.clone());
    Ok(Json(Page { items, next }))
}

/// `GET /api/v1/modules/{*path}`
pub(super) async fn show(
    State(app): State<Shared>,
    PathOf(path): PathOf<String>,
) -> Result<Json<ModuleInfo>, ApiError> {
    Ok(Json(app.catalogue.get(&path).await?))
}
