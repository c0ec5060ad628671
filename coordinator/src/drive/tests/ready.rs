//! Runs that are Ready, for the tests of what is done to them then.

use slipstream_shared::{
    id::RunId,
    operation::Hook,
    plan::{Plan, Script as Text, StepPlan},
    state::RunState,
};

use super::site::{Script, Site};
use crate::cloud::fake::Habits;

/// A site with a run that has become Ready, on a cloud that takes a repeated launch for another one.
pub(super) async fn up(plan: Plan) -> (Site, RunId) {
    up_with(plan, Script::Succeed).await
}

/// The same, with agents that go by this script.
pub(super) async fn up_with(plan: Plan, script: Script) -> (Site, RunId) {
    let mut site = Site::new().await;
    site.cloud.set_habits(Habits { idempotent: false, ..Habits::default() });
    let run = site.launch(plan).await;
    site.play_agents(script);
    site.wait_for(run, RunState::Ready).await;
    (site, run)
}

/// Gives the only node these hooks, each like its first step.
pub(super) fn hook(plan: &mut Plan, hooks: &[Hook]) {
    let web = plan.nodes.values_mut().next().expect("web");
    for hook in hooks {
        let step = StepPlan { step: hook.name().into(), ..web.steps[0].clone() };
        web.hooks.insert(*hook, vec![step]);
    }
}

/// Has a hook of the only node fail.
pub(super) fn break_hook(plan: &mut Plan, hook: Hook) {
    let web = plan.nodes.values_mut().next().expect("web");
    web.hooks.get_mut(&hook).expect("hooked")[0].script = Text::Text("false".into());
}
