//! Operations, as the API asks for them and as agents are told.

use slipstream_shared::{
    api::OperationInfo,
    event::{Author, Event},
    id::InstanceId,
    link::Down,
    operation::Asked,
    plan::Plan,
};

use crate::run::executed::Executed;

use super::{
    RunError,
    actor::{Actor, Turn},
    handle::{Message, RunHandle},
    vertical::disks_are_possible,
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

    /// What the run does.
    ///
    /// # Errors
    /// The coordinator is stopping.
    pub async fn plan(&self) -> Result<Plan, RunError> {
        self.read(|run, _| run.plan.clone()).await
    }

    /// The edited scripts that have succeeded.
    ///
    /// # Errors
    /// The coordinator is stopping.
    pub async fn executed(&self) -> Result<Vec<Executed>, RunError> {
        self.read(|run, _| run.executed()).await
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
        let events = self.run.start_operation(asked)?;
        if let Asked::Update { plan: Some(plan), .. } = asked {
            self.clouds_are_there(plan)?;
            disks_are_possible(&self.world, plan)?;
        }
        for event in &events {
            if let Event::OperationStarted { touch, .. } = event {
                self.can_be_done(asked, touch)?;
            }
        }
        for event in events {
            let op = op.filter(|_| matches!(event, Event::OperationStarted { .. }));
            self.record(turn, by.clone(), op, event);
        }
        Ok(self.run.operations.keys().next_back().copied().unwrap_or_default())
    }

    fn clouds_are_there(&self, plan: &Plan) -> Result<(), RunError> {
        match plan.nodes.values().find(|node| !self.world.clouds.contains_key(&node.cloud)) {
            None => Ok(()),
            Some(node) => {
                let known: Vec<&str> = self.world.clouds.keys().map(String::as_str).collect();
                Err(RunError::UnknownCloud { name: node.cloud.clone(), known: known.join(", ") })
            }
        }
    }

    /// Tells all agents their plans once more.
    pub(super) fn tell_plans(&mut self) {
        let connected: Vec<InstanceId> = self.links.all.keys().cloned().collect();
        for instance in connected {
            self.tell_plan(&instance);
        }
    }

    /// Tells an agent its plan once more: it has changed.
    pub(super) fn tell_plan(&mut self, instance: &InstanceId) {
        if let Some(plan) = self.run.agent_plan(instance, self.is_own_machine(instance)) {
            self.links.tell(instance, Down::Plan(Box::new(plan)));
        }
    }
}
