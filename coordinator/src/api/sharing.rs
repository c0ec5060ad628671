//! Who may do what with modules and runs.

use axum::{Extension, Json, extract::State};
use slipstream_shared::{
    api::{ShareRequest, SharingInfo},
    event::Author,
};

use super::{
    error::{ApiError, Code},
    extract::{JsonBody, PathOf},
};
use crate::{access::User, app::App, app::Shared, drive::RunHandle};

/// `GET /api/v1/sharing/{*path}`
pub(super) async fn of_module(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(path): PathOf<String>,
) -> Result<Json<SharingInfo>, ApiError> {
    Ok(Json(app.catalogue.seen_by(&user).sharing(&path).await?))
}

/// `PATCH /api/v1/sharing/{*path}`
pub(super) async fn share_module(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    PathOf(path): PathOf<String>,
    JsonBody(change): JsonBody<ShareRequest>,
) -> Result<Json<SharingInfo>, ApiError> {
    check_groups(&app, &user, &change)?;
    if let Some(owner) = &change.owner {
        if !user.admin {
            return Err(ApiError::new(Code::Denied, "only an administrator gives a module to another owner"));
        }
        app.access.show_user(owner)?;
    }
    Ok(Json(app.catalogue.seen_by(&user).share(&path, &change).await?))
}

/// `GET /api/v1/runs/{run}/sharing`
pub(super) async fn of_run(
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
) -> Json<SharingInfo> {
    Json(run.sharing(&user))
}

/// `PATCH /api/v1/runs/{run}/sharing`
pub(super) async fn share_run(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    JsonBody(change): JsonBody<ShareRequest>,
) -> Result<Json<SharingInfo>, ApiError> {
    check_groups(&app, &user, &change)?;
    if change.owner.is_some() || change.of_runs {
        return Err(ApiError::new(
            Code::InvalidRequest,
            "`owner` and `of_runs` are for modules: a run keeps its owner",
        ));
    }
    run.share(Author::User(user.name.clone()), change.groups, change.everyone).await?;
    Ok(Json(run.sharing(&user)))
}

/// One shares with groups that one knows of. What was granted can always be taken back.
fn check_groups(app: &App, user: &User, change: &ShareRequest) -> Result<(), ApiError> {
    for (group, rights) in &change.groups {
        if !rights.is_empty() {
            app.access.show_group(user, group)?;
        }
    }
    Ok(())
}
