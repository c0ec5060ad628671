//! Powering machines on and off.

use std::sync::Arc;

use slipstream_shared::{
    event::{Author, Event},
    id::InstanceId,
    operation::Asked,
};

use super::{
    actor::{Actor, Turn},
    jobs::{Outcome, bounded},
};
use crate::{
    cloud::{CloudError, MachineState},
    run::{Machine, change::Refused, decide::Command, power::is_power, vertical::changes_hardware},
};

/// If the cloud does not show by then what was asked for, it is asked again, in milliseconds.
const ASK_AGAIN: u64 = 30_000;

impl Actor {
    /// Says whether the clouds of the machines can do what is asked for.
    pub(super) fn can_be_done(&self, asked: &Asked, touch: &[InstanceId]) -> Result<(), Refused> {
        if changes_hardware(asked) {
            return touch.iter().try_for_each(|id| self.can_be_changed(asked, id));
        }
        if !is_power(asked) {
            return Ok(());
        }
        for id in touch {
            let cloud = self.run.node(id).map(|n| n.cloud.as_str()).unwrap_or_default();
            if !self.world.clouds.get(cloud).is_some_and(|connector| connector.can_power()) {
                let message = format!("cloud `{cloud}` cannot stop and start the machine of {id}");
                return Err(Refused::Unreasonable(message));
            }
        }
        Ok(())
    }

    pub(super) fn start_power(&mut self, id: &InstanceId, on: bool, command: &Command) {
        let (Some(node), Some(instance)) = (self.run.node(id), self.run.instances.get(id)) else { return };
        let Some(connector) = self.world.clouds.get(&node.cloud).map(Arc::clone) else { return };
        let (run, attempt, id) = (self.run.id, instance.attempt, id.clone());
        let machines = self.watches.twins_of(&id, instance.native.as_deref().unwrap_or_default());
        self.job(Some(command), async move {
            let mut result = Ok(());
            for machine in machines {
                result = result.and(bounded(connector.power(run, &machine, on)).await);
            }
            Outcome::Powered { instance: id, attempt, on, result }
        });
    }

    /// Records what came of it; that it is done, the next look at the cloud shows.
    pub(super) fn powered(
        &mut self,
        turn: &mut Turn,
        id: InstanceId,
        attempt: u32,
        on: bool,
        result: Result<(), CloudError>,
    ) {
        let command = Command::Power(id.clone(), on);
        self.running.remove(&command);
        let wanted = if on { Machine::Starting } else { Machine::Stopping };
        if self.run.instances.get(&id).is_none_or(|i| i.attempt != attempt || i.machine != wanted) {
            return;
        }
        match result {
            Err(e) if !e.is_transient() => {
                let event = Event::PowerFailed { instance: id, attempt, on, reason: e.to_string() };
                self.record(turn, Author::System, None, event);
            }
            result => self.try_again(turn, command, result.err().as_ref(), ASK_AGAIN),
        }
    }

    /// Takes in what a look at the cloud shows of a machine that is being switched. True: that is all there is
    /// to say of it.
    pub(super) fn seen_switching(&mut self, turn: &mut Turn, id: &InstanceId, seen: &MachineState) -> bool {
        let Some(instance) = self.run.instances.get(id) else { return false };
        let attempt = instance.attempt;
        let on = match (&instance.machine, seen) {
            (Machine::Stopping, MachineState::Stopped) => false,
            // Also one that somebody else has started.
            (Machine::Starting | Machine::Stopped, MachineState::Running) => true,
            (Machine::Stopping | Machine::Stopped | Machine::Starting, _) => return true,
            _ => return false,
        };
        if on {
            self.silence.begin_again(id, &self.world.seam);
        }
        self.record(turn, Author::System, None, Event::PowerChanged { instance: id.clone(), attempt, on });
        !on
    }
}
