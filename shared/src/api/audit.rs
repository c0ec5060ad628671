//! Who did what.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An entry of the audit trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// In the order of time.
    pub id: String,
    /// When it was answered.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who; absent where somebody tried to log in with a name that is no user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The id of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// From which address.
    pub address: String,
    /// What: the `operationId` of the request.
    pub action: String,
    /// On what: the run, the module, the user ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The word for what was wrong, if something was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}
