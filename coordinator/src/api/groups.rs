//! Groups of users.

use axum::{Extension, Json, extract::State, http::StatusCode};
use slipstream_shared::api::{ChangeGroup, GroupInfo, NewGroup, Page};

use super::{
    error::ApiError,
    extract::{JsonBody, PathOf},
};
use crate::{access::User, app::Shared};

/// `GET /api/v1/groups`
pub(super) async fn list(State(app): State<Shared>, Extension(user): Extension<User>) -> Json<Page<GroupInfo>> {
    Json(Page { items: app.access.groups(&user), next: None })
}

/// `POST /api/v1/groups`
pub(super) async fn add(
    State(app): State<Shared>,
    JsonBody(new): JsonBody<NewGroup>,
) -> Result<(StatusCode, Json<GroupInfo>), ApiError> {
    Ok((StatusCode::CREATED, Json(app.access.add_group(new).await?)))
}

/// `GET /api/v1/groups/{group}`
pub(super) async fn show(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(name): PathOf<String>,
) -> Result<Json<GroupInfo>, ApiError> {
    Ok(Json(app.access.show_group(&user, &name)?))
}

/// `PATCH /api/v1/groups/{group}`
pub(super) async fn change(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(name): PathOf<String>,
    JsonBody(change): JsonBody<ChangeGroup>,
) -> Result<Json<GroupInfo>, ApiError> {
    Ok(Json(app.access.change_group(&user, &name, change).await?))
}

/// `DELETE /api/v1/groups/{group}`
pub(super) async fn delete(State(app): State<Shared>, PathOf(name): PathOf<String>) -> Result<StatusCode, ApiError> {
    app.access.delete_group(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
