//! What agent and coordinator say to each other.
//!
//! One HTTP/2 request per machine (`POST /agent/v1/link`, client certificate required) whose body and
//! response are both endless streams of JSON lines: [`Up`] from the agent, [`Down`] to it. The first
//! line of each is its `Hello`, which carries the versions it speaks. Before that an agent enrols with
//! `POST /agent/v1/enrol` ([`EnrolRequest`], [`EnrolAnswer`]), without a client certificate.
//!
//! * Lines have at most [`MAX_LINE`] bytes. Unknown fields are ignored, an unknown kind of line too.
//! * A change carries `op`, the agent's own number for it: it grows by one with each change, is kept
//!   on the agent's disk and repeated until answered. The coordinator applies each number once, and
//!   remembers those it has refused. At most [`CHANGES_UNDER_WAY`] are sent before one is answered.
//! * A question carries `id`, unique within the connection. After a new connection it is asked again;
//!   every question asks for a state, not for a change, so nothing is missed in between.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{
    disk::Disk,
    event::StepResult,
    id::{InstanceId, RunId},
    meeting::{Leader, MeetingName, Parties},
    parameter::Key,
    plan::{ReadyPlan, Script},
};

/// The version of this protocol that this code speaks best.
pub const PROTOCOL: u32 = ANSWERS;

/// The first version in which the coordinator may say [`Down::Answers`].
pub const ANSWERS: u32 = 2;

/// The oldest version it still speaks.
pub const OLDEST_PROTOCOL: u32 = 1;

/// The longest line, in bytes.
pub const MAX_LINE: usize = 1024 * 1024;

/// The most bytes of output in one [`Up::Log`].
pub const LOG_CHUNK: usize = 16 * 1024;

/// The most changes that an agent sends without an answer, and the number of refused ones of each agent that
/// the coordinator remembers: so it still knows all whose answers may have been lost.
pub const CHANGES_UNDER_WAY: usize = 128;

/// An agent says something at least this often, in seconds, if only [`Up::Heartbeat`].
pub const HEARTBEAT_SECONDS: u64 = 10;

/// The path of the stream.
pub const LINK_PATH: &str = "/agent/v1/link";

/// The path of enrolment.
pub const ENROL_PATH: &str = "/agent/v1/enrol";

/// Where an agent puts its report, a gzipped tar file: `PUT`, at most [`MAX_REPORT`] bytes.
pub const REPORT_PATH: &str = "/agent/v1/report";

/// The largest report, in bytes.
pub const MAX_REPORT: usize = 64 * 1024 * 1024;

/// Asks for a client certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The newest protocol the agent speaks.
    pub protocol: u32,
    /// The oldest one.
    pub oldest_protocol: u32,
    /// Version of the agent.
    pub agent: String,
    /// The run of the context.
    pub run: RunId,
    /// The instance of the context.
    pub instance: InstanceId,
    /// The attempt of the context.
    pub attempt: u32,
    /// The secret of the context.
    pub token: String,
    /// A PKCS #10 certificate request, PEM; only its public key and its proof of possession count.
    pub csr: String,
    /// What the machine knows of itself, for the record: `machine_id`, `product_uuid`, `hostname`.
    #[serde(default)]
    pub platform: BTreeMap<String, String>,
}

/// The certificate by which the coordinator knows the agent from now on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnrolAnswer {
    /// The version both will speak.
    pub protocol: u32,
    /// PEM, the agent's certificate.
    pub certificate: String,
    /// PEM, the authority that signed it and the coordinator's own.
    pub authority: String,
}

/// The body of a refused enrolment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable word: `token`, `other_key`, `ended`, `protocol`, `busy`, `invalid`.
    pub code: String,
    /// For a person.
    pub message: String,
    /// True when the same request may succeed later.
    pub retry: bool,
}

/// From the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Up {
    /// The first line.
    Hello {
        /// The newest protocol the agent speaks.
        protocol: u32,
        /// The oldest one.
        oldest_protocol: u32,
        /// Version of the agent.
        agent: String,
        /// Changes with each boot of the machine.
        boot: String,
        /// The addresses of the machine's interfaces, without loopback.
        #[serde(default)]
        addresses: Vec<String>,
    },
    /// Nothing new; still here.
    Heartbeat,
    /// Asks for a value. Answered by [`Reply::Value`], at once unless `wait`.
    Get {
        /// Number of the question.
        id: u64,
        /// Whose value.
        key: Key,
        /// Answer only when there is a value.
        wait: bool,
        /// Do not end with [`Reply::Refused`] `aborted` when the run is aborted.
        ignore_abort: bool,
    },
    /// Waits until all conditions hold at the same time; answered by [`Reply::Met`].
    ///
    /// Added before the first release: the version stayed 1. A coordinator without it would ignore it.
    Wait {
        /// Number of the question.
        id: u64,
        /// [`Condition`](crate::condition::Condition)s as text, so that one that this coordinator does not
        /// understand is refused alone and does not break the link.
        conditions: Vec<String>,
        /// Do not end with [`Reply::Refused`] `aborted` when the run is aborted.
        ignore_abort: bool,
    },
    /// Arrives at a barrier and waits until it opens; answered by [`Reply::Met`]. Asking again is no second
    /// arrival.
    Barrier {
        /// Number of the question.
        id: u64,
        /// Which one.
        name: MeetingName,
        /// Whose arrivals open it.
        parties: Parties,
        /// Do not end with [`Reply::Refused`] `aborted` when the run is aborted.
        ignore_abort: bool,
    },
    /// Asks for a lead; answered by [`Reply::Lead`].
    Lead {
        /// Number of the question.
        id: u64,
        /// Of what.
        name: MeetingName,
        /// Answer only when this instance leads.
        wait: bool,
        /// Do not end with [`Reply::Refused`] `aborted` when the run is aborted.
        ignore_abort: bool,
    },
    /// Asks for the environment of a step; answered by [`Reply::Env`] when what the step needs has
    /// been reached and all references have values.
    Env {
        /// Number of the question.
        id: u64,
        /// The step.
        index: u32,
    },
    /// Nobody waits for the answer any more.
    Forget {
        /// Number of the question.
        id: u64,
    },
    /// A change, to be made once.
    Do {
        /// The agent's number for it.
        op: u64,
        /// What.
        #[serde(flatten)]
        change: Change,
    },
    /// Output of a step. Acknowledged by [`Down::LogAck`] when it is on disk.
    Log {
        /// The step.
        index: u32,
        /// Where it belongs in the output of that step, in bytes from the beginning.
        offset: u64,
        /// Standard error rather than standard output.
        err: bool,
        /// The bytes, base64.
        data: String,
    },
}

/// What an agent can change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Change {
    /// Sets a parameter, or takes its value away.
    Set {
        /// Which one.
        key: Key,
        /// None: unset.
        value: Option<String>,
        /// Also when the run is aborted.
        #[serde(default)]
        ignore_abort: bool,
    },
    /// The same, but only if nobody has written it meanwhile; refused as [`RefusedCode::Changed`]. An agent
    /// sends no further change before this one is answered, so that `last_op` says what became of it.
    SetIf {
        /// Which one.
        key: Key,
        /// None: unset.
        value: Option<String>,
        /// The revision it must have; 0: it was never written.
        revision: u64,
        /// Also when the run is aborted.
        #[serde(default)]
        ignore_abort: bool,
    },
    /// Aborts the run.
    Abort {
        /// Why.
        reason: String,
    },
    /// Takes the abort back.
    CancelAbort,
    /// Gives a lead up, if this instance has it.
    Resign {
        /// Of what.
        lead: MeetingName,
    },
    /// A script has started.
    StepStarted {
        /// Which one.
        index: u32,
    },
    /// A script has ended.
    StepFinished {
        /// Which one.
        index: u32,
        /// How.
        result: StepResult,
    },
    /// The ready check has passed.
    Ready,
    /// The ready check did not pass in time.
    NotReady {
        /// What it said last.
        reason: String,
    },
    /// The report is sent, or there is none.
    Reported,
    /// Of a kind that this version does not know; it is refused.
    #[serde(other)]
    Unknown,
}

/// To the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Down {
    /// The first line.
    Hello {
        /// The version both will speak.
        protocol: u32,
        /// Version of the coordinator.
        coordinator: String,
        /// The number of the last change of this agent that was applied or whose refusal is on record;
        /// older ones need not be repeated.
        last_op: u64,
        /// Those up to there that were refused, the last [`CHANGES_UNDER_WAY`] of them, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        refused: Vec<RefusedOp>,
    },
    /// What to run. Sent after `Hello` and again whenever it changes.
    Plan(Box<AgentPlan>),
    /// Still here; sent when nothing else was for [`HEARTBEAT_SECONDS`].
    Heartbeat,
    /// The answer to a question.
    Answer {
        /// Its number.
        id: u64,
        /// What.
        #[serde(flatten)]
        reply: Reply,
    },
    /// The same answer to several questions. Only where both speak version [`ANSWERS`].
    Answers {
        /// Their numbers.
        ids: Vec<u64>,
        /// What.
        #[serde(flatten)]
        reply: Reply,
    },
    /// What became of a change.
    Done {
        /// Its number.
        op: u64,
        /// Why it was refused, if it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<RefusedChange>,
    },
    /// All output of that step up to here is kept; the agent may let go of it.
    LogAck {
        /// The step.
        index: u32,
        /// In bytes from the beginning of its output.
        offset: u64,
    },
    /// The run is aborted: running scripts are to be ended, apart from `report`.
    Abort {
        /// Why.
        reason: String,
    },
    /// The abort was taken back.
    AbortCancelled,
    /// Run the `report` scripts now and send the report.
    Report,
    /// The connection is about to be closed.
    Goodbye {
        /// Why.
        reason: String,
        /// False when coming back is pointless: the run has ended or the instance was replaced.
        retry: bool,
    },
}

/// An answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// The value of a parameter, and whether it has one.
    Value {
        /// None: not set.
        value: Option<String>,
        /// The number of the event that wrote it; 0 for one that nobody has written.
        #[serde(default)]
        revision: u64,
    },
    /// The environment of a step.
    Env {
        /// Names and values.
        env: BTreeMap<String, String>,
    },
    /// The conditions hold.
    Met {
        /// The number of the run's last event at that moment.
        seq: u64,
    },
    /// Who leads.
    Lead {
        /// The number of this instance as leader; none: it does not lead.
        number: Option<u64>,
        /// Who leads instead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leader: Option<Leader>,
    },
    /// No answer.
    Refused(RefusedChange),
}

/// Why a question or a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedChange {
    /// For a program.
    pub code: RefusedCode,
    /// For a person.
    pub message: String,
}

/// A change that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedOp {
    /// Its number.
    pub op: u64,
    /// Why.
    #[serde(flatten)]
    pub refused: RefusedChange,
}

/// Kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusedCode {
    /// No parameter has that key.
    UnknownKey,
    /// The value does not fit.
    Invalid,
    /// Somebody else has written it meanwhile.
    Changed,
    /// The instance may not do that.
    Denied,
    /// The run is aborted.
    Aborted,
    /// The run has ended.
    Gone,
    /// The coordinator could not do it now; the same request may succeed later.
    Unavailable,
}

/// What an instance runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentPlan {
    /// In order; the index is the place in this list.
    pub steps: Vec<AgentStep>,
    /// How many of them belong to the deployment; the rest are `report`.
    pub deploy: u32,
    /// The ready check, references resolved by [`Up::Env`] of the last deployment step where it has
    /// any: `SLIPSTREAM_READY` holds the port or URL.
    pub ready: Option<ReadyPlan>,
    /// Steps known to the coordinator as finished, with how.
    #[serde(default, deserialize_with = "numbered")]
    pub finished: BTreeMap<u32, StepResult>,
    /// Set when the run is aborted already.
    #[serde(default)]
    pub abort: Option<String>,
    /// Variables for every script, such as `SLIPSTREAM_RUN`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The package manager family of the image, such as `debian`, where its module says it.
    #[serde(default)]
    pub platform: Option<String>,
    /// Public keys to let in as `login`; empty for what is no machine of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
    /// The user for ssh.
    #[serde(default)]
    pub login: String,
    /// The disks that are mounted, and made ready for that, before anything is run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    /// Scripts of operations whose turn it is, in order; run one at a time, after the deployment.
    ///
    /// Added before the first release, as `logs` was: the version stayed 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<AgentTask>,
    /// The deployment is not to go on from this step: tasks run it. With the number of its steps: a task leads to
    /// the ready check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u32>,
    /// The names of the latest tasks by their index, those that have ended included: what to call their
    /// output. For the coordinator's own use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "numbered_names")]
    pub names: BTreeMap<u32, String>,
    /// The secrets that scripts of this instance may read: their values are neither kept nor shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Key>,
}

/// A map with numbers as keys. Inside a tagged enum serde keeps them as text and then refuses them.
fn numbered<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u32, StepResult>, D::Error> {
    let text = BTreeMap::<String, StepResult>::deserialize(from)?;
    text.into_iter().map(|(key, value)| key.parse().map(|key| (key, value)).map_err(D::Error::custom)).collect()
}

/// See [`numbered`].
fn numbered_names<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u32, String>, D::Error> {
    let text = BTreeMap::<String, String>::deserialize(from)?;
    text.into_iter().map(|(key, value)| key.parse().map(|key| (key, value)).map_err(D::Error::custom)).collect()
}

/// A script of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentTask {
    /// Its number on this instance; it names its log and its result.
    pub index: u32,
    /// What to run.
    #[serde(flatten)]
    pub step: AgentStep,
    /// The step of the deployment that it is, once more: its result is that of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<u32>,
    /// The ready check is to be passed again once it has succeeded.
    #[serde(default)]
    pub check: bool,
}

/// One script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStep {
    /// Its name, such as `deploy`.
    pub step: String,
    /// The module it comes from.
    pub origin: String,
    /// What to run.
    pub script: Script,
    /// Its deadline in seconds from its start.
    #[serde(default)]
    pub within: Option<u64>,
    /// False: it has neither needs nor references, so no [`Up::Env`] is needed before it.
    pub gated: bool,
    /// Fixed variables of a step that is not gated.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nested_line_reads_back() {
        let result = StepResult { exit: Some(0), ..StepResult::default() };
        let plan = AgentPlan { finished: BTreeMap::from([(3, result.clone())]), ..AgentPlan::default() };
        let refused = RefusedChange { code: RefusedCode::UnknownKey, message: "no".into() };
        for down in [
            Down::Plan(Box::new(plan)),
            Down::Answer { id: 7, reply: Reply::Refused(refused.clone()) },
            Down::Answer { id: 7, reply: Reply::Value { value: None, revision: 0 } },
            Down::Done { op: 1, refused: Some(refused.clone()) },
            Down::Hello {
                protocol: 1,
                coordinator: "1".into(),
                last_op: 7,
                refused: vec![RefusedOp { op: 5, refused }],
            },
        ] {
            let line = serde_json::to_string(&down).expect("serializes");
            assert_eq!(serde_json::from_str::<Down>(&line).expect(&line), down);
        }
        for change in [Change::StepFinished { index: 2, result }, Change::CancelAbort] {
            let up = Up::Do { op: 9, change };
            let line = serde_json::to_string(&up).expect("serializes");
            assert_eq!(serde_json::from_str::<Up>(&line).expect(&line), up);
        }
    }

    #[test]
    fn a_change_of_a_kind_to_come_is_read_as_unknown_but_a_wrong_one_is_an_error() {
        let read = |line: &str| serde_json::from_str::<Up>(line);
        let unknown = Up::Do { op: 7, change: Change::Unknown };
        assert_eq!(read(r#"{"t":"do","op":7,"do":"fly","to":{"x":1}}"#).expect("read"), unknown);
        assert!(read(r#"{"t":"do","op":7,"do":"set","key":7}"#).is_err());
        assert!(read(r#"{"t":"do","op":7}"#).is_err());
    }
}
