//! How a script ended.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a script ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepResult {
    /// Its exit code, unless a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why it could not be run or was ended, where the agent knows: `deadline`, `aborted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The last line of its standard error that is not blank, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_stderr: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(default)]
    pub millis: u64,
}

impl StepResult {
    /// True when the script ended by itself with 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.exit == Some(0) && self.cause.is_none()
    }
}

impl fmt::Display for StepResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.cause, self.exit, self.signal) {
            (Some(cause), _, _) => f.write_str(cause)?,
            (None, Some(code), _) => write!(f, "exit code {code}")?,
            (None, None, Some(signal)) => write!(f, "signal {signal}")?,
            (None, None, None) => f.write_str("did not run")?,
        }
        match &self.last_stderr {
            Some(line) => write!(f, ": {line}"),
            None => Ok(()),
        }
    }
}
