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

impl fmt::Display for Milestone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}
