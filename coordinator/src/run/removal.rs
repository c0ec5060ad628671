//! Removing machines: of those that leave, of those that are given up, and of all when the run ends.
//!
//! The one place that decides it, so that an instance goes the same way whoever has decided that it goes. The
//! intent is recorded first; the request to the cloud is repeated until the machine is confirmed gone.

use slipstream_shared::{event::Event, id::InstanceId, state::RunState};

use super::{
    Instance, Machine, Run,
    decide::{Command, Decision, REPORT_DEADLINE, before},
};
use crate::{planted::Bug, seam::Millis};

impl Run {
    /// Has those machines removed that are to go now.
    pub(super) fn remove_machines(&self, now: Millis, decision: &mut Decision) {
        let ending = self.state == RunState::Finalizing;
        for (id, instance) in &self.instances {
            let goes = instance.leaving || instance.given_up.is_some();
            let added = self.node(id).is_some_and(|node| id.index > node.count);
            if added && !goes && Bug::ForgottenAdded.is_planted() {
                continue;
            }
            let (instance_id, attempt) = (id.clone(), instance.attempt);
            match &instance.machine {
                Machine::Terminating => decision.commands.push(Command::Terminate(instance_id)),
                Machine::Gone => {}
                _ if !ending && !goes => {}
                // A launch that the cloud accepted and then gave up leaves something behind.
                Machine::Failed(_) if instance.native.is_some() => {
                    decision.events.push(Event::TerminateIntended { instance: instance_id, attempt });
                }
                Machine::Planned | Machine::Failed(_) if !goes => {}
                Machine::Planned | Machine::Failed(_) => {
                    decision.events.push(Event::MachineGone { instance: instance_id, attempt, unexpected: false });
                }
                _ if !ending && instance.given_up.is_none() && !self.may_go(id, instance, now, decision) => {}
                _ => decision.events.push(Event::TerminateIntended { instance: instance_id, attempt }),
            }
        }
        if ending && !self.instances.values().any(Instance::may_exist) {
            decision.commands.push(Command::Release);
        }
    }

    /// True when the scripts of a leaving instance are over and its report is here, or will not come.
    fn may_go(&self, id: &InstanceId, instance: &Instance, now: Millis, decision: &mut Decision) -> bool {
        if !self.tasks_are_over(id) {
            return false;
        }
        let hears = matches!(instance.machine, Machine::Launched | Machine::Running);
        if instance.key.is_none() || instance.reported || !hears {
            return true;
        }
        let asked = self.operations.values().filter(|o| o.remove.contains(id)).map(|o| o.at);
        let ended = self.tasks.get(id).into_iter().flatten().filter_map(|t| t.ended);
        let since = asked.chain(ended).max().unwrap_or(now);
        let waits = before(now, since + REPORT_DEADLINE, decision);
        if waits && !decision.commands.contains(&Command::Report) {
            decision.commands.push(Command::Report);
        }
        !waits
    }
}
