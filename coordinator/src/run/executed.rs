//! What was really executed where that is not what the module says.

use std::collections::BTreeMap;

use slipstream_shared::{event::StepResult, id::NodeName, operation::Work, plan::Script};

use super::Run;

/// A script that was run instead of that of the module, and has succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Of which node.
    pub node: NodeName,
    /// Of which step.
    pub step: String,
    /// The module that contributes the step.
    pub origin: String,
    /// What was run.
    pub script: String,
}

impl Run {
    /// The edited scripts that have succeeded, the latest of each step.
    #[must_use]
    pub fn executed(&self) -> Vec<Executed> {
        let mut latest: BTreeMap<(&NodeName, u32), (u64, Executed)> = BTreeMap::new();
        for (id, task) in self.tasks.iter().flat_map(|(id, all)| all.iter().map(move |task| (id, task))) {
            let Work::Step { step, script: Some(Script::Text(script)), .. } = &task.work else { continue };
            if !task.result.as_ref().is_some_and(StepResult::succeeded) {
                continue;
            }
            let plan = self.node(id).and_then(|node| node.steps.get(usize::try_from(*step).ok()?));
            let Some(plan) = plan.filter(|plan| plan.step == task.work.name()) else { continue };
            let executed = Executed {
                node: id.node.clone(),
                step: plan.step.clone(),
                origin: plan.origin.clone(),
                script: script.clone(),
            };
            let ended = task.ended.unwrap_or_default();
            let known = latest.get(&(&id.node, *step)).map_or(0, |(at, _)| *at);
            if ended >= known {
                latest.insert((&id.node, *step), (ended, executed));
            }
        }
        latest.into_values().map(|(_, executed)| executed).collect()
    }
}
