//! What an instance still lacks, how long that may take, and what follows when it takes longer.
//!
//! [`Run::missing`] names the one milestone that is next. Deadlines are judged by it and `run why` shows it,
//! so people are never told of another deadline than the one that counts.

use slipstream_shared::{
    event::Event,
    id::InstanceId,
    plan::ReadyCheck,
    state::{Failure, Milestone},
};

use super::{
    Instance, Machine, Run,
    decide::{Decision, before},
};
use crate::seam::Millis;

const MINUTE: Millis = 60 * 1000;

/// From the intent to launch a machine until its cloud has accepted it: there may be many before it.
pub const LAUNCH_DEADLINE: Millis = 30 * MINUTE;

/// From there until the cloud says that it runs.
pub const RUNNING_DEADLINE: Millis = 15 * MINUTE;

/// From there until its address is known.
pub const ADDRESS_DEADLINE: Millis = 10 * MINUTE;

/// From there until its agent has enrolled. Also how long its token is good.
pub const BOOT_DEADLINE: Millis = 30 * MINUTE;

/// The agent itself ends a step or a ready check in time; so much later nobody believes that it will.
pub const GRACE: Millis = MINUTE;

/// How long running scripts have to end after an abort, and agents to send their reports.
pub const REPORT_DEADLINE: Millis = MINUTE;

/// How long a machine may take to go before people are told that it does not. It is removed all the same,
/// however long that takes.
pub const REMOVAL_DEADLINE: Millis = 10 * MINUTE;

/// The next milestone of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which one.
    pub milestone: Milestone,
    /// What has not happened, with the name of the instance.
    pub what: String,
    /// Since when it is waited for.
    pub since: Millis,
    /// Until when it may take. None: as long as the run may.
    pub until: Option<Millis>,
    /// What it is called when it takes longer.
    pub failure: Failure,
}

impl Run {
    /// The milestone that an instance lacks. None: it has all, or takes no part any more.
    #[must_use]
    pub fn missing(&self, id: &InstanceId, instance: &Instance) -> Option<Missing> {
        let cloud = self.node(id).map(|n| n.cloud.as_str()).unwrap_or_default();
        let since = instance.since;
        let missing = |milestone, what: String, limit: Option<Millis>, failure| {
            Some(Missing { milestone, what, since, until: limit.map(|limit| since + limit), failure })
        };
        if instance.given_up.is_some() && instance.machine != Machine::Terminating {
            return None;
        }
        match instance.machine {
            Machine::Planned | Machine::Gone if instance.machine == Machine::Planned || instance.replacing => {
                missing(Milestone::Intended, format!("{id} is not launched"), None, Failure::Timeout)
            }
            Machine::Terminating => {
                let what = format!("the cloud `{cloud}` still shows the machine of {id}, which is being removed");
                missing(Milestone::Gone, what, Some(REMOVAL_DEADLINE), Failure::NotRemoved)
            }
            Machine::Failed(_) | Machine::Gone | Machine::Planned => None,
            // Power is the matter of the operation that asked for it.
            Machine::Stopping | Machine::Stopped | Machine::Starting => None,
            Machine::Intended => {
                let what = format!("the cloud `{cloud}` has not accepted the launch of {id}");
                missing(Milestone::Launched, what, Some(LAUNCH_DEADLINE), Failure::LaunchLate)
            }
            _ if instance.key.is_some() => self.missing_in_machine(id, instance),
            Machine::Launched => {
                let what = format!("the cloud `{cloud}` has not said that the machine of {id} runs");
                missing(Milestone::Running, what, Some(RUNNING_DEADLINE), Failure::NotRunning)
            }
            Machine::Running if instance.public.is_none() && instance.private.is_none() => {
                let what = format!("the cloud `{cloud}` has not given the machine of {id} an address");
                missing(Milestone::Address, what, Some(ADDRESS_DEADLINE), Failure::NoAddress)
            }
            Machine::Running => {
                let what = format!("the agent of {id} has not enrolled");
                missing(Milestone::Enrolled, what, Some(BOOT_DEADLINE), Failure::NotEnrolled)
            }
        }
    }

    /// The same for one whose agent has enrolled.
    fn missing_in_machine(&self, id: &InstanceId, instance: &Instance) -> Option<Missing> {
        let deploy = self.deploy_steps(id);
        for (index, plan) in self.scripts(id).take_while(|(index, _)| *index < deploy) {
            let state = instance.steps.get(&index);
            let (what, since, until, failure) = match state.map(|s| (s.started, &s.result)) {
                None => (format!("{id} has not begun `{}`", plan.step), instance.reached, None, Failure::Timeout),
                Some((started, None)) => {
                    let within = plan.within.filter(|_| instance.silent.is_none());
                    let until = within.map(|seconds| started + seconds * 1000 + GRACE);
                    (format!("`{}` of {id} has not ended", plan.step), started, until, Failure::StepLate)
                }
                Some((_, Some(result))) if result.succeeded() => continue,
                Some((_, Some(result))) => {
                    let what = format!("`{}` of {id} has failed: {result}", plan.step);
                    (what, instance.reached, None, Failure::StepFailed)
                }
            };
            return Some(Missing { milestone: Milestone::Deployed, what, since, until, failure });
        }
        if instance.ready {
            return None;
        }
        let check = self.node(id).and_then(|n| n.ready.as_ref());
        // One that waits for others is limited by its agent alone; silence has its own rule.
        let waits = check.is_some_and(|ready| match &ready.check {
            ReadyCheck::Tcp(text) | ReadyCheck::Http(text) => text.as_literal().is_none(),
            ReadyCheck::Exec(_) => false,
        });
        let within = check.map_or(0, |ready| ready.within * 1000);
        let until = (!waits && instance.silent.is_none()).then(|| instance.reached + within + GRACE);
        let since = instance.reached;
        let what = format!("the ready check of {id} has not passed");
        Some(Missing { milestone: Milestone::Ready, what, since, until, failure: Failure::NotReady })
    }

    /// What follows from deadlines while the run comes up.
    pub(super) fn enforce_deadlines(&self, now: Millis, decision: &mut Decision) {
        if self.abort.is_some() {
            return;
        }
        let mut failures = Vec::new();
        for (id, instance) in self.instances.iter().filter(|(_, i)| i.given_up.is_none()) {
            if let Some((failure, reason)) = self.fault_of(id, instance, now, decision) {
                failures.push((id, failure, reason));
            }
        }
        let mut first = None;
        for (id, failure, reason) in failures {
            if failure.is_tolerable() && self.tolerates_one_more(id, &decision.events) {
                let (instance, failure) = (id.clone(), Some(failure));
                decision.events.push(Event::InstanceGivenUp { instance, reason, failure });
            } else {
                first.get_or_insert((Some(id.clone()), failure, reason));
            }
        }
        let seconds = self.plan.policy.timeout;
        if !before(now, self.not_before(self.created + seconds * 1000), decision) {
            let reason = format!("not Ready within {seconds} s: {}", self.first_missing());
            first.get_or_insert((None, Failure::Timeout, reason));
        }
        if let Some((instance, failure, reason)) = first {
            decision.events.extend(self.raise_abort_for(failure, instance, &reason));
        }
    }

    /// Why an instance counts as failed, if it does.
    pub(super) fn fault_of(
        &self,
        id: &InstanceId,
        instance: &Instance,
        now: Millis,
        decision: &mut Decision,
    ) -> Option<(Failure, String)> {
        if let Machine::Failed(reason) = &instance.machine {
            return Some((Failure::LaunchFailed, format!("cannot launch {id}: {reason}")));
        }
        let missing = self.missing(id, instance)?;
        if missing.failure == Failure::NotRemoved || before(now, self.not_before(missing.until?), decision) {
            return None;
        }
        let within = (missing.until? - missing.since) / 1000;
        Some((missing.failure, format!("{} within {}", missing.what, in_words(within))))
    }

    /// A deadline that passed while nobody could be heard leaves some time to those who come back.
    fn not_before(&self, deadline: Millis) -> Millis {
        deadline.max(self.listening_since + GRACE)
    }

    /// Whether a node tolerates that one more of its instances never comes. `new` are decided already.
    fn tolerates_one_more(&self, id: &InstanceId, new: &[Event]) -> bool {
        let tolerate = self.node(id).map_or(0, |n| n.tolerate);
        let of_node = |other: &InstanceId| other.node == id.node;
        let before = self.instances.iter().filter(|(other, i)| of_node(other) && i.given_up.is_some()).count();
        let now = new.iter().filter(|e| matches!(e, Event::InstanceGivenUp { instance, .. } if of_node(instance)));
        super::index(before + now.count()) < tolerate
    }

    /// Names the first milestone that is missing.
    #[must_use]
    pub fn first_missing(&self) -> String {
        let of = |(id, i): (&InstanceId, &Instance)| {
            let missing = self.missing(id, i).filter(|_| i.is_live())?;
            let waits: Vec<&str> = i.waits.keys().map(String::as_str).collect();
            let on = if waits.is_empty() { String::new() } else { format!(" (it waits for {})", waits.join(", ")) };
            Some(format!("{}{on}", missing.what))
        };
        self.instances.iter().find_map(of).unwrap_or_else(|| "reports are missing".to_owned())
    }

    /// Tells people, once for each machine, that it does not go.
    pub(super) fn note_slow_removals(&self, now: Millis, decision: &mut Decision) {
        for (id, instance) in self.instances.iter().filter(|(_, i)| i.machine == Machine::Terminating) {
            if before(now, instance.since + REMOVAL_DEADLINE, decision) {
                continue;
            }
            let cloud = self.node(id).map(|n| n.cloud.as_str()).unwrap_or_default();
            let name = self.attempt_key(id, instance.attempt).machine_name();
            let message = format!(
                "{}: cloud `{cloud}` still shows {name} {} after its removal was asked for; it is tried again until it \
                 is gone (look there, or give up with: slipstream run abandon {})",
                Failure::NotRemoved,
                in_words(REMOVAL_DEADLINE / 1000),
                self.id.short(),
            );
            if !self.notes.contains(&message) {
                decision.events.push(Event::Noted { message });
            }
        }
    }
}

/// Seconds as people say them.
pub(super) fn in_words(seconds: u64) -> String {
    match seconds {
        s if s >= 120 && s % 60 == 0 => format!("{} minutes", s / 60),
        s => format!("{s} s"),
    }
}
