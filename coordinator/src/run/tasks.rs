//! Tasks: the scripts that instances run for operations, each when it is its turn.
//!
//! An instance has one line of tasks, in the order of their operations. The first that is not over is
//! ordered when its moment has come: [`Event::TaskOrdered`] is recorded, then the agent finds the task in
//! its plan, also after a restart or a reboot, until its end is known. A task whose agent does not answer
//! in time has failed, so that no operation waits for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slipstream_shared::{
    disk::{DiskName, DiskSpec},
    event::{Event, StepResult},
    id::{InstanceId, NodeName},
    link::AgentTask,
    operation::{FIRST_TASK, HOOK_WITHIN, Hook, SCALING_ACTION, SCALING_NODE, SCALING_VMS, Task, Work},
    plan::{Script, StepPlan},
};

use super::{
    Machine, Run,
    decide::{BOOT_DEADLINE, Decision, before},
    operation::Operation,
    vertical::{Fate, is_before},
};
use crate::seam::Millis;

/// How many tasks of an instance are remembered.
const MOST: usize = 100;

/// Beyond the time of its script, an agent has so long to take up a task and to say how it ended.
const ANSWER: Millis = 60 * 1000;

/// A task and how far it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskState {
    /// Of which operation.
    pub operation: u32,
    /// Its number on its instance.
    pub index: u32,
    /// What it runs.
    pub work: Work,
    /// When it was its turn.
    pub ordered: Option<Millis>,
    /// The variables that say what it is about.
    pub env: BTreeMap<String, String>,
    /// When it started.
    pub started: Option<Millis>,
    /// When it ended.
    pub ended: Option<Millis>,
    /// How.
    pub result: Option<StepResult>,
    /// It belongs to a machine that was replaced since: the new one runs all its steps anyway.
    #[serde(default)]
    pub void: bool,
}

/// Where a task stands, whatever those before it do.
enum Stand {
    /// Nothing is left to do.
    Over,
    /// It has been ordered.
    Ordered(Millis),
    /// Its moment has not come.
    Early,
    /// Its moment has come, with these variables.
    Due(BTreeMap<String, String>),
}

impl Run {
    /// Orders the tasks whose turn it is.
    pub(super) fn order_tasks(&self, now: Millis, decision: &mut Decision) {
        for (id, tasks) in &self.tasks {
            let next = tasks.iter().map(|task| (task, self.stand(id, task))).find(|(_, s)| !matches!(s, Stand::Over));
            let Some((task, stand)) = next else { continue };
            let (instance, index, step) = (id.clone(), task.index, task.work.name().to_owned());
            match stand {
                Stand::Due(env) => decision.events.push(Event::TaskOrdered { instance, index, step, env }),
                Stand::Ordered(at) => {
                    let within = self.task_step(id, task).and_then(|s| s.within).unwrap_or(HOOK_WITHIN);
                    // Its machine may still be starting.
                    let boots =
                        task.started.is_none() && self.instances.get(id).is_some_and(|i| i.powered == task.operation);
                    let boot = if boots { BOOT_DEADLINE } else { 0 };
                    if !before(now, at + boot + within * 1000 + ANSWER, decision) {
                        let cause = Some(format!("the agent did not say within {within} s how it ended"));
                        let result = StepResult { cause, ..StepResult::default() };
                        decision.events.push(Event::StepFinished { instance, index, step, result });
                    }
                }
                Stand::Over | Stand::Early => {}
            }
        }
    }

    fn stand(&self, id: &InstanceId, task: &TaskState) -> Stand {
        let Some(instance) = self.instances.get(id) else { return Stand::Over };
        let Some(operation) = self.operations.get(&task.operation).filter(|o| o.ended.is_none()) else {
            return Stand::Over;
        };
        let there = matches!(instance.machine, Machine::Launched | Machine::Running) && instance.given_up.is_none();
        if task.result.is_some() || self.task_step(id, task).is_none() {
            return Stand::Over;
        }
        if !there {
            // One that is off to be changed comes back.
            let away = instance.is_live() && self.open_operations().any(|(number, _)| self.is_away(id, number));
            return if away { Stand::Early } else { Stand::Over };
        }
        if let Some(at) = task.ordered {
            return Stand::Ordered(at);
        }
        match &task.work {
            Work::Hook { hook: Hook::PreRemove, node, .. } => Stand::Due(vm_remove(operation, node)),
            _ if instance.leaving => Stand::Over,
            Work::Hook { hook: Hook::OnVmRemove, node, .. } => {
                let gone = operation.remove.iter().all(|id| self.is_gone(id));
                if gone { Stand::Due(vm_remove(operation, node)) } else { Stand::Early }
            }
            Work::Hook { hook: Hook::OnVmAdd, node, .. } => {
                if !operation.add.iter().all(|id| self.is_settled(id)) {
                    return Stand::Early;
                }
                let came: Vec<&InstanceId> =
                    operation.add.iter().filter(|id| id.node == *node && self.serves(id)).collect();
                if came.is_empty() { Stand::Over } else { Stand::Due(scaling("vm_create", node, &came)) }
            }
            Work::Step { .. } if self.is_cut_off(id, task.operation, task.index) => Stand::Over,
            Work::Step { .. } => Stand::Due(BTreeMap::new()),
            Work::Hook { hook: Hook::PreScale | Hook::PostScale, .. } | Work::Disk { .. } => {
                self.stand_changing(id, task, operation)
            }
        }
    }

    /// The same for what goes with the change of a machine.
    fn stand_changing(&self, id: &InstanceId, task: &TaskState, operation: &Operation) -> Stand {
        let number = task.operation;
        let fate = self.fate(number, operation, id);
        let due = || {
            let touched: Vec<&InstanceId> = operation.touch.iter().collect();
            let mut env = scaling(operation.action(), &id.node, &touched);
            env.extend(self.change_variables(number, operation, id));
            Stand::Due(env)
        };
        match fate {
            Fate::Coming if is_before(&task.work) => due(),
            Fate::Coming => Stand::Early,
            Fate::Made if !is_before(&task.work) => due(),
            Fate::Never if task.work.is_post_scale() && self.was_prepared(number, id) => due(),
            Fate::Made | Fate::Never => Stand::Over,
        }
    }

    /// True when nothing is left to do of a task.
    pub(super) fn is_over(&self, id: &InstanceId, task: &TaskState) -> bool {
        matches!(self.stand(id, task), Stand::Over)
    }

    /// True when nothing is left to do of any task of an instance.
    pub(super) fn tasks_are_over(&self, id: &InstanceId) -> bool {
        self.tasks.get(id).into_iter().flatten().all(|task| self.is_over(id, task))
    }

    /// The tasks of an operation.
    pub fn tasks_of(&self, number: u32) -> impl Iterator<Item = (&InstanceId, &TaskState)> {
        self.tasks
            .iter()
            .flat_map(|(id, all)| all.iter().map(move |t| (id, t)))
            .filter(move |(_, t)| t.operation == number)
    }

    /// The task of that number.
    #[must_use]
    pub fn task(&self, id: &InstanceId, index: u32) -> Option<&TaskState> {
        self.tasks.get(id)?.iter().find(|t| t.index == index)
    }

    /// What a task runs. None: the plan no longer has it.
    #[must_use]
    pub fn task_step(&self, id: &InstanceId, task: &TaskState) -> Option<StepPlan> {
        let node = self.node(id)?;
        match &task.work {
            Work::Hook { hook, place, .. } => {
                let step = node.hooks.get(hook)?.get(usize::try_from(*place).ok()?)?;
                Some(StepPlan { within: step.within.or(Some(HOOK_WITHIN)), ..step.clone() })
            }
            Work::Step { step, script, .. } => {
                let step = node.steps.get(usize::try_from(*step).ok()?)?.clone();
                let script = script.clone().unwrap_or(step.script);
                let within = step.within.or(Some(self.plan.policy.timeout));
                Some(StepPlan { script, within, ..step })
            }
            Work::Disk { disk, take } => Some(StepPlan {
                step: task.work.name().to_owned(),
                origin: "slipstream".to_owned(),
                script: Script::Text(disk_command(*disk, take.as_ref())),
                within: Some(HOOK_WITHIN),
                env: BTreeMap::new(),
                needs: vec![],
            }),
        }
    }

    /// The tasks an agent is to run now. One that leads to the ready check stays until that has passed: an
    /// agent that is restarted in between knows by it that the check is still due.
    pub(super) fn agent_tasks(&self, id: &InstanceId) -> Vec<AgentTask> {
        let all = self.tasks.get(id).into_iter().flatten();
        all.filter_map(|task| {
            let again = match task.work {
                Work::Step { step, .. } => Some(step),
                Work::Hook { .. } | Work::Disk { .. } => None,
            };
            // The last step leads to the ready check, as in the deployment.
            let check = again.is_some_and(|step| step + 1 == self.deploy_steps(id)) || self.leads_to_check(id, task);
            let ordered = matches!(self.stand(id, task), Stand::Ordered(_));
            let due = ordered || (check && self.awaits_check(id, task));
            if !due {
                return None;
            }
            let mut step = super::agent_plan::agent_step(&self.task_step(id, task)?);
            step.env.extend(task.env.clone());
            Some(AgentTask { index: task.index, step, again, check })
        })
        .collect()
    }

    fn awaits_check(&self, id: &InstanceId, task: &TaskState) -> bool {
        let open = self.operations.get(&task.operation).is_some_and(|o| o.ended.is_none());
        let succeeded = |result: &StepResult| result.succeeded() || task.work.is_post_scale();
        open && task.result.as_ref().is_some_and(succeeded) && self.instances.get(id).is_some_and(|i| !i.ready)
    }

    /// Puts a task at the end of the line.
    pub(super) fn add_task(&mut self, task: &Task, operation: u32) {
        let line = self.tasks.entry(task.instance.clone()).or_default();
        line.push(TaskState {
            operation,
            index: task.index,
            work: task.work.clone(),
            ordered: None,
            env: BTreeMap::new(),
            started: None,
            ended: None,
            result: None,
            void: false,
        });
        let over = line.iter().take_while(|t| t.result.is_some()).count();
        line.drain(..over.min(line.len().saturating_sub(MOST)));
    }

    /// The machine of an instance is replaced: what operations had it run there has failed, if it was not over.
    pub(super) fn void_tasks(&mut self, id: &InstanceId, at: Millis) {
        for task in self.tasks.get_mut(id).into_iter().flatten().filter(|task| !task.void) {
            task.void = true;
            if task.result.is_none() && self.operations.get(&task.operation).is_some_and(|o| o.ended.is_none()) {
                let cause = Some("its machine was lost and is replaced".to_owned());
                (task.result, task.ended) = (Some(StepResult { cause, ..StepResult::default() }), Some(at));
            }
        }
    }

    /// Makes tasks of `works`, each for its instance, with numbers that follow those there are.
    pub(super) fn number_tasks(&self, works: impl IntoIterator<Item = (InstanceId, Work)>) -> Vec<Task> {
        let mut next: BTreeMap<InstanceId, u32> = BTreeMap::new();
        let number = |(instance, work): (InstanceId, Work)| {
            let last = || self.tasks.get(&instance).and_then(|line| line.last()).map_or(FIRST_TASK, |t| t.index + 1);
            let index = next.entry(instance.clone()).or_insert_with(last);
            *index += 1;
            Task { index: *index - 1, instance, work }
        };
        works.into_iter().map(number).collect()
    }
}

fn vm_remove(operation: &Operation, node: &NodeName) -> BTreeMap<String, String> {
    let gone: Vec<&InstanceId> = operation.remove.iter().filter(|id| id.node == *node).collect();
    scaling("vm_remove", node, &gone)
}

/// What the agent runs when a disk comes or goes.
fn disk_command(disk: DiskName, take: Option<&DiskSpec>) -> String {
    let Some(spec) = take else { return format!("exec slipstream-agent disk release {disk}\n") };
    let mount = spec.mount.as_ref().map(|folder| format!(" --mount {folder}")).unwrap_or_default();
    let fs = spec.fs.filter(|_| spec.mount.is_some()).map(|fs| format!(" --fs {}", fs.name())).unwrap_or_default();
    format!("exec slipstream-agent disk take {disk}{mount}{fs}\n")
}

/// The variables of a hook.
fn scaling(action: &str, node: &NodeName, vms: &[&InstanceId]) -> BTreeMap<String, String> {
    let vms: Vec<String> = vms.iter().map(ToString::to_string).collect();
    let pairs = [(SCALING_ACTION, action.to_owned()), (SCALING_NODE, node.to_string()), (SCALING_VMS, vms.join(" "))];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}
