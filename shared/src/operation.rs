//! What people ask of a run that is up: numbered operations, and the scripts that go with them.
//!
//! Each operation is an event with a number of its own. Its scripts are *tasks* of instances: hooks such as
//! `on_vm_add`, or steps that are run once more. Every instance runs its tasks in the order of the
//! operations, one at a time.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    disk::{Disk, DiskName, DiskSpec},
    id::{InstanceId, NodeName},
    module::fields::MOST_INSTANCES,
    plan::{Plan, Script, Size},
};

/// Tasks are counted from here, for each instance, so that their logs and results are never those of a step
/// of the deployment.
pub const FIRST_TASK: u32 = 10_000;

/// How long a hook may take unless its module says otherwise, in seconds.
pub const HOOK_WITHIN: u64 = 900;

/// The variables of hooks, with the names that SlipStream's recipes know.
pub const SCALING_ACTION: &str = "SLIPSTREAM_SCALING_ACTION";
/// See [`SCALING_ACTION`].
pub const SCALING_NODE: &str = "SLIPSTREAM_SCALING_NODE";
/// See [`SCALING_ACTION`].
pub const SCALING_VMS: &str = "SLIPSTREAM_SCALING_VMS";

/// The disk that comes or goes.
pub const SCALING_DISK: &str = "SLIPSTREAM_SCALING_DISK";
/// Where it is found in the machine, while it is there.
pub const SCALING_DEVICE: &str = "SLIPSTREAM_SCALING_DEVICE";
/// For `post_scale`: why nothing was changed, if nothing was.
pub const SCALING_FAILED: &str = "SLIPSTREAM_SCALING_FAILED";

/// A script of a node that runs when something about the run changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// On the instances that were Ready, when others have come.
    OnVmAdd,
    /// On the instances that were Ready, when others have gone.
    OnVmRemove,
    /// On an instance before it goes.
    PreRemove,
    /// On an instance before its size or disks change.
    PreScale,
    /// On an instance after that.
    PostScale,
}

impl Hook {
    /// All of them.
    pub const ALL: [Hook; 5] = [Hook::OnVmAdd, Hook::OnVmRemove, Hook::PreRemove, Hook::PreScale, Hook::PostScale];

    /// Its key in a module file, and the name of its step.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Hook::OnVmAdd => "on_vm_add",
            Hook::OnVmRemove => "on_vm_remove",
            Hook::PreRemove => "pre_remove",
            Hook::PreScale => "pre_scale",
            Hook::PostScale => "post_scale",
        }
    }
}

/// How many instances a node may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bounds {
    /// The fewest.
    pub min: u32,
    /// The most.
    pub max: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { min: 0, max: MOST_INSTANCES }
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Asked {
    /// Other numbers of instances.
    Scale {
        /// How many a node is to have.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        count: BTreeMap<NodeName, u32>,
        /// Those that are to go.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remove: Vec<InstanceId>,
    },
    /// The steps of an instance once more.
    Retry {
        /// Whose.
        instance: InstanceId,
        /// From which step on.
        from: String,
        /// What to run as that step instead of what the module says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        script: Option<String>,
    },
    /// Another version of its module.
    Update {
        /// Which, as `path@version`, or `path` for the latest.
        module: String,
        /// What the run does from then on; left out where people see it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Box<Plan>>,
    },
    /// Machines of another size.
    Resize {
        /// Whose.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        instances: Vec<InstanceId>,
        /// All instances of these nodes, and those that come later.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        nodes: Vec<NodeName>,
        /// What is to be different.
        size: Size,
    },
    /// One more disk for each of some machines.
    AddDisk {
        /// Whose.
        instances: Vec<InstanceId>,
        /// What it is to be.
        #[serde(flatten)]
        spec: DiskSpec,
    },
    /// A disk less, with all that is on it.
    RemoveDisk {
        /// Whose.
        instance: InstanceId,
        /// Which.
        disk: DiskName,
    },
    /// Machines powered off; all of the run where nobody is named.
    Stop {
        /// Whose.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        instances: Vec<InstanceId>,
    },
    /// Machines powered on again.
    Start {
        /// Whose.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        instances: Vec<InstanceId>,
    },
    /// Machines powered off and on again.
    Reboot {
        /// Whose.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        instances: Vec<InstanceId>,
    },
}

/// How one machine is changed by its cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum MachineChange {
    /// It gets another size, while it is powered off.
    Resize {
        /// All of it, also what stays.
        size: Size,
    },
    /// It gets a disk.
    Attach {
        /// Which.
        #[serde(flatten)]
        disk: Disk,
    },
    /// A disk of it is removed, with all that is on it.
    Detach {
        /// Which.
        name: DiskName,
    },
}

impl fmt::Display for MachineChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MachineChange::Resize { size } => write!(f, "resize to {size}"),
            MachineChange::Attach { disk } => write!(f, "attach {disk}"),
            MachineChange::Detach { name } => write!(f, "remove {name}"),
        }
    }
}

/// A script that an instance is to run for an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Whose.
    pub instance: InstanceId,
    /// Its number on that instance, from [`FIRST_TASK`]; also that of its log.
    pub index: u32,
    /// What it runs.
    pub work: Work,
}

/// What a task runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "run", rename_all = "snake_case")]
pub enum Work {
    /// A hook of the node, for instances of a node that have come, gone or changed.
    Hook {
        /// Which one.
        hook: Hook,
        /// Its place among the scripts of that hook: parents contribute too.
        place: u32,
        /// The node that is scaled.
        node: NodeName,
    },
    /// A step of the deployment, once more.
    Step {
        /// Its place in the node's `steps`.
        step: u32,
        /// Its name.
        name: String,
        /// What to run instead of what the module says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        script: Option<Script>,
    },
    /// The agent's own part when a disk comes or goes.
    Disk {
        /// Which.
        disk: DiskName,
        /// It comes, and this is what it is; none: it goes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        take: Option<DiskSpec>,
    },
}

impl Work {
    /// True for a script that runs after a machine was changed.
    #[must_use]
    pub fn is_post_scale(&self) -> bool {
        matches!(self, Work::Hook { hook: Hook::PostScale, .. })
    }

    /// The name of the step that it is.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Work::Hook { hook, .. } => hook.name(),
            Work::Step { name, .. } => name,
            Work::Disk { take: Some(_), .. } => "take_disk",
            Work::Disk { take: None, .. } => "release_disk",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_written_as_in_a_module_file() {
        for hook in Hook::ALL {
            assert_eq!(serde_json::to_string(&hook).expect("serializes"), format!("\"{}\"", hook.name()));
        }
    }
}
