//! What a run is going to do: a module and all it needs, resolved once at launch.
//!
//! A plan stands alone: nothing in it points back into the catalogue, so a later version of a
//! module never changes a run that is under way.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    disk::DiskSpec,
    id::{InstanceId, NodeName},
    limits::Limits,
    module::units,
    operation::{Bounds, Hook},
    parameter::ParamType,
    template::{Target, Template},
};

/// Everything a run needs to know about its module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The module with its version, `apps/lamp@4`.
    pub module: String,
    /// Its title, or its path where it has none.
    pub title: String,
    /// What was launched.
    pub category: Category,
    /// Run-wide inputs, read as `ss:<name>`.
    #[serde(default)]
    pub params: BTreeMap<String, ParamPlan>,
    /// The machines, by role.
    pub nodes: BTreeMap<NodeName, NodePlan>,
    /// Results shown when the run is Ready.
    #[serde(default)]
    pub outputs: BTreeMap<String, Template>,
    /// How the run behaves as a whole.
    #[serde(default)]
    pub policy: Policy,
}

/// What kind of module was launched; `ss:category` shows SlipStream's words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// An application with named nodes.
    Application,
    /// A single image or component, as node `machine`.
    Machine,
}

/// One node of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodePlan {
    /// The component with its version, or the application itself where the node is written in place.
    pub component: String,
    /// How many instances to start with.
    pub count: u32,
    /// The configured cloud it runs on.
    pub cloud: String,
    /// The image's identifier on that cloud.
    pub image: String,
    /// The package manager family of the image, such as `debian`.
    #[serde(default)]
    pub platform: Option<String>,
    /// The user for ssh.
    pub login: String,
    /// How large its machines are.
    #[serde(default)]
    pub size: Size,
    /// What disks its machines have beside their root disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskSpec>,
    /// Which of its addresses `address` and `hostname` name.
    #[serde(default)]
    pub network: Network,
    /// Inputs and outputs of each instance.
    #[serde(default)]
    pub params: BTreeMap<String, ParamPlan>,
    /// What each instance runs to become part of the application, in order.
    #[serde(default)]
    pub steps: Vec<StepPlan>,
    /// What each instance runs when the run collects reports.
    #[serde(default)]
    pub report: Vec<StepPlan>,
    /// How an instance knows that it serves.
    #[serde(default)]
    pub ready: Option<ReadyPlan>,
    /// How many of its instances may fail to come.
    #[serde(default)]
    pub tolerate: u32,
    /// What follows when an instance falls silent or loses its machine.
    #[serde(default)]
    pub on_silent: OnSilent,
    /// How many instances it may have later.
    #[serde(default)]
    pub bounds: Bounds,
    /// What its instances run when the run is scaled.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<Hook, Vec<StepPlan>>,
    /// What differs for single instances.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<InstanceId, InstancePlan>,
    /// Its recipes are of SlipStream by SixSq, where any instance could write the values of any other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported: bool,
}

/// What differs for one instance of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstancePlan {
    /// Values of its parameters, instead of those of the node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Template>,
}

/// One parameter of a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParamPlan {
    /// What values it takes.
    #[serde(rename = "type", default)]
    pub kind: ParamType,
    /// Its value until somebody sets one: a literal, or text with references.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Template>,
    /// What its values keep to beside their type, whoever sets them.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// How many characters to make up for a secret that has no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<u32>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// A script of an instance at a named moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepPlan {
    /// The moment: `pre_install`, `packages`, `install`, `deploy`, `report`.
    pub step: String,
    /// The module that contributes it (scripts of parents run first), shown with its output.
    pub origin: String,
    /// What to run.
    pub script: Script,
    /// How long it may take, in seconds. None: until the run's deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<u64>,
    /// Environment variables; the step waits until all their references have values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Template>,
    /// Milestones that must be reached first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
}

/// What a step runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Script {
    /// A script with its interpreter in the first line; without one, `/bin/sh -e` runs it.
    Text(String),
    /// Packages to install with the platform's package manager.
    Packages(Vec<String>),
}

/// A milestone of another node that gates a step: `mysql.ready`, `mysql[*].deployed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Need {
    /// Of whom.
    pub target: Target,
    /// Which one.
    pub milestone: NeedMilestone,
}

/// The milestones another node can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NeedMilestone {
    /// Its agent has enrolled.
    Enrolled,
    /// Its `deploy` has succeeded.
    Deployed,
    /// Its ready check has passed.
    Ready,
}

/// How an instance knows that it serves. Absent: when `deploy` has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadyPlan {
    /// What is tried.
    pub check: ReadyCheck,
    /// Give up after this many seconds.
    pub within: u64,
    /// Seconds between two tries.
    pub every: u64,
}

/// One kind of ready check, tried by the agent inside the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadyCheck {
    /// The port accepts connections. Text, so that it may hold a reference.
    Tcp(Template),
    /// The URL answers with a status below 400.
    Http(Template),
    /// The script ends with 0.
    Exec(String),
}

/// Size of a machine. None: what the cloud or the image gives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Size {
    /// Virtual processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram: Option<u64>,
    /// Root disk in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
}

impl Size {
    /// This, with what `other` says instead.
    #[must_use]
    pub fn with(&self, other: &Size) -> Size {
        Size { cpu: other.cpu.or(self.cpu), ram: other.ram.or(self.ram), disk: other.disk.or(self.disk) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.cpu.map(|cpu| format!("{cpu} cpu"));
        let ram = self.ram.map(|ram| format!("{} ram", units::in_words(ram)));
        let disk = self.disk.map(|disk| format!("{} root disk", units::in_words(disk)));
        let said: Vec<String> = [cpu, ram, disk].into_iter().flatten().collect();
        f.write_str(&if said.is_empty() { "what its image gives".to_owned() } else { said.join(", ") })
    }
}

/// Which address of a machine the others use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The one reachable from outside.
    #[default]
    Public,
    /// The one shared by the machines of the run.
    Private,
}

/// How a run behaves as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// What stays when the run is done or has failed.
    pub keep_running: KeepRunning,
    /// From launch to Ready, in seconds; afterwards the run is aborted.
    pub timeout: u64,
    /// When instances begin with their steps.
    #[serde(default)]
    pub start: Start,
    /// What becomes of a deployment that fails before it was Ready.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How long the run lives, in seconds from its launch. None: until it is terminated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            keep_running: KeepRunning::Always,
            timeout: 3600,
            start: Start::default(),
            on_failure: OnFailure::default(),
            lease: None,
        }
    }
}

/// When instances begin with their steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Each as soon as it is up; a step waits only for what it reads or needs.
    #[default]
    Eager,
    /// None before all have an address or are given up.
    Together,
}

/// What becomes of a deployment that fails before it was Ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// What the keep-running policy says.
    #[default]
    Keep,
    /// All its machines are removed, whatever that says.
    Rollback,
}

/// What follows when nothing is heard of an agent, or its machine is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnSilent {
    /// It is shown.
    #[default]
    Wait,
    /// The run is aborted.
    Fail,
    /// The machine is removed and another one launched in its place.
    Replace,
}

/// Whether machines stay once the run is Ready or has failed (SlipStream's keep-running table).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeepRunning {
    /// They stay until the run is terminated.
    Always,
    /// They stay unless the run was aborted.
    OnSuccess,
    /// They stay only if the run was aborted.
    OnError,
    /// They never stay.
    Never,
}
