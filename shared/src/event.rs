//! What happens to a run, as a numbered log. State is the fold of it.
//!
//! The same records are the coordinator's journal and what `GET /runs/{id}/events` streams. A new
//! field needs a default; a meaning never changes under the same name.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    id::InstanceId,
    link::RefusedCode,
    meeting::{Leader, MeetingName, Parties},
    operation::{Asked, MachineChange, Task},
    parameter::Key,
    plan::Plan,
    state::{Failure, RunState},
};

mod author;
mod step_result;

pub use self::{author::Author, step_result::StepResult};

/// One event with its number, time and author.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Counts the events of a run, from 1, without gaps. Also the revision of a parameter it sets.
    pub seq: u64,
    /// When it was recorded.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who caused it.
    pub by: Author,
    /// The author's own number for the request, by which a repeated one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<u64>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// The run exists.
    Accepted {
        /// What it will do.
        plan: Box<Plan>,
        /// Whose run it is.
        owner: String,
        /// Free words given at launch.
        #[serde(default)]
        tags: Vec<String>,
        /// Public keys that may log in to its machines by ssh.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ssh_keys: Vec<String>,
    },
    /// The run is in another state now.
    StateChanged {
        /// The new one.
        state: RunState,
    },
    /// A machine is about to be asked for; recorded before the cloud is called.
    LaunchIntended {
        /// For whom.
        instance: InstanceId,
        /// The how manieth launch of that instance.
        attempt: u32,
        /// Where.
        cloud: String,
        /// Its name there.
        name: String,
    },
    /// The cloud has accepted the launch.
    Launched {
        /// For whom.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
        /// The cloud's identifier of the machine.
        machine: String,
    },
    /// A launch did not lead to a machine.
    LaunchFailed {
        /// For whom.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
        /// Why.
        reason: String,
        /// True when another attempt follows.
        retry: bool,
    },
    /// The cloud says that the machine runs.
    MachineRunning {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
    },
    /// The addresses of the machine are known.
    AddressKnown {
        /// Whose.
        instance: InstanceId,
        /// Reachable from outside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        public: Option<String>,
        /// On the network of the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        private: Option<String>,
        /// `host` or `host:port` where its ssh server is reached from outside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ssh: Option<String>,
    },
    /// The agent has shown its token and got a certificate.
    Enrolled {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
        /// SHA-256 of its public key, hexadecimal.
        key: String,
        /// Version of the agent.
        agent: String,
    },
    /// Somebody tried to enrol and may not.
    EnrolmentRefused {
        /// As whom.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// A script has started.
    StepStarted {
        /// Where.
        instance: InstanceId,
        /// Which one: its place in the node's `steps` followed by its `report`, or the number of a task.
        index: u32,
        /// Its name, such as `deploy`.
        step: String,
    },
    /// A script has ended.
    StepFinished {
        /// Where.
        instance: InstanceId,
        /// Which one.
        index: u32,
        /// Its name.
        step: String,
        /// How.
        result: StepResult,
    },
    /// The ready check of an instance has passed.
    InstanceReady {
        /// Whose.
        instance: InstanceId,
    },
    /// A script has been waiting for more than a second.
    WaitBegan {
        /// Whose script.
        instance: InstanceId,
        /// For what, such as `apache.1:ready` or `mysql.ready`.
        on: String,
    },
    /// A wait of which [`Event::WaitBegan`] told is over.
    WaitEnded {
        /// Whose script.
        instance: InstanceId,
        /// For what.
        on: String,
        /// True when what it waited for has come.
        came: bool,
    },
    /// A parameter has a value.
    ParameterSet {
        /// Which one.
        key: Key,
        /// What.
        value: String,
    },
    /// A secret has a value.
    SecretSet {
        /// Which one.
        key: Key,
        /// The value, encrypted, as the coordinator keeps it. Nobody else is told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sealed: Option<String>,
    },
    /// A parameter has no value of its own any more.
    ParameterUnset {
        /// Which one.
        key: Key,
    },
    /// Somebody has arrived at a barrier: the author of the record.
    BarrierArrived {
        /// Which one.
        barrier: MeetingName,
        /// Whose arrivals open it.
        parties: Parties,
    },
    /// A barrier is open, for good.
    BarrierOpened {
        /// Which one.
        barrier: MeetingName,
    },
    /// Another instance or program leads, or none. With the number it had already: it goes on to lead.
    LeadChanged {
        /// What is led.
        lead: MeetingName,
        /// The leader's number: larger than that of any before. Of the last one, if there is none now.
        number: u64,
        /// Who.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leader: Option<Leader>,
        /// For how many seconds from now, unless it asks again; absent: as long as its machine is heard.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
    },
    /// What a machine wanted to change was refused. Its record has the number of that change.
    ChangeRefused {
        /// Whose.
        instance: InstanceId,
        /// For a program.
        code: RefusedCode,
        /// For a person.
        message: String,
    },
    /// The run is aborted. Only the first one counts.
    AbortRaised {
        /// Whose failure it is, if an instance's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<InstanceId>,
        /// Why.
        reason: String,
        /// The word for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// An instance has aborted a run that was aborted before: its own reason, beside that of the run.
    InstanceAborted {
        /// Whose failure it is.
        instance: InstanceId,
        /// Why.
        reason: String,
    },
    /// An instance that never came is given up: its node tolerates that, an operation had added it, or it was to
    /// replace another. What may be there of its machine is removed, and nobody waits for it any more.
    InstanceGivenUp {
        /// Which one.
        instance: InstanceId,
        /// Why.
        reason: String,
        /// The word for what has failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// A machine that is silent or lost will be replaced: its key is no longer good, it is removed, and its
    /// instance is launched again. What that had published has no value any more.
    ReplaceIntended {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// The run has another lease.
    LeaseSet {
        /// It ends so many seconds after this; none: it does not end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
    },
    /// The lease of the run ends soon.
    LeaseEnding {
        /// In so many seconds.
        seconds: u64,
    },
    /// The lease of the run has ended; the run is terminated.
    LeaseEnded,
    /// Somebody has given up on what cannot be removed. The run ends, and this is what it leaves.
    Abandoned {
        /// What may still be there.
        left: Vec<LeftBehind>,
    },
    /// The abort was taken back.
    AbortCancelled,
    /// An instance has sent its report, or will not.
    ReportFinished {
        /// Whose.
        instance: InstanceId,
        /// Its size in bytes; none if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
    },
    /// Somebody asked for the end of the run.
    TerminateRequested,
    /// A machine is about to be removed; recorded before the cloud is called.
    TerminateIntended {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
    },
    /// Nothing was heard of the agent for 30 seconds. Its machine may be there all the same.
    InstanceSilent {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
    },
    /// The agent that was silent is heard again.
    InstanceHeard {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
    },
    /// The clock of the coordinator's machine was set. Deadlines of the run do not move with it.
    ClockChanged {
        /// By how much it went forward, in milliseconds.
        millis: i64,
    },
    /// The cloud no longer knows the machine.
    MachineGone {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
        /// True when nobody had asked for it.
        #[serde(default)]
        unexpected: bool,
    },
    /// Somebody asked for a change of a run that is up.
    OperationStarted {
        /// Counts the operations of a run, from 1.
        number: u32,
        /// What was asked for.
        asked: Box<Asked>,
        /// The instances that are to come.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        add: Vec<InstanceId>,
        /// The instances that are to go.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remove: Vec<InstanceId>,
        /// The instances that are changed where they are.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        touch: Vec<InstanceId>,
        /// The scripts that go with it, those of an instance in their order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tasks: Vec<Task>,
    },
    /// An operation is over.
    OperationFinished {
        /// Its number.
        number: u32,
        /// Why it has failed, if it has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
    },
    /// A machine is about to be powered off or on; recorded before the cloud is called.
    PowerIntended {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
        /// On, rather than off.
        on: bool,
        /// For which operation.
        operation: u32,
    },
    /// The cloud shows that a machine is powered off or on.
    PowerChanged {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
        /// On, rather than off.
        on: bool,
    },
    /// The cloud will not power a machine off or on.
    PowerFailed {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
        /// On, rather than off.
        on: bool,
        /// Why.
        reason: String,
    },
    /// The size or the disks of a machine are about to be changed; recorded before the cloud is called.
    MachineChangeIntended {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
        /// For which operation.
        operation: u32,
        /// What is changed.
        change: MachineChange,
    },
    /// The cloud has changed a machine.
    MachineChanged {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
        /// For which operation.
        operation: u32,
        /// What was changed.
        change: MachineChange,
    },
    /// The cloud will not change a machine, which stays as it was.
    MachineChangeFailed {
        /// Whose.
        instance: InstanceId,
        /// Of which launch.
        attempt: u32,
        /// For which operation.
        operation: u32,
        /// What was to be changed.
        change: MachineChange,
        /// Why.
        reason: String,
    },
    /// An operation that changes machines awaits nothing more of one of them, which did not come back as it should.
    MachineGivenUp {
        /// Whose.
        instance: InstanceId,
        /// Which operation.
        operation: u32,
        /// Why.
        reason: String,
    },
    /// It is the turn of a task; recorded before its agent is told.
    TaskOrdered {
        /// Where.
        instance: InstanceId,
        /// Which one.
        index: u32,
        /// Its name.
        step: String,
        /// The variables that say what it is about.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
    },
    /// Something worth knowing that is no failure, such as machines that are slower than usual.
    Noted {
        /// What.
        message: String,
    },
    /// Something the run could do nothing about yet, such as a cloud that does not answer.
    Trouble {
        /// What failed, on what, why.
        message: String,
    },
}

impl Record {
    /// The record as people see it: without what is for the coordinator alone.
    #[must_use]
    pub fn shown(mut self) -> Self {
        if let Event::SecretSet { sealed, .. } = &mut self.event {
            *sealed = None;
        }
        self
    }
}

impl Event {
    /// The instance it is about, if it is about one.
    #[must_use]
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            Event::LaunchIntended { instance, .. }
            | Event::Launched { instance, .. }
            | Event::LaunchFailed { instance, .. }
            | Event::MachineRunning { instance, .. }
            | Event::AddressKnown { instance, .. }
            | Event::Enrolled { instance, .. }
            | Event::EnrolmentRefused { instance, .. }
            | Event::StepStarted { instance, .. }
            | Event::StepFinished { instance, .. }
            | Event::InstanceReady { instance }
            | Event::WaitBegan { instance, .. }
            | Event::WaitEnded { instance, .. }
            | Event::ChangeRefused { instance, .. }
            | Event::ReportFinished { instance, .. }
            | Event::TaskOrdered { instance, .. }
            | Event::PowerIntended { instance, .. }
            | Event::PowerChanged { instance, .. }
            | Event::PowerFailed { instance, .. }
            | Event::MachineChangeIntended { instance, .. }
            | Event::MachineChanged { instance, .. }
            | Event::MachineChangeFailed { instance, .. }
            | Event::MachineGivenUp { instance, .. }
            | Event::TerminateIntended { instance, .. }
            | Event::InstanceSilent { instance, .. }
            | Event::InstanceHeard { instance, .. }
            | Event::InstanceAborted { instance, .. }
            | Event::InstanceGivenUp { instance, .. }
            | Event::ReplaceIntended { instance, .. }
            | Event::MachineGone { instance, .. } => Some(instance),
            Event::AbortRaised { instance, .. } => instance.as_ref(),
            Event::Accepted { .. }
            | Event::StateChanged { .. }
            | Event::ParameterSet { .. }
            | Event::SecretSet { .. }
            | Event::ParameterUnset { .. }
            | Event::AbortCancelled
            | Event::BarrierArrived { .. }
            | Event::BarrierOpened { .. }
            | Event::LeadChanged { .. }
            | Event::TerminateRequested
            | Event::OperationStarted { .. }
            | Event::OperationFinished { .. }
            | Event::ClockChanged { .. }
            | Event::LeaseSet { .. }
            | Event::LeaseEnding { .. }
            | Event::LeaseEnded
            | Event::Abandoned { .. }
            | Event::Noted { .. }
            | Event::Trouble { .. } => None,
        }
    }
}

/// A machine that a run has left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftBehind {
    /// Whose it was.
    pub instance: InstanceId,
    /// Of which launch.
    pub attempt: u32,
    /// Where it is.
    pub cloud: String,
    /// Its name there.
    pub name: String,
    /// The cloud's identifier; absent where the cloud never gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_flat_json_and_reads_back() {
        let record = Record {
            seq: 7,
            at: Timestamp::from_millisecond(1_700_000_000_123).expect("in range"),
            by: Author::Instance("web.1".parse().expect("valid")),
            op: Some(3),
            event: Event::ParameterSet { key: "web.1:port".parse().expect("valid"), value: "80".into() },
        };
        let json = serde_json::to_string(&record).expect("serializes");
        assert_eq!(
            json,
            r#"{"seq":7,"at":"2023-11-14T22:13:20.123Z","by":"web.1","op":3,"kind":"parameter_set","key":"web.1:port","value":"80"}"#
        );
        assert_eq!(serde_json::from_str::<Record>(&json).expect("reads back"), record);
    }
}
