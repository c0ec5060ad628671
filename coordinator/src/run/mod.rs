//! A run, as pure data: no I/O, no clock, no randomness.
//!
//! [`Run`] is the fold of the run's events ([`Run::apply`]); [`decide::decide`] says what is to happen
//! next; [`value`] answers what a parameter is worth; [`view`] is what people see. `drive/` carries the
//! decisions out and is the only one to make events.

pub mod agent_plan;
pub mod any;
pub mod barrier;
pub mod change;
pub mod condition;
pub mod deadline;
pub mod decide;
pub mod ending;
pub mod executed;
pub mod expand;
pub mod fold;
pub mod hardware;
pub mod health;
pub mod lead;
pub mod lease;
pub mod loss;
pub mod operation;
mod operation_view;
pub mod permission;
pub mod power;
pub mod refusal;
mod removal;
pub mod request;
pub mod retry;
mod scale;
pub mod secret;
pub mod tasks;
mod trouble;
mod update;
pub mod value;
pub mod vertical;
pub mod view;
pub mod why;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use slipstream_shared::{
    event::{Author, LeftBehind, StepResult},
    id::{AttemptKey, InstanceId, NodeName, RunId},
    link::RefusedOp,
    parameter::Key,
    plan::{NodePlan, Plan, StepPlan},
    state::{Failure, RunState},
};

use self::{
    any::Chosen, hardware::Hardware, lease::Lease, operation::Operation, request::Requested, secret::Vault,
    tasks::TaskState,
};
use crate::seam::Millis;

/// Everything known of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The number of its last event.
    pub seq: u64,
    /// By how much the clock of the machine is ahead of the run's own time, in milliseconds: the sum of all
    /// changes of that clock. All times here but those of parameters are in the run's own time.
    #[serde(default)]
    pub clock: i64,
    /// Nobody could be heard before this, for no coordinator was there: it is no news that nobody was. Not of
    /// its events, but of whoever drives it.
    #[serde(skip)]
    pub listening_since: Millis,
    /// When it was accepted.
    pub created: Millis,
    /// When its last event was recorded.
    pub changed: Millis,
    /// What it does.
    pub plan: Plan,
    /// Whose it is.
    pub owner: String,
    /// Free words.
    pub tags: Vec<String>,
    /// Public keys that may log in to its machines.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// Where it is, and since when.
    pub state: RunState,
    /// When it came there.
    pub since: Millis,
    /// True once it was Ready.
    pub reached_ready: bool,
    /// True once it was Ready without being aborted.
    #[serde(default)]
    pub succeeded: bool,
    /// Ready, and its machines do not stay: decided when it became so.
    #[serde(default)]
    pub leaves: bool,
    /// Aborted while it was Ready: whether its machines stay is to be decided anew.
    #[serde(default)]
    pub undecided: bool,
    /// Until when it lives.
    #[serde(default)]
    pub lease: Option<Lease>,
    /// What may still be there of it, once it was abandoned.
    #[serde(default)]
    pub left: Vec<LeftBehind>,
    /// Troubles that were recorded lately: since when there is each of them, and when it was recorded last.
    #[serde(default)]
    pub lately: BTreeMap<String, (Millis, Millis)>,
    /// Why it is aborted, if it is.
    pub abort: Option<Abort>,
    /// When its end was asked for.
    pub terminate: Option<Millis>,
    /// Its machines.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// Values that were set, or unset again.
    pub values: BTreeMap<Key, Stored>,
    /// The numbers of the events that wrote them last, the newest last.
    #[serde(default)]
    pub writes: BTreeMap<Key, VecDeque<u64>>,
    /// Which instances `[any]` means.
    #[serde(default)]
    pub chosen: Chosen,
    /// What people and programs have asked for under a number of their own.
    #[serde(default)]
    pub requests: VecDeque<Requested>,
    /// Where instances meet.
    #[serde(default)]
    pub barriers: barrier::Barriers,
    /// Which instances lead.
    #[serde(default)]
    pub leads: lead::Leads,
    /// The last trouble that was recorded, so that it is not recorded twice.
    pub trouble: Option<String>,
    /// What was noted, likewise.
    #[serde(default)]
    pub notes: BTreeSet<String>,
    /// Nodes that an update has taken away.
    #[serde(default)]
    pub retired: BTreeMap<NodeName, NodePlan>,
    /// What was asked of it since it was Ready, by number.
    #[serde(default)]
    pub operations: BTreeMap<u32, Operation>,
    /// The scripts that instances run for operations, those of an instance in their order.
    #[serde(default)]
    pub tasks: BTreeMap<InstanceId, Vec<TaskState>>,
    /// The keys of its secrets. No part of its state: whoever reads it from the store adds them.
    #[serde(skip)]
    pub vault: Option<Vault>,
}

/// An abort.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// Whose failure, if an instance's.
    pub instance: Option<InstanceId>,
    /// Why.
    pub reason: String,
    /// The word for it.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// When.
    pub at: Millis,
}

/// A parameter that was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// None: unset.
    pub value: Option<String>,
    /// The event that wrote it.
    pub revision: u64,
    /// Who.
    pub by: Author,
    /// When.
    pub at: Millis,
    /// True for a value that is sealed.
    #[serde(default)]
    pub secret: bool,
}

/// One machine of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instance {
    /// Its number within the run, from 1.
    pub ordinal: u32,
    /// Which launch of it this is; 0 before the first.
    pub attempt: u32,
    /// What its machine does.
    pub machine: Machine,
    /// When the machine came to that.
    pub since: Millis,
    /// The cloud's identifier, once known.
    pub native: Option<String>,
    /// Reachable from outside.
    pub public: Option<String>,
    /// On the network of the run.
    pub private: Option<String>,
    /// `host` or `host:port` of its ssh server, if it has one of its own.
    pub ssh: Option<String>,
    /// SHA-256 of the key its agent has enrolled with.
    pub key: Option<String>,
    /// Version of its agent.
    pub agent: Option<String>,
    /// Its scripts, by index.
    pub steps: BTreeMap<u32, StepState>,
    /// Its ready check has passed.
    pub ready: bool,
    /// Its report is here, or will not come.
    pub reported: bool,
    /// The number of its last change that was applied, or whose refusal is on record.
    pub last_op: u64,
    /// The last changes of it that were refused, see [`refusal`].
    #[serde(default)]
    pub refused_ops: VecDeque<RefusedOp>,
    /// What its scripts wait for (for longer than a second), and since when.
    pub waits: BTreeMap<String, Millis>,
    /// The last reason for which somebody was not enrolled as it.
    pub refused: Option<String>,
    /// The operation that has powered it on last; 0: none has.
    #[serde(default)]
    pub powered: u32,
    /// An operation that is under way has added it.
    #[serde(default)]
    pub joining: bool,
    /// An operation removes it.
    #[serde(default)]
    pub leaving: bool,
    /// Why it did not come up; its machine is removed.
    #[serde(default)]
    pub given_up: Option<String>,
    /// Since when nothing was heard of its agent.
    #[serde(default)]
    pub silent: Option<Millis>,
    /// When it came to its last milestone.
    #[serde(default)]
    pub reached: Millis,
    /// Why it has failed, where the run was aborted for another reason.
    #[serde(default)]
    pub abort: Option<String>,
    /// Its machine is lost and another one will be launched in its place.
    #[serde(default)]
    pub replacing: bool,
    /// What its machine has.
    #[serde(default)]
    pub hardware: Hardware,
}

/// What the machine of an instance does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Machine {
    /// Nothing was asked of the cloud.
    Planned,
    /// It is about to be launched, or was and nobody knows yet.
    Intended,
    /// The cloud has accepted it.
    Launched,
    /// The cloud says that it runs.
    Running,
    /// It is being powered off.
    Stopping,
    /// It is powered off, and can be started again.
    Stopped,
    /// It is being powered on again.
    Starting,
    /// It is being removed.
    Terminating,
    /// It is gone, or never was.
    Gone,
    /// It could not be launched.
    Failed(String),
}

/// A script of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepState {
    /// When it started.
    pub started: Millis,
    /// How it ended.
    pub result: Option<StepResult>,
}

impl Run {
    /// The node of an instance.
    #[must_use]
    pub fn node(&self, instance: &InstanceId) -> Option<&NodePlan> {
        self.plan.nodes.get(&instance.node).or_else(|| self.retired.get(&instance.node))
    }

    /// The key of the current launch of an instance.
    #[must_use]
    pub fn attempt_key(&self, id: &InstanceId, attempt: u32) -> AttemptKey {
        AttemptKey { run: self.id, instance: id.clone(), attempt }
    }

    /// The scripts of an instance: those of the deployment, then `report`.
    pub fn scripts<'a>(&'a self, id: &InstanceId) -> impl Iterator<Item = (u32, &'a StepPlan)> {
        let node = self.node(id);
        node.into_iter().flat_map(|n| n.steps.iter().chain(&n.report)).enumerate().map(|(i, s)| (index(i), s))
    }

    /// How many scripts of an instance belong to the deployment.
    #[must_use]
    pub fn deploy_steps(&self, id: &InstanceId) -> u32 {
        self.node(id).map_or(0, |n| index(n.steps.len()))
    }

    /// True when all deployment scripts of an instance have succeeded.
    #[must_use]
    pub fn is_deployed(&self, id: &InstanceId) -> bool {
        let Some(instance) = self.instances.get(id) else { return false };
        instance.key.is_some()
            && (0..self.deploy_steps(id))
                .all(|i| instance.steps.get(&i).and_then(|s| s.result.as_ref()).is_some_and(StepResult::succeeded))
    }

    /// True when machines of this run are to be removed.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        matches!(self.state, RunState::Finalizing) || self.state.is_final()
    }
}

impl Instance {
    /// True while a machine exists or may exist.
    #[must_use]
    pub fn may_exist(&self) -> bool {
        !matches!(self.machine, Machine::Planned | Machine::Gone | Machine::Failed(_))
    }

    /// True while it takes part in the run.
    #[must_use]
    pub fn is_live(&self) -> bool {
        let there = !matches!(self.machine, Machine::Terminating | Machine::Gone | Machine::Failed(_));
        self.given_up.is_none() && !self.leaving && (there || self.replacing)
    }

    /// True while one of its scripts runs.
    #[must_use]
    pub fn is_executing(&self) -> bool {
        self.steps.values().any(|s| s.result.is_none())
    }
}

fn index(i: usize) -> u32 {
    u32::try_from(i).unwrap_or(u32::MAX)
}
