//! What people see of operations.

use slipstream_shared::{
    api::{OperationInfo, OperationStatus, StepInfo, TaskInfo},
    event::Event,
    id::InstanceId,
    operation::Asked,
};

use super::{
    Run, StepState,
    change::Refused,
    operation::{Operation, without_plan},
    tasks::TaskState,
    view::step_info,
};

/// How many operations that are over are shown with a run.
const LATEST: usize = 5;

impl Run {
    /// All operations the run remembers, oldest first.
    #[must_use]
    pub fn operation_infos(&self) -> Vec<OperationInfo> {
        self.operations.iter().map(|(number, operation)| self.operation_info(*number, operation)).collect()
    }

    /// One operation.
    ///
    /// # Errors
    /// The run has none of that number.
    pub fn operation(&self, number: u32) -> Result<OperationInfo, Refused> {
        let operation = self.operations.get(&number);
        let operation =
            operation.ok_or_else(|| Refused::Unreasonable(format!("this run has no operation {number}")))?;
        Ok(self.operation_info(number, operation))
    }

    /// What would be done. Nothing is changed.
    ///
    /// # Errors
    /// It cannot be done, or not now.
    pub fn preview_operation(&self, asked: &Asked) -> Result<OperationInfo, Refused> {
        let begins = |event: &Event| matches!(event, Event::OperationStarted { .. });
        let begun = self.start_operation(asked)?.into_iter().find(begins);
        let Some(Event::OperationStarted { number, asked, add, remove, touch, tasks }) = begun else {
            return Err(Refused::Unreasonable("that is no operation".to_owned()));
        };
        let task = |task: slipstream_shared::operation::Task| TaskInfo {
            step: task.work.name().to_owned(),
            instance: task.instance,
            index: task.index,
            status: "waiting".to_owned(),
            result: None,
        };
        let notes = match &*asked {
            Asked::Update { plan: Some(plan), .. } => self.update_notes(plan),
            _ => vec![],
        };
        Ok(OperationInfo {
            number,
            status: OperationStatus::Planned,
            failure: None,
            asked: without_plan(&asked),
            by: None,
            at: None,
            ended: None,
            add,
            remove,
            touch,
            tasks: tasks.into_iter().map(task).collect(),
            notes,
        })
    }

    /// Those that are under way, and the latest of the others.
    pub(super) fn latest_operations(&self) -> Vec<OperationInfo> {
        let mut over = 0;
        let shown = self.operations.iter().rev().filter(|(_, operation)| {
            over += usize::from(operation.ended.is_some());
            operation.ended.is_none() || over <= LATEST
        });
        let mut shown: Vec<OperationInfo> = shown.map(|(n, operation)| self.operation_info(*n, operation)).collect();
        shown.reverse();
        shown
    }

    /// The tasks of an instance, as steps.
    pub(super) fn task_infos(&self, id: &InstanceId) -> Vec<StepInfo> {
        let info = |task: &TaskState| {
            let plan = self.task_step(id, task)?;
            let started = task.started.or(task.ended).map(|started| StepState { started, result: task.result.clone() });
            Some(step_info(task.index, &plan, started.as_ref()))
        };
        self.tasks.get(id).into_iter().flatten().filter_map(info).collect()
    }

    fn operation_info(&self, number: u32, operation: &Operation) -> OperationInfo {
        let status = match (operation.ended, &operation.failure) {
            (None, _) => OperationStatus::UnderWay,
            (Some(_), None) => OperationStatus::Succeeded,
            (Some(_), Some(_)) => OperationStatus::Failed,
        };
        OperationInfo {
            number,
            status,
            failure: operation.failure.clone(),
            asked: operation.asked.clone(),
            by: Some(operation.by.clone()),
            at: Some(self.shown(operation.at)),
            ended: operation.ended.map(|at| self.shown(at)),
            add: operation.add.clone(),
            remove: operation.remove.clone(),
            touch: operation.touch.clone(),
            tasks: self.tasks_of(number).map(|(id, task)| self.task_info(id, task)).collect(),
            notes: vec![],
        }
    }

    fn task_info(&self, id: &InstanceId, task: &TaskState) -> TaskInfo {
        let status = match (&task.result, task.started) {
            (Some(result), _) if result.succeeded() => "succeeded",
            (Some(_), _) => "failed",
            (None, _) if self.is_over(id, task) => "skipped",
            (None, Some(_)) => "running",
            (None, None) => "waiting",
        };
        TaskInfo {
            instance: id.clone(),
            index: task.index,
            step: task.work.name().to_owned(),
            status: status.to_owned(),
            result: task.result.as_ref().filter(|r| !r.succeeded()).map(ToString::to_string),
        }
    }
}
