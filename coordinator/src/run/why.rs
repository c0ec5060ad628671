//! Why a run is not where it is to be: what is shown when it hangs.

use slipstream_shared::{
    api::{Why, WhyInstance},
    id::InstanceId,
    state::{Milestone, RunState},
};

use super::{Instance, Run, value::Leaf};

/// The most things that one instance is said to wait for.
const MOST: usize = 10;

impl Run {
    /// The first milestone that each instance lacks.
    #[must_use]
    pub fn why(&self) -> Why {
        let lacks = |(id, instance): (&InstanceId, &Instance)| {
            let missing = self.missing(id, instance)?;
            let (milestone, what, failure) = (missing.milestone, missing.what, missing.failure);
            let (since, until) = (self.shown(missing.since), missing.until.map(|until| self.shown(until)));
            let waits_for = if milestone == Milestone::Deployed { self.waits_of(id, instance) } else { vec![] };
            Some(WhyInstance { instance: id.clone(), milestone, what, since, until, failure, waits_for })
        };
        let instances: Vec<WhyInstance> = self.instances.iter().filter_map(lacks).collect();
        Why { state: self.state, summary: self.sentence(&instances), instances }
    }

    fn sentence(&self, lacking: &[WhyInstance]) -> String {
        let state = self.state;
        let first = lacking.first().map(|why| why.what.as_str());
        if let Some(abort) = self.abort.as_ref().filter(|_| !state.is_final()) {
            let word = abort.failure.map(|failure| format!(" ({failure})")).unwrap_or_default();
            return format!("{state}, aborted{word}: {}", abort.reason);
        }
        match state {
            _ if state.is_final() && !self.left.is_empty() => {
                format!("{state}, but {} machines were left behind", self.left.len())
            }
            _ if state.is_final() => format!("{state}: everything is gone"),
            RunState::Ready if lacking.is_empty() => format!("{state}: {}", self.health()),
            RunState::SendingReports => format!("{state}: reports are being collected"),
            RunState::Finalizing if lacking.is_empty() => {
                format!("{state}: the clouds are asked whether anything is left")
            }
            _ => format!("{state}: {}", first.unwrap_or("nothing is missing")),
        }
    }

    /// What the next step of an instance, or the script that runs in it, waits for.
    fn waits_of(&self, id: &InstanceId, instance: &Instance) -> Vec<String> {
        if instance.is_executing() || !instance.waits.is_empty() {
            return instance.waits.keys().take(MOST).cloned().collect();
        }
        let next = (0..self.deploy_steps(id)).find(|index| !instance.steps.contains_key(index));
        let Some(Err(leaves)) = next.map(|index| self.agent_env(id, index)) else { return vec![] };
        let mut names: Vec<String> = leaves.iter().filter(|l| !self.is_indirect(l)).map(Leaf::to_string).collect();
        names.sort();
        names.dedup();
        names.truncate(MOST);
        names
    }
}
