//! Bodies of requests and answers of the REST API, `/api/v1`.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::Condition,
    event::{Author, LeftBehind},
    id::{InstanceId, NodeName, RunId},
    meeting::{Leader, MeetingName, Parties},
    operation::Asked,
    parameter::{Key, ParamType},
    plan::{Category, KeepRunning},
    state::{Failure, Milestone, Outcome, RunState},
};

/// An error: problem details for HTTP APIs (RFC 9457), `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `about:blank`, or where the code is explained.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the status means.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs, such as `run_not_found`.
    pub code: String,
    /// What failed, on what, why, and what to do.
    pub detail: String,
    /// The revision that the parameter has, where another one was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Places in a module file, where that is what is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FileProblem>,
}

/// One thing wrong in a module file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileProblem {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong, and a hint.
    pub message: String,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Give this as `after` to get the next page; none: this is the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Whether the coordinator works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`, or `stopping`.
    pub status: String,
    /// Version of the coordinator.
    pub version: String,
    /// Configured clouds, by name, with their kind.
    pub clouds: BTreeMap<String, String>,
}

/// A version of a module, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModuleInfo {
    /// Its place in the catalogue.
    pub path: String,
    /// Counts its versions, from 1.
    pub version: u32,
    /// `project`, `image`, `component`, `application`.
    pub kind: String,
    /// Its title, if it has one.
    #[serde(default)]
    pub title: Option<String>,
    /// Who saved it.
    pub author: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Its source text; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

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

/// A parameter of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parameter {
    /// Its full key.
    pub key: Key,
    /// Its value; absent when it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Why there is no value, where it cannot be made of those it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// What values it takes.
    #[serde(rename = "type", default)]
    pub kind: ParamType,
    /// The number of the event that set it; 0 for one that nobody has set.
    pub revision: u64,
    /// Who set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Author>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
}

/// Sets a parameter.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetParameter {
    /// The new value.
    pub value: String,
    /// Only if the parameter still has this revision; 0: only if it was never written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
}

impl fmt::Debug for SetParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may be a secret.
        f.debug_struct("SetParameter").field("if_revision", &self.if_revision).finish_non_exhaustive()
    }
}

/// A value that a parameter had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParameterWrite {
    /// The number of the event that wrote it.
    pub revision: u64,
    /// What; absent when its value was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Who.
    pub by: Author,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// Waits until conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitRequest {
    /// All of these, at the same time: `web.1:port`, `web.1:port=80`, `web.1:version~^1\.`, `web.1:lock@7`,
    /// `web[*]:ready`, `web[any]:ready`, `web[2+]:ready`.
    pub conditions: Vec<Condition>,
    /// For how many seconds at most, at most 300; then `wait_timeout`.
    pub timeout: u64,
    /// Go on waiting when the run is aborted.
    #[serde(default)]
    pub ignore_abort: bool,
}

/// The conditions held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitAnswer {
    /// The number of the last event at that moment.
    pub seq: u64,
    /// The parameters that the conditions are about, as they were at that moment.
    pub parameters: Vec<Parameter>,
}

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

/// Asks to save what a run has really executed as a version of its module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveRequest {
    /// Under another path in the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A version of a module that holds what a run has executed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SavedModule {
    /// The version.
    pub module: ModuleInfo,
    /// The scripts that it has from the run.
    pub saved: Vec<String>,
    /// Edited scripts that other modules contribute: they are not in it.
    #[serde(default)]
    pub left: Vec<String>,
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

/// Arrives at a barrier, or only waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BarrierRequest {
    /// Counts as one of so many arrivals; the same user arrives once. Without it, the barrier is only waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// For how many seconds at most, at most 300; then `wait_timeout`.
    pub timeout: u64,
    /// Go on waiting when the run is aborted.
    #[serde(default)]
    pub ignore_abort: bool,
}

/// A barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BarrierInfo {
    /// Its name.
    pub name: MeetingName,
    /// Whose arrivals open it.
    pub parties: Parties,
    /// Who has arrived and not left; empty once it is open.
    pub arrived: Vec<Author>,
    /// Since when it is open, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub open: Option<Timestamp>,
}

/// Asks for a lead, or to keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeadRequest {
    /// Which program asks; the same one asks again to keep the lead. Two that are not to lead together have
    /// different names.
    pub program: MeetingName,
    /// For how many seconds, from 1 to 3600, unless it is asked for again: nothing else tells that a program is
    /// still there.
    pub seconds: u64,
    /// How many seconds to wait for it at most, at most 300; then `wait_timeout`.
    pub timeout: u64,
    /// Go on waiting when the run is aborted.
    #[serde(default)]
    pub ignore_abort: bool,
}

/// Something that one instance leads, or one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeadInfo {
    /// Its name.
    pub name: MeetingName,
    /// The leader's number; of the last one, if nobody leads.
    pub number: u64,
    /// Who leads, if somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Leader>,
    /// True while nothing is heard of the leader: the lead goes to the next one that asks.
    pub silent: bool,
    /// Until when a program leads, unless it asks again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// Since when that is so.
    #[schemars(with = "String")]
    pub since: Timestamp,
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
