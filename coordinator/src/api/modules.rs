//! Modules: save, list, search, show, publish, delete, copy and move.

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use schemars::JsonSchema;
use serde::Deserialize;
use slipstream_shared::api::{FileProblem, ModuleAction, ModuleInfo, Page};

use super::{
    error::{ApiError, Code},
    extract::{JsonBody, PathOf, QueryOf, YamlBody, header_text},
};
use crate::{access::User, app::Shared, catalogue::Wanted};

/// How many modules a page has.
const PAGE: usize = 200;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only modules whose path begins like this
    #[serde(default)]
    prefix: String,
    /// Only modules found by all of these words, or beginnings of words, in path, title, description and tags
    #[serde(default)]
    search: String,
    /// Only modules with this tag
    tag: Option<String>,
    /// Only what is directly in this folder, and the folders in it; empty for the root. Not together with others
    folder: Option<String>,
    /// What was deleted or moved, instead of what is there
    #[serde(default)]
    gone: bool,
    /// The `next` of the page before
    after: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionsQuery {
    /// The `next` of the page before
    after: Option<u32>,
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
    headers: HeaderMap,
    YamlBody(text): YamlBody,
) -> Result<(StatusCode, Json<ModuleInfo>), ApiError> {
    let base = base(&headers)?;
    let stored = app.catalogue.save(&text, &user.name, &query.comment, base, app.seam.now()).await?;
    let status = if stored.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(stored.info())))
}

/// `GET /api/v1/modules`
pub(super) async fn list(
    State(app): State<Shared>,
    QueryOf(query): QueryOf<ListQuery>,
) -> Result<Json<Page<ModuleInfo>>, ApiError> {
    let ListQuery { prefix, search, tag, folder, gone, after } = query;
    if let Some(folder) = folder {
        if !prefix.is_empty() || !search.is_empty() || tag.is_some() || gone {
            return Err(ApiError::new(Code::InvalidRequest, "`folder` is not taken together with other conditions"));
        }
        return Ok(Json(app.catalogue.folder(&folder, after.as_deref(), PAGE).await?));
    }
    let wanted = Wanted { prefix, search, tag, gone, after, limit: PAGE };
    Ok(Json(app.catalogue.page(&wanted).await?))
}

/// The version that a change was begun with: `If-Match: "3"`, 0 where there was none.
fn base(headers: &HeaderMap) -> Result<Option<u32>, ApiError> {
    let Some(text) = header_text(headers, header::IF_MATCH.as_str())? else { return Ok(None) };
    let number = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        let detail = format!("`If-Match` has the version that the change was begun with, as in `\"3\"`, not `{text}`");
        ApiError::new(Code::InvalidRequest, detail)
    })
}

/// `GET /api/v1/modules/{*path}`
pub(super) async fn show(
    State(app): State<Shared>,
    PathOf(path): PathOf<String>,
) -> Result<impl IntoResponse, ApiError> {
    let info = app.catalogue.get(&path).await?.info();
    Ok(([(header::ETAG, format!("\"{}\"", info.version))], Json(info)))
}

/// `GET /api/v1/versions/{*path}`
pub(super) async fn versions(
    State(app): State<Shared>,
    PathOf(path): PathOf<String>,
    QueryOf(query): QueryOf<VersionsQuery>,
) -> Result<Json<Page<ModuleInfo>>, ApiError> {
    Ok(Json(app.catalogue.versions(&path, query.after, PAGE).await?))
}

/// `POST /api/v1/check-module`
pub(super) async fn check(
    State(app): State<Shared>,
    YamlBody(text): YamlBody,
) -> Result<Json<Page<FileProblem>>, ApiError> {
    let clouds = app.clouds.keys().cloned().collect();
    let problems = app.catalogue.check(&text, &clouds).await?;
    Ok(Json(Page { items: problems.iter().map(FileProblem::from).collect(), next: None }))
}

/// `POST /api/v1/modules/{*path}`
pub(super) async fn act(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(path): PathOf<String>,
    JsonBody(action): JsonBody<ModuleAction>,
) -> Result<Json<ModuleInfo>, ApiError> {
    Ok(Json(app.catalogue.act(&path, &action, &user.name, app.seam.now()).await?.info()))
}

/// `DELETE /api/v1/modules/{*path}`
pub(super) async fn delete(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(path): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.catalogue.delete(&path, &user.name, app.seam.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
