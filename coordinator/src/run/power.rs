//! Stopping, starting and rebooting machines from outside. Disks, identities and values stay.
//!
//! Intents come before effects, as with launches: `power_intended` is on record before the cloud is asked, and
//! the request is repeated until the cloud shows that it is done. A machine that is stopped is neither silent
//! nor gone. After a start the agent comes back with its key, runs nothing of what has ended, and tries the
//! ready check again, since that belongs to a boot.

use slipstream_shared::{event::Event, id::InstanceId, operation::Asked};

use super::{
    Instance, Machine, Run,
    change::Refused,
    decide::{BOOT_DEADLINE, Command, Decision, before},
    operation::Operation,
};
use crate::seam::Millis;

/// How long a machine may take to power off, however often it is asked.
pub(super) const STOP_DEADLINE: Millis = 10 * 60 * 1000;

impl Run {
    /// The event that begins to stop, start or reboot `named`, or all where nobody is named.
    pub(super) fn power(&self, asked: &Asked, named: &[InstanceId]) -> Result<Event, Refused> {
        for id in named {
            match self.instances.get(id) {
                Some(instance) if instance.is_live() => {}
                Some(_) => return Err(Refused::Unreasonable(format!("{id} is gone already, or on its way out"))),
                None => return Err(Refused::Unreasonable(format!("this run has no instance {id}"))),
            }
        }
        let wanted = |instance: &Instance| match asked {
            Asked::Start { .. } => instance.machine == Machine::Stopped,
            _ => matches!(instance.machine, Machine::Launched | Machine::Running),
        };
        let all = self.instances.iter().filter(|(id, i)| i.is_live() && (named.is_empty() || named.contains(id)));
        let touch: Vec<InstanceId> = all.filter(|(_, i)| wanted(i)).map(|(id, _)| id.clone()).collect();
        let (number, asked) = (self.next_operation(), Box::new(asked.clone()));
        Ok(Event::OperationStarted { number, asked, add: vec![], remove: vec![], touch, tasks: vec![] })
    }

    /// Stops and starts machines, as operations want, and goes on with what has begun.
    pub(super) fn switch_machines(&self, now: Millis, decision: &mut Decision) {
        for (number, operation) in self.open_operations().filter(|(_, o)| o.is_power()) {
            if let Some(reason) = self.switched_too_late(number, operation, now, decision) {
                decision.events.push(Event::OperationFinished { number, failure: Some(reason) });
                continue;
            }
            for (id, instance) in operation.touch.iter().filter_map(|id| Some((id, self.instances.get(id)?))) {
                if let Some(on) = operation.switches(number, instance) {
                    let (instance, attempt) = (id.clone(), instance.attempt);
                    decision.events.push(Event::PowerIntended { instance, attempt, on, operation: number });
                }
            }
        }
        for (id, instance) in &self.instances {
            match instance.machine {
                Machine::Stopping => decision.commands.push(Command::Power(id.clone(), false)),
                Machine::Starting => decision.commands.push(Command::Power(id.clone(), true)),
                _ => {}
            }
        }
    }

    /// Why an operation has failed by now.
    fn switched_too_late(
        &self,
        number: u32,
        operation: &Operation,
        now: Millis,
        decision: &mut Decision,
    ) -> Option<String> {
        operation.failure.clone().or_else(|| {
            operation.touch.iter().find_map(|id| {
                let instance = self.instances.get(id)?;
                if self.is_switched(number, operation, id) {
                    return None;
                }
                if instance.machine == Machine::Stopping {
                    let late = !before(now, instance.since + STOP_DEADLINE, decision);
                    return late.then(|| format!("{id} did not power off within {} minutes", STOP_DEADLINE / 60_000));
                }
                let late = instance.powered == number && !before(now, instance.since + BOOT_DEADLINE, decision);
                late.then(|| format!("{id} was not ready within {} minutes after its start", BOOT_DEADLINE / 60_000))
            })
        })
    }

    /// True while an operation is starting the machine of an instance: its agent may take as long to come back as
    /// the operation gives it, and is not silent meanwhile.
    #[must_use]
    pub fn is_booting(&self, id: &InstanceId, instance: &Instance) -> bool {
        let starts = |(number, o): (u32, &Operation)| {
            let done = self.is_switched(number, o, id) && self.is_hardware_settled(number, o, id);
            instance.powered == number && !done
        };
        instance.powered > 0 && self.open_operations().any(starts)
    }

    /// True when an operation has brought an instance where it is to be.
    pub(super) fn is_switched(&self, number: u32, operation: &Operation, id: &InstanceId) -> bool {
        let Some(instance) = self.instances.get(id).filter(|i| i.is_live()) else { return true };
        match operation.asked {
            Asked::Stop { .. } => instance.machine == Machine::Stopped,
            Asked::Start { .. } | Asked::Reboot { .. } => {
                let ready = instance.ready || !self.is_deployed(id);
                instance.powered == number && instance.machine == Machine::Running && ready
            }
            _ => true,
        }
    }
}

impl Operation {
    /// True where machines are stopped or started: nothing else is done meanwhile.
    #[must_use]
    pub fn is_power(&self) -> bool {
        is_power(&self.asked)
    }

    /// Whether a machine is to be switched on or off next. None: neither.
    fn switches(&self, number: u32, instance: &Instance) -> Option<bool> {
        let started = instance.powered == number;
        match (&self.asked, &instance.machine) {
            (Asked::Stop { .. }, Machine::Launched | Machine::Running) => Some(false),
            (Asked::Reboot { .. }, Machine::Launched | Machine::Running) if !started => Some(false),
            (Asked::Start { .. } | Asked::Reboot { .. }, Machine::Stopped) if !started => Some(true),
            _ => None,
        }
    }
}

/// True for what stops or starts machines.
#[must_use]
pub fn is_power(asked: &Asked) -> bool {
    matches!(asked, Asked::Stop { .. } | Asked::Start { .. } | Asked::Reboot { .. })
}
