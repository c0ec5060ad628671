//! Sizes and disks of machines: what clouds can do, what they are asked to do, and what came of it.

use slipstream_shared::plan::Plan;

use super::{RunError, World};
use crate::cloud::CloudError;

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
