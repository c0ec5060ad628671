//! Users, their passwords and keys for ssh.

use axum::{Extension, Json, extract::State, http::StatusCode};
use slipstream_shared::api::{ChangeUser, NewPassword, NewSshKey, NewUser, Page, UserInfo};

use super::{
    error::ApiError,
    extract::{JsonBody, PathOf},
};
use crate::{
    access::{First, User},
    app::Shared,
    server::Client,
};

/// `GET /api/v1/users`
pub(super) async fn list(State(app): State<Shared>, Extension(user): Extension<User>) -> Json<Page<UserInfo>> {
    Json(Page { items: app.access.users(&user), next: None })
}

/// `POST /api/v1/users`
pub(super) async fn add(
    State(app): State<Shared>,
    JsonBody(user): JsonBody<NewUser>,
) -> Result<(StatusCode, Json<UserInfo>), ApiError> {
    let made = app.access.add_user(First { user, ..First::default() }).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// `GET /api/v1/users/{user}`
pub(super) async fn show(State(app): State<Shared>, PathOf(name): PathOf<String>) -> Result<Json<UserInfo>, ApiError> {
    Ok(Json(app.access.show_user(&name)?))
}

/// `PATCH /api/v1/users/{user}`
pub(super) async fn change(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(name): PathOf<String>,
    JsonBody(change): JsonBody<ChangeUser>,
) -> Result<Json<UserInfo>, ApiError> {
    Ok(Json(app.access.change_user(&user, &name, change).await?))
}

/// `DELETE /api/v1/users/{user}`
pub(super) async fn delete(State(app): State<Shared>, PathOf(name): PathOf<String>) -> Result<StatusCode, ApiError> {
    app.access.delete_user(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /api/v1/users/{user}/password`
pub(super) async fn set_password(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    Extension(client): Extension<Client>,
    PathOf(name): PathOf<String>,
    JsonBody(new): JsonBody<NewPassword>,
) -> Result<StatusCode, ApiError> {
    app.access.set_password(&user, &name, new, client.address.ip()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/users/{user}/ssh-keys`
pub(super) async fn add_ssh_key(
    State(app): State<Shared>,
    PathOf(name): PathOf<String>,
    JsonBody(NewSshKey { key }): JsonBody<NewSshKey>,
) -> Result<Json<UserInfo>, ApiError> {
    Ok(Json(app.access.add_ssh_key(&name, &key).await?))
}

/// `DELETE /api/v1/users/{user}/ssh-keys/{id}`
pub(super) async fn remove_ssh_key(
    State(app): State<Shared>,
    PathOf((name, id)): PathOf<(String, String)>,
) -> Result<Json<UserInfo>, ApiError> {
    Ok(Json(app.access.remove_ssh_key(&name, &id).await?))
}
