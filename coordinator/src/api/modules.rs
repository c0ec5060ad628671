//! Modules: save, list, show.

use axum::{Extension, Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use slipstream_shared::api::{ModuleInfo, Page};

use super::{
    error::ApiError,
    extract::{PathOf, QueryOf, YamlBody},
    guard::About,
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

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SaveQuery {
    /// Why it is saved
    #[serde(default)]
    comment: String,
}

/// `PUT /api/v1/modules`
pub(super) async fn save(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    QueryOf(query): QueryOf<SaveQuery>,
    YamlBody(text): YamlBody,
) -> Result<(StatusCode, Extension<About>, Json<ModuleInfo>), ApiError> {
    let stored = app.catalogue.seen_by(&user).put(&text, &user.name, &query.comment, app.seam.now()).await?;
    let status = if stored.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Extension(About(stored.to_string())), Json(stored.info())))
}

/// `GET /api/v1/modules`
pub(super) async fn list(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    QueryOf(query): QueryOf<ListQuery>,
) -> Result<Json<Page<ModuleInfo>>, ApiError> {
    let mut all = app.catalogue.seen_by(&user).list(None).await?;
    all.retain(|(path, _)| path.starts_with(&query.prefix) && query.after.as_ref().is_none_or(|after| path > after));
    let more = all.len() > PAGE;
    all.truncate(PAGE);
    let next = all.last().filter(|_| more).map(|(path, _)| path.clone());
    Ok(Json(Page { items: all.iter().map(|(path, heading)| heading.info(path)).collect(), next }))
}

/// `GET /api/v1/modules/{*path}`
pub(super) async fn show(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(path): PathOf<String>,
) -> Result<Json<ModuleInfo>, ApiError> {
    Ok(Json(app.catalogue.seen_by(&user).get(&path).await?.info()))
}
