//! Operations: what people ask of a run that is up, and how it goes on by itself from there.
//!
//! An operation is recorded with all that it adds, removes and runs, so that what follows needs no further
//! question: machines are launched as at the start, tasks are ordered when it is their turn ([`super::tasks`]),
//! who is to go is removed when it has said goodbye, and the operation ends when nothing of it is left to do.
//! What goes wrong fails the operation, not the run: what it has added and did not come up is given up. Only
//! an abort or the end of the run ends it early.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use slipstream_shared::{
    event::{Author, Event, Record},
    id::{InstanceId, NodeName},
    operation::{Asked, FIRST_TASK},
    parameter::Key,
    state::RunState,
};

use super::{
    Instance, Machine, Run,
    change::Refused,
    decide::{BOOT_DEADLINE, Decision, before},
    fold::planned,
    power::is_power,
    tasks::TaskState,
    value::Leaf,
};
use crate::seam::Millis;

/// How many operations that are over a run remembers.
const MOST_OVER: usize = 1000;

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Who asked for it.
    pub by: Author,
    /// The author's number of the request.
    pub op: Option<u64>,
    /// When.
    pub at: Millis,
    /// What was asked for.
    pub asked: Asked,
    /// Who is to come.
    pub add: Vec<InstanceId>,
    /// Who is to go.
    pub remove: Vec<InstanceId>,
    /// Who is changed where it is.
    #[serde(default)]
    pub touch: Vec<InstanceId>,
    /// Of these, who was off when it began.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub off: BTreeSet<InstanceId>,
    /// Whose machine it has changed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub made: BTreeSet<InstanceId>,
    /// Of whose machine it awaits nothing more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub out: BTreeSet<InstanceId>,
    /// When it was over.
    pub ended: Option<Millis>,
    /// Why it has failed.
    pub failure: Option<String>,
}

impl Run {
    /// The operations that are not over, in their order.
    pub fn open_operations(&self) -> impl Iterator<Item = (u32, &Operation)> {
        self.operations.iter().filter(|(_, o)| o.ended.is_none()).map(|(n, o)| (*n, o))
    }

    /// The events that begin an operation. Nothing is changed by asking.
    ///
    /// # Errors
    /// It cannot be done, or not now.
    pub fn start_operation(&self, asked: &Asked) -> Result<Vec<Event>, Refused> {
        self.may_operate(asked)?;
        match asked {
            Asked::Scale { count, remove } => self.scale(count, remove).map(|event| vec![event]),
            Asked::Stop { instances } | Asked::Start { instances } | Asked::Reboot { instances } => {
                self.power(asked, instances).map(|event| vec![event])
            }
            Asked::Update { module, plan: Some(plan) } => self.update(module, plan).map(|event| vec![event]),
            Asked::Update { module, plan: None } => {
                Err(Refused::Unreasonable(format!("there is no plan of {module} to update to")))
            }
            Asked::Resize { .. } | Asked::AddDisk { .. } | Asked::RemoveDisk { .. } => {
                self.change_hardware(asked).map(|event| vec![event])
            }
            Asked::Retry { instance, from, script } => self.retry(instance, from, script.as_deref()),
        }
    }

    /// The operation that a request has begun before.
    ///
    /// # Errors
    /// Its number belongs to another request.
    pub fn was_started(&self, by: &Author, op: u64, asked: &Asked) -> Result<Option<u32>, Refused> {
        match self.operations.iter().find(|(_, known)| known.op == Some(op) && known.by == *by) {
            None => Ok(None),
            Some((number, known)) if is_same(&known.asked, asked) => Ok(Some(*number)),
            Some(_) => Err(Refused::Reused),
        }
    }

    fn may_operate(&self, asked: &Asked) -> Result<(), Refused> {
        let id = self.id.short();
        if self.state.is_final() {
            return Err(Refused::Gone(format!("run {id} has ended ({})", self.state)));
        }
        if self.terminate.is_some() || self.is_ending() {
            return Err(Refused::Busy(format!("run {id} is ending: its machines are being removed")));
        }
        // To run a step again is how an aborted run is repaired.
        if let (Some(abort), false) = (&self.abort, matches!(asked, Asked::Retry { .. })) {
            return Err(Refused::Aborted { reason: format!("{} (take the abort back first)", abort.reason) });
        }
        if !self.reached_ready {
            return Err(Refused::Busy(format!("run {id} is {}: wait until it is Ready", self.state)));
        }
        // Who stops machines, or changes the plan, wants to be alone with them.
        let wants_alone = |asked: &Asked| is_power(asked) || matches!(asked, Asked::Update { .. });
        let alone = self.open_operations().find(|(_, open)| wants_alone(&open.asked) || wants_alone(asked));
        if let Some((number, _)) = alone {
            return Err(Refused::Busy(format!("operation {number} of run {id} is under way: wait until it is over")));
        }
        Ok(())
    }

    /// Where the run is while an operation is under way. None: there is none.
    pub(super) fn state_in_operation(&self) -> Option<RunState> {
        if self.abort.is_some() || !self.reached_ready {
            return None;
        }
        self.open_operations().next()?;
        let comes = |i: &Instance| i.is_live() && i.key.is_none();
        let goes = |i: &Instance| (i.leaving || i.given_up.is_some()) && i.machine != Machine::Gone;
        let switched =
            |i: &Instance| matches!(i.machine, Machine::Stopping | Machine::Starting) || i.hardware.changing.is_some();
        let machines = self.instances.values().any(|i| comes(i) || goes(i) || switched(i));
        Some(if machines { RunState::Provisioning } else { RunState::Executing })
    }

    /// What operations lead to next.
    pub(super) fn operate(&self, now: Millis, decision: &mut Decision) {
        if self.terminate.is_some() || self.is_ending() {
            return self.end_all("the run is being terminated", decision);
        }
        if let Some(abort) = &self.abort {
            self.end_all(&format!("the run was aborted: {}", abort.reason), decision);
            if !decision.events.is_empty() {
                return;
            }
        }
        self.give_up(now, decision);
        self.switch_machines(now, decision);
        self.change_machines(now, decision);
        self.order_tasks(now, decision);
        self.end_late_retries(now, decision);
        for (number, operation) in self.open_operations() {
            // It may have been too late for one of its machines, and done but for that.
            let ended = |e: &Event| matches!(e, Event::OperationFinished { number: ended, .. } if *ended == number);
            if self.is_done(number, operation) && !decision.events.iter().any(ended) {
                let failure = self.failure_of(number, operation);
                decision.events.push(Event::OperationFinished { number, failure });
            }
        }
    }

    fn end_all(&self, reason: &str, decision: &mut Decision) {
        for (number, operation) in self.open_operations() {
            if self.abort.is_some() {
                let unfinished = operation.add.iter().filter(|id| !self.is_settled(id));
                let given_up = |id: &InstanceId| Event::InstanceGivenUp {
                    instance: id.clone(),
                    reason: reason.into(),
                    failure: None,
                };
                decision.events.extend(unfinished.map(given_up));
            }
            decision.events.push(Event::OperationFinished { number, failure: Some(reason.to_owned()) });
        }
    }

    /// Gives up what was added and does not come up.
    fn give_up(&self, now: Millis, decision: &mut Decision) {
        let timeout = self.plan.policy.timeout;
        for (_, operation) in self.open_operations() {
            for id in operation.add.iter().filter(|id| !self.is_settled(id)) {
                let Some(instance) = self.instances.get(id) else { continue };
                let reason = match &instance.machine {
                    Machine::Failed(reason) => format!("cannot launch {id}: {reason}"),
                    Machine::Gone if !instance.replacing => {
                        format!("{id} is lost: its machine is gone, and nobody here has removed it")
                    }
                    _ if instance.may_exist()
                        && instance.key.is_none()
                        && !before(now, instance.since + BOOT_DEADLINE, decision) =>
                    {
                        let minutes = BOOT_DEADLINE / 60_000;
                        format!("the agent of {id} did not enrol within {minutes} minutes after its launch")
                    }
                    _ if !before(now, operation.at + timeout * 1000, decision) => {
                        format!("{id} was not ready within {timeout} s")
                    }
                    _ => continue,
                };
                decision.events.push(Event::InstanceGivenUp { instance: id.clone(), reason, failure: None });
            }
        }
    }

    /// True when an instance is to send its report now.
    #[must_use]
    pub fn owes_report(&self, id: &InstanceId) -> bool {
        self.instances.get(id).is_some_and(|i| {
            let leaves = i.leaving && matches!(i.machine, Machine::Launched | Machine::Running);
            let now = if leaves { self.tasks_are_over(id) } else { self.state == RunState::SendingReports };
            now && (leaves || i.is_live()) && i.key.is_some() && !i.reported
        })
    }

    /// True when nothing is awaited any more of an instance that is to come.
    pub(super) fn is_settled(&self, id: &InstanceId) -> bool {
        self.instances.get(id).is_none_or(|i| i.leaving || i.given_up.is_some() || self.serves(id))
    }

    /// True when an instance has deployed and is ready.
    pub(super) fn serves(&self, id: &InstanceId) -> bool {
        self.is_deployed(id) && self.instances.get(id).is_some_and(|i| i.ready && i.is_live())
    }

    /// True when the machine of an instance is confirmed gone, or there never was one.
    pub(super) fn is_gone(&self, id: &InstanceId) -> bool {
        self.instances.get(id).is_none_or(|i| i.machine == Machine::Gone)
    }

    fn is_done(&self, number: u32, operation: &Operation) -> bool {
        let came = |id: &InstanceId| {
            let given_up = self.instances.get(id).is_some_and(|i| i.given_up.is_some());
            self.is_settled(id) && (!given_up || self.is_gone(id))
        };
        operation.add.iter().all(came)
            && operation.remove.iter().all(|id| self.is_gone(id))
            && self.tasks_of(number).all(|(id, task)| self.is_over(id, task))
            && self.is_retried(number, operation)
            && operation
                .touch
                .iter()
                .all(|id| self.is_switched(number, operation, id) && self.is_hardware_settled(number, operation, id))
    }

    /// The first thing that went wrong.
    fn failure_of(&self, number: u32, operation: &Operation) -> Option<String> {
        let given_up = operation.add.iter().find_map(|id| self.instances.get(id)?.given_up.clone());
        given_up
            .or_else(|| operation.failure.clone())
            .or_else(|| {
                self.tasks_of(number).find_map(|(id, task)| {
                    let result = task.result.as_ref().filter(|r| !r.succeeded())?;
                    Some(format!("Failed running '{}' script on '{id}': {result}", task.work.name()))
                })
            })
            .or_else(|| self.left_unchanged(operation))
    }

    /// Takes in an event of an operation. None: it is of another kind.
    pub(super) fn apply_operation(&mut self, record: &Record, at: Millis) -> Option<Vec<Leaf>> {
        match &record.event {
            Event::OperationStarted { number, asked, add, remove, touch, tasks } => {
                if let Asked::Update { plan: Some(plan), .. } = &**asked {
                    self.take_plan(plan);
                }
                for id in add {
                    let instance = Instance { joining: true, ..planned(self.free_ordinal(), at) };
                    self.instances.insert(id.clone(), instance);
                }
                for id in remove {
                    if let Some(instance) = self.instances.get_mut(id) {
                        (instance.leaving, instance.reported) = (true, false);
                    }
                }
                for task in tasks {
                    self.add_task(task, *number);
                }
                for id in touch {
                    self.begin_retry(id, tasks);
                }
                let (by, op, asked) = (record.by.clone(), record.op, without_plan(asked));
                let (add, remove, touch) = (add.clone(), remove.clone(), touch.clone());
                let leaves = members(add.iter().chain(&remove));
                let is_off = |id: &&InstanceId| self.instances.get(*id).is_some_and(|i| i.machine == Machine::Stopped);
                let operation = Operation {
                    off: touch.iter().filter(is_off).cloned().collect(),
                    made: BTreeSet::new(),
                    out: BTreeSet::new(),
                    by,
                    op,
                    at,
                    asked,
                    add,
                    remove,
                    touch,
                    ended: None,
                    failure: None,
                };
                self.operations.insert(*number, operation);
                self.forget_operations();
                Some(leaves)
            }
            Event::OperationFinished { number, failure } => {
                let operation = self.operations.get_mut(number)?;
                (operation.ended, operation.failure) = (Some(at), failure.clone());
                for (id, instance) in &mut self.instances {
                    instance.joining &= !operation.add.contains(id);
                    // Cut short: who was not on its way out yet stays.
                    if operation.remove.contains(id) {
                        instance.leaving &= matches!(instance.machine, Machine::Terminating | Machine::Gone);
                    }
                }
                let leaves = members(operation.remove.iter());
                if failure.is_none() {
                    self.keep_size(*number);
                }
                Some(leaves)
            }
            Event::InstanceGivenUp { instance, reason, .. } => {
                let given_up = self.instances.get_mut(instance)?;
                given_up.given_up = Some(reason.clone());
                given_up.waits.clear();
                given_up.replacing = false;
                Some(members(std::iter::once(instance)))
            }
            Event::MachineChangeIntended { instance, .. }
            | Event::MachineChanged { instance, .. }
            | Event::MachineChangeFailed { instance, .. }
            | Event::MachineGivenUp { instance, .. } => {
                self.apply_change(&record.event, at);
                Some(super::hardware::computed(instance))
            }
            // The rest is as for any event of an instance.
            Event::PowerFailed { instance, reason, .. } => {
                let open = self.operations.values_mut().find(|o| o.ended.is_none() && o.touch.contains(instance));
                if let Some(operation) = open {
                    operation.failure = Some(format!("{instance}: {reason}"));
                }
                None
            }
            Event::TaskOrdered { instance, index, env, .. } => {
                let task = self.task_mut(instance, *index)?;
                (task.ordered, task.env) = (Some(at), env.clone());
                Some(vec![])
            }
            Event::StepStarted { instance, index, .. } if *index >= FIRST_TASK => {
                let task = self.task_mut(instance, *index)?;
                task.started = Some(at);
                let work = task.work.clone();
                Some(self.step_retried(instance, &work, at, None))
            }
            Event::StepFinished { instance, index, result, .. } if *index >= FIRST_TASK => {
                let task = self.task_mut(instance, *index)?;
                (task.result, task.ended) = (Some(result.clone()), Some(at));
                let (work, started) = (task.work.clone(), task.started.unwrap_or(at));
                Some(self.step_retried(instance, &work, started, Some(result)))
            }
            _ => None,
        }
    }

    fn task_mut(&mut self, instance: &InstanceId, index: u32) -> Option<&mut TaskState> {
        self.tasks.get_mut(instance)?.iter_mut().find(|t| t.index == index)
    }

    /// The lowest number that no machine has, or will have again: the number decides the private address.
    fn free_ordinal(&self) -> u32 {
        let used: BTreeSet<u32> =
            self.instances.values().filter(|i| i.machine != Machine::Gone || i.replacing).map(|i| i.ordinal).collect();
        (1..).find(|n| !used.contains(n)).unwrap_or(u32::MAX)
    }

    fn forget_operations(&mut self) {
        let over: Vec<u32> = self.operations.iter().filter(|(_, o)| o.ended.is_some()).map(|(n, _)| *n).collect();
        for number in &over[..over.len().saturating_sub(MOST_OVER)] {
            self.operations.remove(number);
        }
    }

    /// How many instances the run has or wants: without those that leave or did not come up.
    #[must_use]
    pub fn member_count(&self) -> u32 {
        super::index(self.instances.values().filter(|i| !i.leaving && i.given_up.is_none()).count())
    }

    /// The number of the next operation.
    pub(super) fn next_operation(&self) -> u32 {
        self.operations.keys().next_back().map_or(1, |last| last + 1)
    }

    /// The live instances of a node, by id.
    pub(super) fn members_of(&self, node: &NodeName) -> Vec<&InstanceId> {
        self.instances.iter().filter(|(id, i)| id.node == *node && i.is_live()).map(|(id, _)| id).collect()
    }
}

/// The same without the plan, which the run has.
pub(super) fn without_plan(asked: &Asked) -> Asked {
    match asked {
        Asked::Update { module, .. } => Asked::Update { module: module.clone(), plan: None },
        other => other.clone(),
    }
}

fn is_same(known: &Asked, asked: &Asked) -> bool {
    *known == without_plan(asked)
}

/// What may have another value when instances come or go.
fn members<'a>(ids: impl Iterator<Item = &'a InstanceId>) -> Vec<Leaf> {
    let nodes: BTreeMap<&NodeName, ()> = ids.map(|id| (&id.node, ())).collect();
    let of_node = |node: &NodeName| {
        let computed = ["ids", "multiplicity"].map(|name| Leaf::Value(Key::node(node, name)));
        [Leaf::Members(node.clone())].into_iter().chain(computed)
    };
    nodes.keys().flat_map(|node| of_node(node)).collect()
}
