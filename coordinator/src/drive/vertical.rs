//! Sizes and disks of machines: what clouds can do, what they are asked to do, and what came of it.

use std::sync::Arc;

use slipstream_shared::{
    event::{Author, Event},
    id::InstanceId,
    operation::{Asked, MachineChange},
    plan::Plan,
};

use super::{
    RunError, World,
    actor::{Actor, Turn},
    jobs::{Outcome, bounded},
};
use crate::{
    cloud::CloudError,
    run::{Machine, change::Refused, decide::Command, hardware::Changing},
};

/// Says whether the clouds of a plan can give its machines the disks that it declares.
pub(super) fn disks_are_possible(world: &World, plan: &Plan) -> Result<(), RunError> {
    for (node, plan) in plan.nodes.iter().filter(|(_, plan)| !plan.disks.is_empty()) {
        let Some(connector) = world.clouds.get(&plan.cloud).filter(|connector| !connector.can_attach()) else {
            continue;
        };
        let what =
            format!("`{node}` has `disks`, which a cloud of kind `{}` cannot give to machines", connector.kind());
        let remedy = format!("choose another cloud for `{node}`, or take its `disks` away");
        return Err(RunError::Cloud { cloud: plan.cloud.clone(), reason: CloudError::Invalid { what, remedy } });
    }
    Ok(())
}

impl Actor {
    /// Says whether the cloud of a machine can change it as is asked for.
    pub(super) fn can_be_changed(&self, asked: &Asked, id: &InstanceId) -> Result<(), Refused> {
        let cloud = self.run.node(id).map(|n| n.cloud.as_str()).unwrap_or_default();
        let Some(connector) = self.world.clouds.get(cloud) else {
            return Err(Refused::Unreasonable(format!("cloud `{cloud}` of {id} is not configured any more")));
        };
        let runs = self.run.instances.get(id).is_some_and(|i| i.machine != Machine::Stopped);
        let (what, can) = match asked {
            Asked::Resize { .. } if runs && !connector.can_power() => ("stop and start", false),
            Asked::Resize { .. } => ("change the size of", connector.can_resize()),
            Asked::AddDisk { .. } => ("give a disk to", connector.can_attach()),
            Asked::RemoveDisk { .. } => ("take a disk from", connector.can_attach()),
            _ => return Ok(()),
        };
        let why = || format!("cloud `{cloud}` (kind `{}`) cannot {what} the machine of {id}", connector.kind());
        if can { Ok(()) } else { Err(Refused::Unreasonable(why())) }
    }

    pub(super) fn start_change(&mut self, id: &InstanceId, command: &Command) {
        let (Some(node), Some(instance)) = (self.run.node(id), self.run.instances.get(id)) else { return };
        let Some(connector) = self.world.clouds.get(&node.cloud).map(Arc::clone) else { return };
        let Some(changing) = instance.hardware.changing.clone() else { return };
        let (run, attempt, instance_id) = (self.run.id, instance.attempt, id.clone());
        let machine = instance.native.clone().unwrap_or_default();
        self.job(Some(command), async move {
            let asking = async {
                match &changing.change {
                    MachineChange::Resize { size } => connector.resize(run, &machine, size).await,
                    MachineChange::Attach { disk } => connector.attach(run, &machine, disk).await,
                    MachineChange::Detach { name } => connector.detach(run, &machine, *name).await,
                }
            };
            let result = bounded(asking).await;
            Outcome::Changed { instance: instance_id, attempt, changing, result }
        });
    }

    /// Records what came of it. Whatever is not final is asked for again: that is harmless.
    pub(super) fn changed(
        &mut self,
        turn: &mut Turn,
        instance: InstanceId,
        attempt: u32,
        changing: &Changing,
        result: Result<(), CloudError>,
    ) {
        let command = Command::Change(instance.clone());
        self.running.remove(&command);
        let current = self.run.instances.get(&instance).filter(|i| i.attempt == attempt);
        if current.and_then(|i| i.hardware.changing.as_ref()) != Some(changing) {
            return;
        }
        let (operation, change) = (changing.operation, changing.change.clone());
        let event = match result {
            Ok(()) => Event::MachineChanged { instance, attempt, operation, change },
            Err(e) if e.is_transient() => return self.try_again(turn, command, Some(&e), 1000),
            Err(e) => Event::MachineChangeFailed { instance, attempt, operation, change, reason: e.to_string() },
        };
        self.record(turn, Author::System, None, event);
    }
}
