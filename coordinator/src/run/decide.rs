//! What is to happen next. Pure: the same run at the same time gives the same answer.
//!
//! Called after every change and at the time it asked for. Events it returns are recorded and the
//! question is asked again, until it has none; then its commands are carried out, by a driver that
//! knows which of them are under way already.

use slipstream_shared::{
    event::Event,
    id::InstanceId,
    plan::{KeepRunning, OnFailure},
    state::RunState,
};

use super::{Machine, Run};
use crate::{planted::Bug, seam::Millis};

pub use super::deadline::{BOOT_DEADLINE, REPORT_DEADLINE};

/// How often a launch is tried before it counts as failed.
pub const MOST_ATTEMPTS: u32 = 5;

/// An answer.
#[derive(Debug, Default, PartialEq)]
pub struct Decision {
    /// To be recorded.
    pub events: Vec<Event>,
    /// To be done, unless it is under way.
    pub commands: Vec<Command>,
    /// Ask again at this time, if nothing happens before.
    pub wake: Option<Millis>,
}

/// Something to do outside the run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Command {
    /// Ask the cloud for the machine of an instance whose intent is recorded.
    Launch(InstanceId),
    /// Have the machine of an instance removed.
    Terminate(InstanceId),
    /// Have the machine of an instance powered on (true) or off.
    Power(InstanceId, bool),
    /// Have the machine of an instance changed as is recorded with it.
    Change(InstanceId),
    /// Look at the machines of a cloud. Quickly while something is expected to change there.
    Watch {
        /// Which cloud.
        cloud: String,
        /// Something is expected to change.
        soon: bool,
    },
    /// Tell the agents to run `report`.
    Report,
    /// Remove what the machines shared and make sure that nothing is left on any cloud.
    Release,
}

impl Run {
    /// What is to happen next.
    #[must_use]
    pub fn decide(&self, now: Millis) -> Decision {
        let mut decision = Decision::default();
        if self.state.is_final() {
            return decision;
        }
        self.operate(now, &mut decision);
        if !decision.events.is_empty() {
            return decision;
        }
        // Failures first: a machine that cannot come is not one less to wait for.
        self.enforce_lease(now, &mut decision);
        self.react_to_silence(&mut decision);
        if self.reached_ready && self.state < RunState::Finalizing {
            self.give_up_replacements(now, &mut decision);
        } else if self.state < RunState::SendingReports && self.terminate.is_none() {
            self.enforce_deadlines(now, &mut decision);
        }
        self.note_slow_removals(now, &mut decision);
        if !decision.events.is_empty() {
            return decision;
        }
        decision.events.extend(self.open_barriers());
        self.expire_leads(now, &mut decision);
        if !decision.events.is_empty() {
            return decision;
        }
        let next = self.next_state(now, &mut decision);
        if next != self.state {
            decision.events.push(Event::StateChanged { state: next });
            return decision;
        }
        self.remove_machines(now, &mut decision);
        match self.state {
            RunState::Initializing | RunState::Provisioning | RunState::Executing | RunState::Ready => {
                self.launch_machines(now, &mut decision);
            }
            RunState::SendingReports => decision.commands.push(Command::Report),
            _ => {}
        }
        self.watch(&mut decision);
        decision
    }

    fn next_state(&self, now: Millis, decision: &mut Decision) -> RunState {
        match self.state {
            RunState::Finalizing => RunState::Finalizing,
            _ if self.terminate.is_some() => RunState::Finalizing,
            _ if let Some(state) = self.state_in_operation() => state,
            RunState::Ready => self.while_ready(now, decision),
            _ if self.instances.values().all(|i| i.attempt == 0)
                && !self.instances.is_empty()
                && self.abort.is_none() =>
            {
                RunState::Initializing
            }
            RunState::SendingReports => self.after_reports(now, decision),
            _ => self.while_deploying(now, decision),
        }
    }

    /// Whether machines stay is decided when the run becomes Ready, and not again before it does so anew. An
    /// abort makes it: reports are collected once more, then it is decided.
    fn while_ready(&self, now: Millis, decision: &mut Decision) -> RunState {
        match &self.abort {
            Some(abort) if self.undecided => {
                let executing = self.instances.values().any(|i| i.is_live() && i.is_executing());
                if executing && before(now, abort.at + REPORT_DEADLINE, decision) {
                    return RunState::Ready;
                }
                RunState::SendingReports
            }
            _ if self.leaves => RunState::Finalizing,
            _ => RunState::Ready,
        }
    }

    fn while_deploying(&self, now: Millis, decision: &mut Decision) -> RunState {
        if let Some(abort) = &self.abort {
            let executing = self.instances.values().any(|i| i.is_live() && i.is_executing());
            if executing && before(now, abort.at + REPORT_DEADLINE, decision) {
                return self.state.max(RunState::Provisioning);
            }
            return self.sending_reports();
        }
        // Latched: whoever is not ready after an operation shows in the health, not in the state.
        if self.reached_ready {
            return self.sending_reports();
        }
        if self.instances.values().any(|i| i.is_live() && i.key.is_none()) {
            return RunState::Provisioning;
        }
        let serving = |id: &InstanceId| self.is_deployed(id) && self.instances.get(id).is_some_and(|i| i.ready);
        if self.instances.iter().any(|(id, i)| i.is_live() && !serving(id)) {
            return RunState::Executing;
        }
        self.sending_reports()
    }

    fn sending_reports(&self) -> RunState {
        if self.instances.values().any(|i| i.is_live() && i.key.is_some() && !i.reported) {
            RunState::SendingReports
        } else {
            RunState::Ready
        }
    }

    fn after_reports(&self, now: Millis, decision: &mut Decision) -> RunState {
        match self.sending_reports() {
            RunState::SendingReports
                if before(now, self.since + REPORT_DEADLINE, decision) || Bug::NoReportDeadline.is_planted() =>
            {
                RunState::SendingReports
            }
            _ => RunState::Ready,
        }
    }

    /// SlipStream's table: whether machines stay once the run is Ready.
    #[must_use]
    pub fn keeps_running(&self) -> bool {
        if self.plan.policy.on_failure == OnFailure::Rollback && self.abort.is_some() && !self.succeeded {
            return false;
        }
        match self.plan.policy.keep_running {
            KeepRunning::Always => true,
            KeepRunning::OnSuccess => self.abort.is_none(),
            KeepRunning::OnError => self.abort.is_some(),
            KeepRunning::Never => false,
        }
    }

    fn launch_machines(&self, now: Millis, decision: &mut Decision) {
        if self.abort.is_some() {
            return;
        }
        for (id, instance) in self.instances.iter().filter(|(_, i)| i.is_live()) {
            let Some(node) = self.node(id) else { continue };
            match instance.machine {
                // What was never launched while the run came up is not launched afterwards.
                Machine::Planned if self.state == RunState::Ready && !instance.replacing && !instance.joining => {}
                Machine::Gone if !instance.replacing => {}
                _ if instance.given_up.is_some() => {}
                Machine::Planned | Machine::Gone => {
                    let retry_at =
                        if instance.attempt == 0 { 0 } else { instance.since + retry_delay(instance.attempt) };
                    if before(now, retry_at, decision) {
                        continue;
                    }
                    let attempt = instance.attempt + 1;
                    let name = self.attempt_key(id, attempt).machine_name();
                    let (instance, cloud) = (id.clone(), node.cloud.clone());
                    decision.events.push(Event::LaunchIntended { instance, attempt, cloud, name });
                }
                Machine::Intended => decision.commands.push(Command::Launch(id.clone())),
                _ => {}
            }
        }
    }

    /// How the run ends once nothing is left of it.
    #[must_use]
    pub fn final_state(&self) -> RunState {
        match (self.terminate, &self.abort) {
            (Some(_), _) if !self.reached_ready => RunState::Cancelled,
            (_, Some(_)) => RunState::Aborted,
            (_, None) => RunState::Done,
        }
    }

    fn watch(&self, decision: &mut Decision) {
        let mut clouds: std::collections::BTreeMap<&str, bool> = std::collections::BTreeMap::new();
        for (id, instance) in &self.instances {
            let Some(node) = self.node(id) else { continue };
            let soon = match instance.machine {
                Machine::Terminating | Machine::Stopping | Machine::Starting => true,
                Machine::Stopped => false,
                Machine::Launched | Machine::Running => {
                    instance.key.is_none()
                        || instance.machine != Machine::Running
                        || (instance.public.is_none() && instance.private.is_none())
                }
                _ => continue,
            };
            *clouds.entry(&node.cloud).or_default() |= soon;
        }
        let watch = |(cloud, soon): (&str, bool)| Command::Watch { cloud: cloud.to_owned(), soon };
        decision.commands.extend(clouds.into_iter().map(watch));
    }
}

/// True before `time`, in which case the run is looked at again then.
pub(super) fn before(now: Millis, time: Millis, decision: &mut Decision) -> bool {
    if now >= time {
        return false;
    }
    decision.wake = Some(decision.wake.map_or(time, |w| w.min(time)));
    true
}

/// 1, 2, 4, 8 seconds between launches of an instance.
fn retry_delay(attempt: u32) -> Millis {
    1000 << attempt.saturating_sub(1).min(6)
}
