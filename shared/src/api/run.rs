//! Runs: launching them, lists of them, one in full.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    api::OperationInfo,
    disk::Disk,
    event::LeftBehind,
    id::{InstanceId, RunId},
    plan::{Category, KeepRunning, Size},
    state::{Failure, Milestone, Outcome, RunState},
};

/// Starts a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LaunchRequest {
    /// `path`, or `path@version`.
    pub module: String,
    /// Values of inputs: `name` for the run, `node:name` for a node.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Clouds by node; the key `*` is for all others.
    #[serde(default)]
    pub cloud: BTreeMap<String, String>,
    /// Numbers of instances by node.
    #[serde(default)]
    pub count: BTreeMap<String, u32>,
    /// What stays in the end.
    #[serde(default)]
    pub keep_running: Option<KeepRunning>,
    /// From launch to Ready, in seconds.
    #[serde(default)]
    pub timeout: Option<u64>,
    /// How long the run lives, in seconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// Free words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Public keys that may log in to its machines by ssh: lines of an `authorized_keys` file, without
    /// options; at most 32, of 16 KiB together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunSummary {
    /// Its id.
    #[schemars(with = "String")]
    pub id: RunId,
    /// The module with its version.
    pub module: String,
    /// Its title.
    pub title: String,
    /// Whose it is.
    pub owner: String,
    /// Where it is.
    pub state: RunState,
    /// How it turned out.
    pub outcome: Outcome,
    /// Why it was aborted, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<String>,
    /// The word for what has failed, if it was aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// How many instances are ready, and how many there are.
    pub ready: u32,
    /// How many instances there are.
    pub instances: u32,
    /// How the instances are, apart from the state, which a machine that falls silent does not change:
    /// `2 of 3 ready, 1 silent`.
    #[serde(default)]
    pub health: String,
    /// `ss:url.service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Free words given at launch.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When it was accepted.
    #[schemars(with = "String")]
    pub created: Timestamp,
    /// When its last event was recorded.
    #[schemars(with = "String")]
    pub changed: Timestamp,
}

/// A run with its instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunDetail {
    /// What lists show.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// What was launched.
    pub category: Category,
    /// The number of its last event.
    pub seq: u64,
    /// What stays in the end.
    pub keep_running: KeepRunning,
    /// Its machines.
    pub nodes: Vec<InstanceInfo>,
    /// Its operations: those under way, and the latest of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<OperationInfo>,
    /// Its results, as far as they are known.
    #[serde(default)]
    pub outputs: BTreeMap<String, Option<String>>,
    /// What does not work and has not ended the run: the last trouble, and results that cannot be made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<String>,
    /// When it is terminated by itself; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub lease_end: Option<Timestamp>,
    /// What does not work and is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrying: Option<TroubleInfo>,
    /// What may still be there of a run that was abandoned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftBehind>,
}

/// Something that does not work and is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TroubleInfo {
    /// What failed, on what, why.
    pub message: String,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// When it is tried next.
    #[schemars(with = "String")]
    pub next_try: Timestamp,
}

/// Why a run is not where it is to be: for each instance the first milestone that it lacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// Where the run is.
    pub state: RunState,
    /// In a sentence.
    pub summary: String,
    /// The instances that lack something, in order.
    pub instances: Vec<WhyInstance>,
}

/// What an instance lacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WhyInstance {
    /// Which one.
    pub instance: InstanceId,
    /// The milestone it has not reached.
    pub milestone: Milestone,
    /// The same in words.
    pub what: String,
    /// Since when that is waited for.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Until when it may take; absent: as long as the run may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// The word for the failure, when it takes longer.
    pub failure: Failure,
    /// What it waits for itself: parameters and milestones of others.
    #[serde(default)]
    pub waits_for: Vec<String>,
}

/// Gives a run another lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// It ends so many seconds from now; 0: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// It ends at this time, instead of `seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub end: Option<Timestamp>,
    /// It does not end, instead of either.
    #[serde(default)]
    pub never: bool,
}

/// One machine of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceInfo {
    /// Who.
    pub instance: InstanceId,
    /// How far it has come.
    pub milestone: Milestone,
    /// Which launch of it this is.
    pub attempt: u32,
    /// Where it runs.
    pub cloud: String,
    /// The cloud's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// How large its machine is, as far as that was said.
    #[serde(default)]
    pub size: Size,
    /// The size it is to have, where that is another one: of an operation that is under way, or of its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_size: Option<Size>,
    /// Its disks beside the root disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskInfo>,
    /// The address others use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `ssh://user@host:port`, where it can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
    /// What its scripts say they do (`ss-display`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// What it waits for, and since when.
    #[serde(default)]
    pub waiting: Vec<WaitInfo>,
    /// Its scripts.
    #[serde(default)]
    pub steps: Vec<StepInfo>,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// True while its agent is connected.
    #[serde(default)]
    pub connected: bool,
    /// Since when nothing was heard of its agent; absent while it is heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub silent: Option<Timestamp>,
}

/// A disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskInfo {
    /// Which, and what it is.
    #[serde(flatten)]
    pub disk: Disk,
    /// Where it is found in the machine.
    pub device: String,
    /// `attached`, `attaching`, `removing`.
    pub status: String,
}

/// What a script waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitInfo {
    /// Such as `apache.1:ready`.
    pub on: String,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
}

/// A script of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepInfo {
    /// Its place in the node's steps followed by its report; from 10000, the number of a task.
    pub index: u32,
    /// Its name.
    pub step: String,
    /// The module it comes from.
    pub origin: String,
    /// `waiting`, `running`, `succeeded`, `failed`.
    pub status: String,
    /// Its result in words, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<u64>,
}

/// Aborts a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbortRequest {
    /// Why.
    pub reason: String,
}

/// The output of a step, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogInfo {
    /// The step's place in the node's steps followed by its report.
    pub index: u32,
    /// Its name.
    pub step: String,
    /// Bytes so far.
    pub size: u64,
    /// True when nothing will be added.
    pub ended: bool,
}

/// A report that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportInfo {
    /// Whose.
    pub instance: InstanceId,
    /// Its size in bytes.
    pub size: u64,
}
