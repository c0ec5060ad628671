//! Bodies of requests and answers of the REST API, `/api/v1`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod account;
mod meeting;
mod module;
mod operation;
mod parameter;
mod run;
mod sharing;

pub use self::account::{
    Allows, ChangeGroup, ChangeUser, GroupInfo, Login, MadeToken, NewGroup, NewPassword, NewSshKey, NewToken, NewUser,
    Scope, Session, SshKeyInfo, TokenInfo, UserInfo,
};
pub use self::meeting::{BarrierInfo, BarrierRequest, LeadInfo, LeadRequest};
pub use self::module::{ModuleAction, ModuleGone, ModuleInfo, SaveRequest, SavedModule};
pub use self::operation::{
    AddDiskRequest, OperationInfo, OperationStatus, PowerRequest, RemoveDiskRequest, ResizeRequest, RetryRequest,
    ScaleRequest, TaskInfo, UpdateRequest,
};
pub use self::parameter::{Parameter, ParameterWrite, SetParameter, WaitAnswer, WaitRequest};
pub use self::run::{
    AbortRequest, DiskInfo, InstanceInfo, LaunchRequest, LeaseRequest, LogInfo, ReportInfo, RunDetail, RunSummary,
    StepInfo, TroubleInfo, WaitInfo, Why, WhyInstance,
};
pub use self::sharing::{ShareRequest, SharingInfo};

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
