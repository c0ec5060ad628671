//! Saves what a run has really executed as a version of its module.

use axum::{Extension, Json, extract::State, http::StatusCode};
use slipstream_shared::{
    api::{SaveRequest, SavedModule},
    module::rewrite,
    plan::Category,
};

use super::{
    error::{ApiError, Code},
    extract::JsonBody,
};
use crate::{access::User, app::Shared, drive::RunHandle, run::executed::Executed};

/// `POST /api/v1/runs/{run}/save`
pub(super) async fn save(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    JsonBody(SaveRequest { path }): JsonBody<SaveRequest>,
) -> Result<(StatusCode, Json<SavedModule>), ApiError> {
    let catalogue = app.catalogue.seen_by(&user);
    let (plan, executed) = (run.plan().await?, run.executed().await?);
    let (own, others): (Vec<Executed>, Vec<Executed>) = executed.into_iter().partition(|e| e.origin == plan.module);
    let name = |e: &Executed| format!("{}: {} (of {})", e.node, e.step, e.origin);
    let left: Vec<String> = others.iter().map(name).collect();
    if own.is_empty() {
        let detail = match left.as_slice() {
            [] => "the run has executed what its module says: there is nothing to save".to_owned(),
            left => {
                format!("nothing of {} was edited; save these in their own modules: {}", plan.module, left.join(", "))
            }
        };
        return Err(ApiError::new(Code::InvalidValue, detail));
    }
    let mut source = catalogue.get(&plan.module).await?.source;
    let refused = |why: String| ApiError::new(Code::InvalidValue, format!("cannot save {}: {why}", plan.module));
    for edited in &own {
        let node = edited.node.to_string();
        let path = match plan.category {
            Category::Application => vec!["nodes", &node, &edited.step],
            Category::Machine => vec![edited.step.as_str()],
        };
        source = rewrite::replace(&source, &path, &edited.script).map_err(refused)?;
    }
    if let Some(path) = path {
        source = rewrite::replace(&source, &["name"], &path).map_err(refused)?;
    }
    let comment = format!("as executed by run {}", run.id().short());
    let stored = catalogue.put(&source, &user.name, &comment, app.seam.now()).await?;
    let status = if stored.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(SavedModule { module: stored.info(), saved: own.iter().map(name).collect(), left })))
}
