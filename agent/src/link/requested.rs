//! What commands have asked for under a name of their own, so that a command whose agent was killed before it
//! could answer may ask again and the change is still made once.

use serde::{Deserialize, Serialize};
use slipstream_shared::link::RefusedChange;

/// How many are remembered: far more than commands that can be in the middle of a request.
pub(super) const MOST: usize = 512;

/// A change that was asked for under a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Requested {
    pub(super) request: String,
    pub(super) op: u64,
    /// None: there is no answer yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Outcome>,
}

/// What the coordinator has said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<RefusedChange>,
}
