//! Changing machines where they are: another size, one more disk, a disk less.
//!
//! First `pre_scale` runs on all instances of the operation; if it fails on one, nothing is changed anywhere. Then
//! each machine is changed: powered off for another size and on again after it, at once for disks. The intent is
//! on record before the cloud is asked, which is asked until it has an answer. `post_scale` runs on every instance
//! whose `pre_scale` has succeeded, also where the cloud has refused, so that what was stopped is started again;
//! the ready check follows it. Operations on different instances may be under way at the same time; on the same one
//! a second is refused.

mod asked;

use std::collections::BTreeMap;

use slipstream_shared::{
    disk::{Disk, DiskName},
    event::{Event, StepResult},
    id::InstanceId,
    operation::{Asked, Hook, MachineChange, SCALING_DEVICE, SCALING_DISK, SCALING_FAILED, Work},
};

use super::{
    Instance, Machine, Run,
    decide::{BOOT_DEADLINE, Command, Decision, before},
    operation::Operation,
    power::STOP_DEADLINE,
    tasks::TaskState,
};
use crate::seam::Millis;

/// How long a cloud may take to change a machine, however often it is asked.
const CHANGE_DEADLINE: Millis = 30 * 60 * 1000;

/// What becomes of one machine of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It will be changed.
    Coming,
    /// It was.
    Made,
    /// It stays as it is.
    Never,
}

impl Run {
    /// Changes machines, as operations want, and goes on with what has begun.
    pub(super) fn change_machines(&self, now: Millis, decision: &mut Decision) {
        let open = self.open_operations().filter(|(_, o)| o.changes_hardware() && self.abort.is_none());
        for (number, operation) in open {
            for id in operation.touch.iter().filter(|id| !self.is_hardware_settled(number, operation, id)) {
                let Some(instance) = self.instances.get(id) else { continue };
                if let Some(reason) = self.changed_too_late(number, id, instance, now, decision) {
                    let (instance, operation) = (id.clone(), number);
                    decision.events.push(Event::MachineGivenUp { instance, operation, reason });
                } else if instance.hardware.changing.is_none() {
                    decision.events.extend(self.next_change(number, operation, id, instance));
                }
            }
        }
        for (id, instance) in self.instances.iter().filter(|(_, i)| i.may_exist()) {
            let Some(changing) = &instance.hardware.changing else { continue };
            if before(now, changing.since + CHANGE_DEADLINE, decision) {
                decision.commands.push(Command::Change(id.clone()));
            } else {
                let reason = format!("its cloud did not do it within {} minutes", CHANGE_DEADLINE / 60_000);
                decision.events.push(Event::MachineChangeFailed {
                    instance: id.clone(),
                    attempt: instance.attempt,
                    operation: changing.operation,
                    change: changing.change.clone(),
                    reason,
                });
            }
        }
    }

    /// The next event on the way to another machine.
    fn next_change(&self, number: u32, operation: &Operation, id: &InstanceId, instance: &Instance) -> Option<Event> {
        let power = |on| {
            let (instance, attempt) = (id.clone(), instance.attempt);
            Some(Event::PowerIntended { instance, attempt, on, operation: number })
        };
        let fate = self.fate(number, operation, id);
        match instance.machine {
            Machine::Launched | Machine::Running | Machine::Stopped if fate == Fate::Coming => {
                if !self.is_prepared(number, id) {
                    return None;
                }
                if operation.needs_power_off() && instance.machine != Machine::Stopped {
                    return power(false);
                }
                let change = self.change_of(&operation.asked, id, instance)?;
                let (instance, attempt) = (id.clone(), instance.attempt);
                Some(Event::MachineChangeIntended { instance, attempt, operation: number, change })
            }
            Machine::Stopped if instance.powered != number && !operation.off.contains(id) => power(true),
            _ => None,
        }
    }

    fn change_of(&self, asked: &Asked, id: &InstanceId, instance: &Instance) -> Option<MachineChange> {
        Some(match asked {
            Asked::Resize { size, .. } => MachineChange::Resize { size: self.size_of(id, instance).with(size) },
            Asked::AddDisk { spec, .. } => {
                MachineChange::Attach { disk: Disk { name: instance.hardware.next_disk(), spec: spec.clone() } }
            }
            Asked::RemoveDisk { disk, .. } => MachineChange::Detach { name: *disk },
            _ => return None,
        })
    }

    /// True when all that has to run before a change has succeeded, and nothing else runs on the instance.
    fn is_prepared(&self, number: u32, id: &InstanceId) -> bool {
        let earlier = |t: &TaskState| t.operation < number;
        let mut line = self.tasks.get(id).into_iter().flatten();
        let idle = line.all(|task| match task.operation == number || earlier(task) {
            true if earlier(task) || is_before(&task.work) => self.is_over(id, task),
            _ => task.ordered.is_none() || self.is_over(id, task),
        });
        idle && self.tasks_of(number).filter(|(_, t)| is_before(&t.work)).all(|(id, task)| self.is_over(id, task))
    }

    /// What becomes of one machine of an operation.
    pub(super) fn fate(&self, number: u32, operation: &Operation, id: &InstanceId) -> Fate {
        let instance = self.instances.get(id).filter(|instance| instance.is_live());
        let under_way = instance.is_some_and(|i| i.hardware.changing.as_ref().is_some_and(|c| c.operation == number));
        if operation.made.contains(id) {
            Fate::Made
        } else if under_way {
            Fate::Coming
        } else if instance.is_none() || operation.failure.is_some() || self.has_failed_before(number) {
            Fate::Never
        } else {
            Fate::Coming
        }
    }

    /// True where a script has failed that had to succeed before anything is changed.
    fn has_failed_before(&self, number: u32) -> bool {
        let failed = |t: &TaskState| is_before(&t.work) && t.result.as_ref().is_some_and(|r| !r.succeeded());
        self.tasks_of(number).any(|(_, task)| failed(task))
    }

    /// Why one machine is awaited no longer.
    fn changed_too_late(
        &self,
        number: u32,
        id: &InstanceId,
        instance: &Instance,
        now: Millis,
        decision: &mut Decision,
    ) -> Option<String> {
        if instance.machine == Machine::Stopping {
            let late = !before(now, instance.since + STOP_DEADLINE, decision);
            return late.then(|| format!("it did not power off within {} minutes", STOP_DEADLINE / 60_000));
        }
        let own = self.tasks_of(number).filter(|(who, _)| *who == id);
        let (mut since, mut over) = (instance.since, true);
        for (_, task) in own {
            since = since.max(task.ended.unwrap_or(0));
            over &= self.is_over(id, task);
        }
        let boots = over && instance.powered == number;
        let late = boots && !before(now, since + BOOT_DEADLINE, decision);
        late.then(|| format!("it was not ready within {} minutes after its start", BOOT_DEADLINE / 60_000))
    }

    /// True when an operation wants nothing more of the machine of an instance.
    pub(super) fn is_hardware_settled(&self, number: u32, operation: &Operation, id: &InstanceId) -> bool {
        let Some(instance) = self.instances.get(id).filter(|i| i.is_live()) else { return true };
        if !operation.changes_hardware() || operation.out.contains(id) {
            return true;
        }
        if instance.hardware.changing.is_some() || self.fate(number, operation, id) == Fate::Coming {
            return false;
        }
        match instance.machine {
            Machine::Stopped => operation.off.contains(id) || instance.powered == number,
            Machine::Launched | Machine::Running => {
                instance.powered != number || instance.ready || !self.is_deployed(id)
            }
            _ => false,
        }
    }

    /// True while an operation has the machine of an instance off, or on its way there or back.
    pub(super) fn is_away(&self, id: &InstanceId, number: u32) -> bool {
        let Some(operation) = self.operations.get(&number).filter(|o| o.ended.is_none()) else { return false };
        let changes = operation.needs_power_off() && operation.touch.contains(id);
        let off = self.instances.get(id).is_some_and(|i| i.machine == Machine::Stopped && i.powered == number);
        changes && !operation.out.contains(id) && !off
    }

    /// Why an operation that changes machines has failed, where no script says so.
    pub(super) fn left_unchanged(&self, operation: &Operation) -> Option<String> {
        if !operation.changes_hardware() {
            return None;
        }
        let left = operation.touch.iter().find(|id| !operation.made.contains(*id))?;
        Some(format!("{left}: it was gone before it could be changed"))
    }

    /// The events of a ready check that did not pass, if it belongs to a machine that was changed.
    pub(super) fn changed_not_ready(&self, id: &InstanceId, reason: &str) -> Option<Vec<Event>> {
        let powered = self.instances.get(id)?.powered;
        let (number, _) = self.open_operations().find(|(n, o)| *n == powered && o.needs_power_off())?;
        let reason = format!("it did not become ready: {reason}");
        Some(vec![Event::MachineGivenUp { instance: id.clone(), operation: number, reason }])
    }

    /// Takes in that the machine of an instance is lost, for the operations that change it.
    pub(super) fn lose_in_operations(&mut self, id: &InstanceId) {
        let open = self.operations.values_mut().filter(|o| o.ended.is_none() && o.changes_hardware());
        for operation in open.filter(|o| o.touch.contains(id)) {
            operation.give_up(id, "its machine was lost and is replaced");
        }
    }

    /// Whether the ready check waits for the `post_scale` scripts of an instance; then its deployment ends
    /// with its last step.
    pub(super) fn holds_check(&self, id: &InstanceId) -> bool {
        self.tasks.get(id).into_iter().flatten().any(|task| self.leads_to_check(id, task))
    }

    /// True for the last `post_scale` script of an instance whose machine was off for it.
    pub(super) fn leads_to_check(&self, id: &InstanceId, task: &TaskState) -> bool {
        let powered = self.instances.get(id).is_some_and(|i| i.powered == task.operation && !i.ready);
        let open = self.operations.get(&task.operation).is_some_and(|o| o.ended.is_none() && !o.out.contains(id));
        let line = self.tasks.get(id).into_iter().flatten();
        let last = line.filter(|t| t.operation == task.operation && t.work.is_post_scale()).map(|t| t.index).max();
        powered && open && !task.void && last == Some(task.index)
    }

    /// True where all scripts of an instance that had to succeed before the change have, and there was one.
    pub(super) fn was_prepared(&self, number: u32, id: &InstanceId) -> bool {
        let mut own = self.tasks_of(number).filter(|(who, t)| *who == id && is_before(&t.work)).peekable();
        own.peek().is_some() && own.all(|(_, t)| t.result.as_ref().is_some_and(StepResult::succeeded))
    }

    /// What hooks are told beside what every scaling tells: the disk, and why nothing was changed.
    pub(super) fn change_variables(
        &self,
        number: u32,
        operation: &Operation,
        id: &InstanceId,
    ) -> BTreeMap<String, String> {
        let fate = self.fate(number, operation, id);
        let mut env = BTreeMap::new();
        let mut put = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
        let mut own = self.tasks_of(number).filter(|(who, _)| *who == id);
        let disk = own.find_map(|(_, task)| match &task.work {
            Work::Disk { disk, take } => Some((*disk, take.is_some() == (fate == Fate::Made))),
            _ => None,
        });
        if let Some((disk, there)) = disk {
            put(SCALING_DISK, disk.to_string());
            if there {
                put(SCALING_DEVICE, disk.device());
            }
        }
        let failed = |(who, t): &(&InstanceId, &TaskState)| {
            let own = *who == id || is_before(&t.work);
            own && !t.work.is_post_scale() && t.result.as_ref().is_some_and(|r| !r.succeeded())
        };
        let script =
            self.tasks_of(number).find(failed).map(|(who, t)| format!("'{}' has failed on {who}", t.work.name()));
        if let Some(why) = operation.failure.clone().filter(|_| fate == Fate::Never).or(script) {
            put(SCALING_FAILED, why);
        }
        env
    }

    /// Folds what has become of a change.
    pub(super) fn apply_change(&mut self, event: &Event, at: Millis) {
        match event {
            Event::MachineChangeIntended { instance, operation, change, .. } => {
                if let Some(hardware) = self.instances.get_mut(instance).map(|i| &mut i.hardware) {
                    hardware.begin(*operation, change.clone(), at);
                }
            }
            Event::MachineChanged { instance, operation, change, .. } => {
                if let Some(hardware) = self.instances.get_mut(instance).map(|i| &mut i.hardware) {
                    hardware.made(change);
                }
                if let Some(operation) = self.operations.get_mut(operation) {
                    operation.made.insert(instance.clone());
                }
            }
            Event::MachineChangeFailed { instance, operation, change, reason, .. } => {
                if let Some(hardware) = self.instances.get_mut(instance).map(|i| &mut i.hardware) {
                    hardware.changing = None;
                }
                if let Some(operation) = self.operations.get_mut(operation).filter(|o| o.ended.is_none()) {
                    operation.failure.get_or_insert_with(|| format!("{instance}: cannot {change}: {reason}"));
                }
            }
            Event::MachineGivenUp { instance, operation, reason } => {
                if let Some(operation) = self.operations.get_mut(operation).filter(|o| o.ended.is_none()) {
                    operation.give_up(instance, reason);
                }
            }
            _ => {}
        }
    }

    /// What the instances of a node that come later are to have, once its machines have it.
    pub(super) fn keep_size(&mut self, number: u32) {
        let Some(Asked::Resize { nodes, size, .. }) = self.operations.get(&number).map(|o| o.asked.clone()) else {
            return;
        };
        for node in nodes {
            if let Some(plan) = self.plan.nodes.get_mut(&node) {
                plan.size = plan.size.with(&size);
            }
        }
    }
}

impl Operation {
    /// True for what changes sizes or disks.
    #[must_use]
    pub fn changes_hardware(&self) -> bool {
        changes_hardware(&self.asked)
    }

    /// True where a machine is off while it is changed.
    #[must_use]
    pub fn needs_power_off(&self) -> bool {
        matches!(self.asked, Asked::Resize { .. })
    }

    /// True where it removes that disk of an instance.
    pub(super) fn takes_away(&self, id: &InstanceId, name: DiskName) -> bool {
        matches!(&self.asked, Asked::RemoveDisk { instance, disk } if instance == id && *disk == name)
    }

    /// What it is called, for hooks.
    pub(super) fn action(&self) -> &'static str {
        match self.asked {
            Asked::AddDisk { .. } => "disk_attach",
            Asked::RemoveDisk { .. } => "disk_detach",
            _ => "vm_resize",
        }
    }

    fn give_up(&mut self, id: &InstanceId, reason: &str) {
        self.out.insert(id.clone());
        self.failure.get_or_insert_with(|| format!("{id}: {reason}"));
    }
}

/// True for what changes sizes or disks.
#[must_use]
pub fn changes_hardware(asked: &Asked) -> bool {
    matches!(asked, Asked::Resize { .. } | Asked::AddDisk { .. } | Asked::RemoveDisk { .. })
}

/// True for a script that has to succeed before anything is changed.
pub(super) fn is_before(work: &Work) -> bool {
    matches!(work, Work::Hook { hook: Hook::PreScale, .. } | Work::Disk { take: None, .. })
}
