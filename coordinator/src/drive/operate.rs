//! Operations, as the API asks for them and as agents are told.

use slipstream_shared::{
    api::OperationInfo,
    event::{Author, Event},
    id::InstanceId,
    link::Down,
    operation::Asked,
};

use super::{
    RunError,
    actor::{Actor, Turn},
    handle::{Message, RunHandle},
};

impl RunHandle {
    /// Begins an operation; it is recorded, durably, when this returns. With the same `op` again it is the
    /// operation that was begun then.
    ///
    /// # Errors
    /// It cannot be done, or not now; nothing was changed.
    pub async fn operate(&self, by: Author, asked: Asked, op: Option<u64>) -> Result<OperationInfo, RunError> {
        let asked = Box::new(asked);
        let number = self.ask(|reply| Message::Operate { by, asked, op, reply }).await??;
        self.operation(number).await
    }

    /// Says what an operation would do. Nothing is changed.
    ///
    /// # Errors
    /// It cannot be done, or not now.
    pub async fn preview_operation(&self, asked: Asked) -> Result<OperationInfo, RunError> {
        self.read(move |run, _| run.preview_operation(&asked)).await?.map_err(RunError::from)
    }

    /// All operations the run remembers, oldest first.
    ///
    /// # Errors
    /// The coordinator is stopping.
    pub async fn operations(&self) -> Result<Vec<OperationInfo>, RunError> {
        self.read(|run, _| run.operation_infos()).await
    }

    /// One operation.
    ///
    /// # Errors
    /// The run has none of that number.
    pub async fn operation(&self, number: u32) -> Result<OperationInfo, RunError> {
        self.read(move |run, _| run.operation(number)).await?.map_err(RunError::from)
    }
}

impl Actor {
    /// Records the beginning of an operation; gives its number.
    pub(super) fn begin_operation(
        &mut self,
        turn: &mut Turn,
        by: Author,
        asked: &Asked,
        op: Option<u64>,
    ) -> Result<u32, RunError> {
        if let Some(op) = op
            && let Some(number) = self.run.was_started(&by, op, asked)?
        {
            return Ok(number);
        }
        for event in self.run.start_operation(asked)? {
            let op = op.filter(|_| matches!(event, Event::OperationStarted { .. }));
            self.record(turn, by.clone(), op, event);
        }
        Ok(self.run.operations.keys().next_back().copied().unwrap_or_default())
    }

    /// Tells an agent its plan once more: it has changed.
    pub(super) fn tell_plan(&mut self, instance: &InstanceId) {
        if let Some(plan) = self.run.agent_plan(instance, self.is_own_machine(instance)) {
            self.links.tell(instance, Down::Plan(Box::new(plan)));
        }
    }
}
