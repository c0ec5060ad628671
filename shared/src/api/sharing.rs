//! Who may do what with a module or a run, as it is shown and changed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sharing::{Grants, Rights};

/// Who may do what with a module or a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SharingInfo {
    /// Whose it is; the owner may do everything.
    pub owner: String,
    /// What others may.
    #[serde(flatten)]
    pub grants: Grants,
    /// What others may do with runs that are launched from this module: each run begins with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<Grants>,
    /// What whoever asks may do.
    pub mine: Rights,
}

/// Changes who may do what; what is not named stays. To grant nothing (`[]`) takes back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareRequest {
    /// To the members of groups, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, Rights>,
    /// To everyone who has an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub everyone: Option<Rights>,
    /// The new owner, of a module; only administrators may say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The same for runs that are launched from this module from now on.
    #[serde(default)]
    pub of_runs: bool,
}
