//! Starting a run exactly once.
//!
//! With an idempotency key, the id of the run is decided and durable before the run is: whoever repeats
//! the request, even after a crash in between, arrives at the same run.

use serde::{Deserialize, Serialize};
use slipstream_shared::{api::LaunchRequest, id::RunId, ssh_key::check_all};

use super::error::{ApiError, Code};
use crate::{
    access::User,
    app::App,
    catalogue::LaunchOptions,
    store::{Batch, StoreError, layout},
};

/// What is known of a key.
#[derive(Serialize, Deserialize)]
struct Reserved {
    run: RunId,
    /// Recognises the request it was first used for, which may hold secrets.
    request: String,
}

/// Starts a run, or finds the one that was started with this key.
pub(super) async fn launch(
    app: &App,
    user: &User,
    key: Option<&str>,
    request: LaunchRequest,
) -> Result<RunId, ApiError> {
    check_all(&request.ssh_keys).map_err(|why| ApiError::new(Code::InvalidRequest, format!("`ssh_keys`: {why}")))?;
    let id = app.seam.run_id();
    let id = match key {
        Some(key) => {
            let (reserved, first) = reserve(app, user, key, id, &request).await?;
            if !first && app.runs.find(&reserved.to_string()).await.is_ok() {
                return Ok(reserved);
            }
            reserved
        }
        None => id,
    };
    let options = LaunchOptions::from(&request);
    let mut ssh_keys = request.ssh_keys;
    let own = app.access.ssh_keys(&user.name).into_iter().filter(|key| !ssh_keys.contains(key));
    ssh_keys.extend(own.collect::<Vec<_>>());
    check_all(&ssh_keys)
        .map_err(|why| ApiError::new(Code::InvalidRequest, format!("with those of your account: {why}")))?;
    let options = LaunchOptions { default_cloud: only_cloud(app), ..options };
    let prepared = app.catalogue.prepare(&request.module, &options).await?;
    Ok(app.runs.launch_with(id, &user.name, prepared.plan, prepared.secrets, request.tags, ssh_keys).await?)
}

/// Where there is no choice, nobody has to choose.
fn only_cloud(app: &App) -> Option<String> {
    let mut names = app.clouds.keys();
    names.next().filter(|_| names.next().is_none()).cloned()
}

/// The run of a key, and whether this request is the first to use it.
async fn reserve(
    app: &App,
    user: &User,
    key: &str,
    id: RunId,
    request: &LaunchRequest,
) -> Result<(RunId, bool), ApiError> {
    let place = layout::idempotency(&user.name, key);
    let reserved =
        Reserved { run: id, request: app.launches.fingerprint(&serde_json::to_vec(request).unwrap_or_default()) };
    let value = serde_json::to_vec(&reserved).map_err(|error| damaged(&error))?;
    let batch = Batch { expect: vec![(place.clone(), None)], writes: vec![(place.clone(), Some(value))] };
    match app.store.append(batch).await {
        Ok(()) => return Ok((id, true)),
        Err(StoreError::Conflict { .. }) => (),
        Err(error) => return Err(error.into()),
    }
    let known = app.store.get(&place).await?.unwrap_or_default();
    let known: Reserved = serde_json::from_slice(&known).map_err(|error| damaged(&error))?;
    if known.request != reserved.request {
        let detail =
            format!("the idempotency key `{key}` was used to start run {} with another body", known.run.short());
        return Err(ApiError::new(Code::KeyReused, detail));
    }
    Ok((known.run, false))
}

fn damaged(error: &serde_json::Error) -> ApiError {
    tracing::error!("the record of an idempotency key is damaged: {error}");
    ApiError::new(Code::Internal, "the coordinator failed; its log says why")
}
