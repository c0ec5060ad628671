//! Starting a run exactly once.
//!
//! With an idempotency key, the id of the run is decided and durable before the run is: whoever repeats
//! the request, even after a crash in between, arrives at the same run.

use slipstream_shared::{api::LaunchRequest, id::RunId, ssh_key::check_all};

use super::{
    error::{ApiError, Code},
    once::{self, Reserved},
};
use crate::{access::User, app::App, catalogue::LaunchOptions, drive::Words};

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
            let body = app.launches.fingerprint(&serde_json::to_vec(&request).unwrap_or_default());
            let reserved = Reserved { run: id, request: body };
            let known = once::reserve(&*app.store, &user.name, key, &reserved, app.seam.now()).await?;
            if known.request != reserved.request {
                let run = known.run.short();
                let detail = format!("the idempotency key `{key}` was used to start run {run} with another body");
                return Err(ApiError::new(Code::KeyReused, detail));
            }
            if known.run != id && app.runs.find(&known.run.to_string()).await.is_ok() {
                return Ok(known.run);
            }
            known.run
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
    let prepared = app.catalogue.seen_by(user).prepare(&request.module, &options).await?;
    let words = Words { owner: user.name.clone(), tags: request.tags, ssh_keys, grants: prepared.grants };
    Ok(app.runs.launch_with(id, prepared.plan, prepared.secrets, words).await?)
}

/// Where there is no choice, nobody has to choose.
fn only_cloud(app: &App) -> Option<String> {
    let mut names = app.clouds.keys();
    names.next().filter(|_| names.next().is_none()).cloned()
}
