//! Parameters of a run, and waits for them.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::Condition,
    event::Author,
    parameter::{Key, ParamType},
};

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
