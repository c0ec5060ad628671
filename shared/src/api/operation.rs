//! Changes of a run that is up.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    disk::{DiskName, Fs},
    event::Author,
    id::{InstanceId, NodeName},
    operation::Asked,
};

/// Asks for other numbers of instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// How many instances a node is to have.
    #[serde(default)]
    pub count: BTreeMap<NodeName, u32>,
    /// Instances that are to go.
    #[serde(default)]
    pub remove: Vec<InstanceId>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Asks to run the steps of an instance again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// Whose.
    pub instance: InstanceId,
    /// The name of the first step to run, such as `deploy`.
    pub from: String,
    /// What to run as that step instead of what the module says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Asks to stop, start or reboot machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerRequest {
    /// Whose; all of the run where nobody is named.
    #[serde(default)]
    pub instances: Vec<InstanceId>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Asks for machines of another size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeRequest {
    /// Whose.
    #[serde(default)]
    pub instances: Vec<InstanceId>,
    /// All instances of these nodes, and those that come later.
    #[serde(default)]
    pub nodes: Vec<NodeName>,
    /// How many virtual processors; absent: as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// How much memory, in bytes; absent: as much as there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram: Option<u64>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Asks for one more disk for each of some machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddDiskRequest {
    /// Whose.
    pub instances: Vec<InstanceId>,
    /// How large, in bytes.
    pub size: u64,
    /// The folder it is mounted on; it gets a file system then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// Which file system, where it is mounted; `ext4` unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs: Option<Fs>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Asks to remove a disk of a machine with all that is on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveDiskRequest {
    /// Whose.
    pub instance: InstanceId,
    /// Which.
    pub disk: DiskName,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Asks to update a run to another version of its module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRequest {
    /// `path@version`, or `path` for the latest.
    pub module: String,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// A change of a run that is up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperationInfo {
    /// Its number within the run, from 1.
    pub number: u32,
    /// How far it has come.
    pub status: OperationStatus,
    /// Why it has failed, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What was asked for.
    pub asked: Asked,
    /// Who asked; absent where nothing was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Author>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ended: Option<Timestamp>,
    /// The instances it adds.
    #[serde(default)]
    pub add: Vec<InstanceId>,
    /// The instances it removes.
    #[serde(default)]
    pub remove: Vec<InstanceId>,
    /// The instances it changes where they are.
    #[serde(default)]
    pub touch: Vec<InstanceId>,
    /// The scripts that go with it.
    #[serde(default)]
    pub tasks: Vec<TaskInfo>,
    /// Why, where it was only asked what would be done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How far an operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    /// It was only asked what would be done.
    Planned,
    /// It is being done.
    UnderWay,
    /// All of it was done.
    Succeeded,
    /// It is over, but something went wrong: `failure` says what.
    Failed,
}

/// A script of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskInfo {
    /// Where it runs.
    pub instance: InstanceId,
    /// Its number there, which is also that of its log.
    pub index: u32,
    /// Its name.
    pub step: String,
    /// `waiting`, `running`, `succeeded`, `failed`, `skipped`.
    pub status: String,
    /// Its result in words, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}
