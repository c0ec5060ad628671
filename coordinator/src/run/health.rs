//! How the instances of a run are. That is apart from its state: a machine that falls silent does not
//! take back what the run has reached.

use slipstream_shared::{id::InstanceId, state::Milestone};

use super::{Instance, Machine, Run};
use crate::seam::Millis;

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

/// A trouble that goes on is recorded again after so long.
const TROUBLE_AGAIN: Millis = 3600 * 1000;

/// So many different ones are remembered.
const TROUBLES: usize = 16;

impl Run {
    /// Whether a trouble is to be recorded: it is new, or was not recorded for an hour.
    #[must_use]
    pub fn is_news(&self, trouble: &str, now: Millis) -> bool {
        self.lately.get(trouble).is_none_or(|(_, last)| now >= last + TROUBLE_AGAIN)
    }

    /// Folds a trouble. One that was not recorded for two hours was over meanwhile.
    pub(super) fn remember_trouble(&mut self, message: &str, at: Millis) {
        self.lately.retain(|_, (_, last)| at < *last + 2 * TROUBLE_AGAIN);
        if self.lately.len() >= TROUBLES
            && let Some(oldest) = self.lately.iter().min_by_key(|(_, (_, last))| *last).map(|(text, _)| text.clone())
        {
            self.lately.remove(&oldest);
        }
        self.lately.entry(message.to_owned()).or_insert((at, at)).1 = at;
    }
}

impl Instance {
    /// Whether its agent should be heard: it has enrolled, and its machine is not being removed.
    #[must_use]
    pub fn should_be_heard(&self) -> bool {
        self.key.is_some() && matches!(self.machine, Machine::Intended | Machine::Launched | Machine::Running)
    }
}
