//! API tokens.

use axum::{Extension, Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use slipstream_shared::api::{MadeToken, NewToken, Page, TokenInfo};

use super::{
    error::{ApiError, Code},
    extract::{JsonBody, PathOf, QueryOf},
};
use crate::{
    access::{AccessError, User},
    app::Shared,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Whose; of others only for administrators
    user: Option<String>,
}

/// `GET /api/v1/tokens`
pub(super) async fn list(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    QueryOf(query): QueryOf<ListQuery>,
) -> Result<Json<Page<TokenInfo>>, ApiError> {
    let whose = query.user.unwrap_or_else(|| user.name.clone());
    if !user.admin && whose != user.name {
        return Err(AccessError::NoUser(whose).into());
    }
    Ok(Json(Page { items: app.access.tokens(&whose)?, next: None }))
}

/// `POST /api/v1/tokens`
pub(super) async fn add(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    JsonBody(new): JsonBody<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>), ApiError> {
    if let Some(project) = &new.scope.project
        && slipstream_shared::module::path::check(project).is_err()
    {
        let detail = format!("`scope.project`: `{project}` is not the path of a module");
        return Err(ApiError::new(Code::InvalidValue, detail));
    }
    Ok((StatusCode::CREATED, Json(app.access.add_token(&user, new).await?)))
}

/// `DELETE /api/v1/tokens/{id}`
pub(super) async fn revoke(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.access.revoke_token(&user, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
