//! Updating a run to another version of its module: makes the plan of that version with what was chosen at the
//! launch, and hands it to the run.

use std::collections::BTreeMap;

use axum::{Extension, Json, extract::State, http::HeaderMap};
use slipstream_shared::{
    api::{OperationInfo, UpdateRequest},
    operation::Asked,
    plan::{ParamPlan, Plan},
};

use super::{
    error::{ApiError, Code},
    extract::JsonBody,
    operations::operate,
};
use crate::{
    access::User,
    app::Shared,
    catalogue::{Catalogue, LaunchOptions},
    drive::RunHandle,
};

/// `POST /api/v1/runs/{run}/update`
pub(super) async fn update(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    headers: HeaderMap,
    JsonBody(UpdateRequest { module, dry_run }): JsonBody<UpdateRequest>,
) -> Result<(axum::http::StatusCode, Json<OperationInfo>), ApiError> {
    let old = run.plan().await?;
    let catalogue = app.catalogue.seen_by(&user);
    let path = |reference: &str| reference.split('@').next().unwrap_or_default().to_owned();
    if path(&module) != path(&old.module) {
        let detail = format!("the run is of {}: it is updated to versions of that, not to {module}", path(&old.module));
        return Err(ApiError::new(Code::InvalidValue, detail));
    }
    let plan = resolve(&catalogue, &module, &old).await?;
    let asked = Asked::Update { module, plan: Some(Box::new(plan)) };
    operate(user, &run, &headers, asked, dry_run).await
}

/// The plan of a version, each node where it is, with the values that were chosen at the launch.
async fn resolve(catalogue: &Catalogue, module: &str, old: &Plan) -> Result<Plan, ApiError> {
    let somewhere = old.nodes.values().next().map(|n| n.cloud.clone()).unwrap_or_default();
    let defaults = chosen_options(old, old, &somewhere, BTreeMap::new());
    let values = match catalogue.resolve(&old.module, &defaults).await {
        Ok(defaults) => values(old, Some(&defaults)),
        // An input without a default was chosen; which of the others were cannot be told then.
        Err(_) => values(old, None),
    };
    let cloud = [("*".to_owned(), somewhere.clone())].into();
    let everywhere = LaunchOptions { cloud, begun: true, ..LaunchOptions::default() };
    let shape = match catalogue.resolve(module, &everywhere).await {
        Ok(shape) => shape,
        Err(_) => old.clone(),
    };
    let options = chosen_options(old, &shape, &somewhere, values);
    Ok(catalogue.resolve(module, &options).await?)
}

/// Nodes stay on their clouds; new ones go where the module says, else where the others are.
fn chosen_options(old: &Plan, new: &Plan, somewhere: &str, values: BTreeMap<String, String>) -> LaunchOptions {
    let kept = old.nodes.iter().filter(|(name, _)| new.nodes.contains_key(*name));
    let known = |key: &String| match key.split_once(':') {
        None => new.params.contains_key(key),
        Some((node, name)) => new.nodes.iter().any(|(n, plan)| n.as_str() == node && plan.params.contains_key(name)),
    };
    LaunchOptions {
        set: values.into_iter().filter(|(key, _)| known(key)).collect(),
        cloud: kept.map(|(name, node)| (name.to_string(), node.cloud.clone())).collect(),
        default_cloud: Some(somewhere.to_owned()),
        keep_running: Some(old.policy.keep_running),
        timeout: Some(old.policy.timeout),
        begun: true,
        ..LaunchOptions::default()
    }
}

/// The literal values of a plan that are not those of its module.
fn values(plan: &Plan, defaults: Option<&Plan>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut take = |prefix: &str, params: &BTreeMap<String, ParamPlan>, usual: Option<&BTreeMap<String, ParamPlan>>| {
        for (name, param) in params {
            let usual = usual.and_then(|usual| usual.get(name)).and_then(|p| p.value.as_ref());
            if let Some(value) = param.value.as_ref().filter(|v| Some(*v) != usual).and_then(|v| v.as_literal()) {
                values.insert(format!("{prefix}{name}"), value.to_owned());
            }
        }
    };
    take("", &plan.params, defaults.map(|d| &d.params));
    for (node, planned) in &plan.nodes {
        let usual = defaults.and_then(|d| d.nodes.get(node)).map(|n| &n.params);
        take(&format!("{node}:"), &planned.params, usual);
    }
    values
}
