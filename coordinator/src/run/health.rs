//! How the instances of a run are. That is apart from its state: a machine that falls silent does not
//! take back what the run has reached.

use slipstream_shared::{id::InstanceId, state::Milestone};

use super::{Instance, Machine, Run};

impl Run {
    /// Whether nothing was heard of the agent of an instance for long enough to be on record.
    #[must_use]
    pub fn is_silent(&self, id: &InstanceId) -> bool {
        self.instances.get(id).is_some_and(|i| i.silent.is_some())
    }

    /// How many instances serve, as far as anybody knows: those that are ready and heard.
    #[must_use]
    pub fn ready_count(&self) -> u32 {
        let serves = |(id, i): &(&InstanceId, &Instance)| {
            self.milestone(id, i) == Milestone::Ready && i.silent.is_none() && !i.leaving
        };
        super::index(self.instances.iter().filter(serves).count())
    }

    /// In words: `2 of 3 ready, 1 silent`.
    #[must_use]
    pub fn health(&self) -> String {
        let mut text = format!("{} of {} ready", self.ready_count(), self.member_count());
        let silent = self.instances.values().filter(|i| i.silent.is_some()).count();
        if silent > 0 {
            text.push_str(&format!(", {silent} silent"));
        }
        text
    }
}

impl Instance {
    /// Whether its agent should be heard: it has enrolled, and its machine is not being removed.
    #[must_use]
    pub fn should_be_heard(&self) -> bool {
        self.key.is_some() && matches!(self.machine, Machine::Intended | Machine::Launched | Machine::Running)
    }
}
