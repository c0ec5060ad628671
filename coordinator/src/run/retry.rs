//! Running the steps of one instance again: from a step on, as they were or with another script.

use slipstream_shared::{
    event::{Event, StepResult},
    id::InstanceId,
    module::near::did_you_mean,
    operation::{Asked, Task, Work},
    parameter::Key,
    plan::{NeedMilestone, Script, StepPlan},
};

use super::{
    Instance, Machine, Run, StepState,
    change::Refused,
    decide::{Decision, before},
    operation::Operation,
    value::Leaf,
};
use crate::seam::Millis;

/// How long after its last script, beyond the time of its ready check, an instance has to say that it is ready.
const ANSWER: Millis = 60 * 1000;

/// The longest script, in bytes.
const MAX_SCRIPT: usize = 256 * 1024;

impl Run {
    /// The events that begin to run the steps of `id` again, from the one named `from`, which is run as
    /// `script` if there is one. Takes an abort back: whoever repairs a run wants it to go on.
    pub(super) fn retry(&self, id: &InstanceId, from: &str, script: Option<&str>) -> Result<Vec<Event>, Refused> {
        let instance = self.retryable(id)?;
        let steps = self.node(id).map(|n| n.steps.as_slice()).unwrap_or_default();
        let first = first_step(id, steps, from, script)?;
        if !instance.steps.contains_key(&super::index(first)) {
            let message = format!("step `{from}` of {id} has never run: there is nothing to run again");
            return Err(Refused::Unreasonable(message));
        }
        let works = steps.iter().enumerate().skip(first).map(|(place, step)| {
            let script = script.filter(|_| place == first).map(|text| Script::Text(text.to_owned()));
            (id.clone(), Work::Step { step: super::index(place), name: step.step.clone(), script })
        });
        let asked = Asked::Retry { instance: id.clone(), from: from.to_owned(), script: script.map(str::to_owned) };
        let (number, tasks) = (self.next_operation(), self.number_tasks(works));
        let started = Event::OperationStarted {
            number,
            asked: Box::new(asked),
            add: vec![],
            remove: vec![],
            touch: vec![id.clone()],
            tasks,
        };
        let mut events = self.cancel_abort();
        events.push(started);
        Ok(events)
    }

    fn retryable(&self, id: &InstanceId) -> Result<&Instance, Refused> {
        let unreasonable = |message: String| Err(Refused::Unreasonable(message));
        let Some(instance) = self.instances.get(id) else {
            return unreasonable(format!("this run has no instance {id}"));
        };
        let concerns = |o: &Operation| {
            o.add.contains(id) || o.reruns().any(|other| other == id) || (o.changes_hardware() && o.touch.contains(id))
        };
        if let Some((number, _)) = self.open_operations().find(|(_, o)| concerns(o)) {
            return Err(Refused::Busy(format!("operation {number} is changing {id}: wait until it is over")));
        }
        if !instance.is_live() || !matches!(instance.machine, Machine::Launched | Machine::Running) {
            return unreasonable(format!("{id} has no machine that runs: it is gone, or not there yet"));
        }
        if instance.key.is_none() {
            return unreasonable(format!("the agent of {id} has not enrolled: nothing has run there yet"));
        }
        if instance.is_executing() {
            return Err(Refused::Busy(format!("{id} is running a step: wait until that has ended, or abort the run")));
        }
        Ok(instance)
    }

    /// Takes in that steps are to be run again: what they led to does not count any more.
    pub(super) fn begin_retry(&mut self, id: &InstanceId, tasks: &[Task]) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        for task in tasks.iter().filter(|task| task.instance == *id) {
            if let Work::Step { step, .. } = task.work {
                instance.ready = false;
                instance.steps.remove(&step);
            }
        }
    }

    /// True when a step before it in the same operation has failed, so that this one is not run.
    pub(super) fn is_cut_off(&self, id: &InstanceId, operation: u32, index: u32) -> bool {
        let mut before = self.tasks.get(id).into_iter().flatten().filter(|t| t.operation == operation);
        before.any(|t| {
            t.index < index && matches!(t.work, Work::Step { .. }) && t.result.as_ref().is_some_and(|r| !r.succeeded())
        })
    }

    /// True when a retry has come to its end: a step has failed, or the instance is ready again.
    pub(super) fn is_retried(&self, number: u32, operation: &Operation) -> bool {
        operation.reruns().all(|id| self.is_rerun(number, id))
    }

    fn is_rerun(&self, number: u32, id: &InstanceId) -> bool {
        let live = self.instances.get(id).is_some_and(Instance::is_live);
        self.is_cut_off(id, number, u32::MAX) || self.serves(id) || !live
    }

    /// Ends a retry after which nobody says that the instance is ready.
    pub(super) fn end_late_retries(&self, now: Millis, decision: &mut Decision) {
        for (number, operation) in self.open_operations() {
            for id in operation.reruns().filter(|id| !self.is_rerun(number, id)) {
                let mut tasks = self.tasks_of(number).filter(|(who, _)| *who == id).map(|(_, task)| task).peekable();
                let over = tasks.peek().is_some();
                let (mut last, mut all) = (None, over);
                for task in tasks {
                    (last, all) = (last.max(task.ended), all && self.is_over(id, task));
                }
                let within = self.node(id).and_then(|n| n.ready.as_ref()).map_or(0, |r| r.within);
                if let (true, Some(last)) = (all, last)
                    && !before(now, last + within * 1000 + ANSWER, decision)
                {
                    let failure = Some(format!("{id} did not say that it is ready"));
                    decision.events.push(Event::OperationFinished { number, failure });
                    break;
                }
            }
        }
    }

    /// The events of a ready check that did not pass, if it belongs to a retry.
    pub(super) fn retry_not_ready(&self, id: &InstanceId, reason: &str) -> Option<Vec<Event>> {
        if let Some(events) = self.changed_not_ready(id, reason) {
            return Some(events);
        }
        let (number, _) = self.open_operations().find(|(_, o)| o.reruns().any(|other| other == id))?;
        let failure = Some(format!("{id} did not become ready: {reason}"));
        Some(vec![Event::OperationFinished { number, failure }])
    }

    /// Takes in how a step that was run again has ended.
    pub(super) fn step_retried(
        &mut self,
        id: &InstanceId,
        work: &Work,
        started: Millis,
        result: Option<&StepResult>,
    ) -> Vec<Leaf> {
        let (Work::Step { step, .. }, Some(instance)) = (work, self.instances.get_mut(id)) else { return vec![] };
        instance.steps.insert(*step, StepState { started, result: result.cloned() });
        vec![Leaf::Milestone(id.clone(), NeedMilestone::Deployed), Leaf::Value(Key::instance(id, "complete"))]
    }

    /// From which step on the steps of an instance are run by an operation and not by its deployment.
    pub(super) fn held_from(&self, id: &InstanceId) -> Option<u32> {
        let open = |number: u32| self.operations.get(&number).is_some_and(|o| o.ended.is_none());
        let tasks = self.tasks.get(id).into_iter().flatten().filter(|t| open(t.operation) && !t.void);
        tasks
            .filter_map(|t| match t.work {
                Work::Step { step, .. } => Some(step),
                Work::Hook { .. } | Work::Disk { .. } => None,
            })
            .chain(self.holds_check(id).then(|| self.deploy_steps(id)))
            .min()
    }
}

impl Operation {
    /// The instances whose steps it runs again.
    pub fn reruns(&self) -> impl Iterator<Item = &InstanceId> {
        let reruns = matches!(self.asked, Asked::Retry { .. } | Asked::Update { .. });
        self.touch.iter().filter(move |_| reruns)
    }
}

/// The place of the first step to run. Parents contribute steps of the same name; an edited script stands for
/// the last of them, the module's own.
fn first_step(id: &InstanceId, steps: &[StepPlan], from: &str, script: Option<&str>) -> Result<usize, Refused> {
    let unreasonable = |message: String| Err(Refused::Unreasonable(message));
    let place = match script {
        None => steps.iter().position(|s| s.step == from),
        Some(_) => steps.iter().rposition(|s| s.step == from),
    };
    let Some(place) = place else {
        let names: Vec<&str> = steps.iter().map(|s| s.step.as_str()).collect();
        let hint = did_you_mean(from, names.iter().copied()).map(|h| format!(" ({h})")).unwrap_or_default();
        return unreasonable(format!("{id} has no step `{from}`{hint}; it has: {}", names.join(", ")));
    };
    match script {
        Some(text) if text.len() > MAX_SCRIPT => {
            unreasonable(format!("a script has at most {MAX_SCRIPT} bytes, not {}", text.len()))
        }
        Some(text) if text.trim().is_empty() => unreasonable("the script is empty".to_owned()),
        Some(_) if matches!(steps[place].script, Script::Packages(_)) => {
            unreasonable(format!("step `{from}` installs packages: it has no script to replace"))
        }
        _ => Ok(place),
    }
}
