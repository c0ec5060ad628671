//! The states of a run and the milestones of its instances.
//!
//! ```text
//! Initializing -> Provisioning -> Executing -> SendingReports -> Ready
//!       \               \             \              \             |  terminate, keep-running policy
//!        `---------------`-------------`--------------`--> Finalizing -> Done | Aborted | Cancelled
//! ```

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a run is. Derived by the coordinator, never posted by agents; `ss:state` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RunState {
    /// Accepted; no machine has been asked for yet.
    Initializing,
    /// Some instance has not enrolled.
    Provisioning,
    /// Some instance has not finished `deploy`.
    Executing,
    /// Reports are being collected.
    SendingReports,
    /// All of that is done. Latched.
    Ready,
    /// Machines are being removed.
    Finalizing,
    /// Ended; everything is confirmed gone.
    Done,
    /// Ended after an abort; everything is confirmed gone.
    Aborted,
    /// Terminated before it was Ready; everything is confirmed gone.
    Cancelled,
}

impl RunState {
    /// True when nothing will happen any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, RunState::Done | RunState::Aborted | RunState::Cancelled)
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How a run turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not known yet.
    Pending,
    /// It reached Ready without an abort.
    Succeeded,
    /// It was aborted, or terminated before it was Ready.
    Failed,
}

/// How far an instance has come. The first one missing is what pages and `run show` name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// Nothing was asked of the cloud yet.
    Planned,
    /// The intent to launch it is durable.
    Intended,
    /// The cloud has accepted the launch.
    Launched,
    /// The cloud says that the machine runs.
    Running,
    /// Its address is known.
    Address,
    /// Its agent has enrolled.
    Enrolled,
    /// One of its steps has started.
    Executing,
    /// All its steps have succeeded.
    Deployed,
    /// Its ready check has passed.
    Ready,
    /// Its machine is powered off, or being so.
    Stopped,
    /// Its removal was asked for.
    Terminating,
    /// The cloud no longer knows it.
    Gone,
    /// A step or its launch has failed.
    Failed,
}

/// What has failed: a stable word for programs, beside the reason for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Somebody, or a script, has aborted the run.
    Aborted,
    /// A machine could not be launched.
    LaunchFailed,
    /// A cloud has not accepted a launch in time.
    LaunchLate,
    /// A machine that was launched does not run.
    NotRunning,
    /// A machine has no address.
    NoAddress,
    /// The agent of a machine has not enrolled.
    NotEnrolled,
    /// A script has failed.
    StepFailed,
    /// A script has not ended in time.
    StepLate,
    /// A ready check has not passed.
    NotReady,
    /// The run as a whole was not Ready in time.
    Timeout,
    /// Nothing is heard of an agent, and its node says that this is a failure.
    Silent,
    /// The cloud no longer has, or no longer runs, a machine that is needed.
    Lost,
    /// A machine does not go although its removal was asked for.
    NotRemoved,
}

impl Failure {
    /// True for what a node may tolerate: a machine that never came.
    #[must_use]
    pub fn is_tolerable(self) -> bool {
        matches!(
            self,
            Failure::LaunchFailed
                | Failure::LaunchLate
                | Failure::NotRunning
                | Failure::NoAddress
                | Failure::NotEnrolled
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        f.write_str(json.as_str().unwrap_or_default())
    }
}

impl fmt::Display for Milestone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}
