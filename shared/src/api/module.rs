//! Modules of the catalogue and their versions.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A version of a module, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModuleInfo {
    /// Its place in the catalogue.
    pub path: String,
    /// Counts its versions, from 1.
    pub version: u32,
    /// `project`, `image`, `component`, `application`.
    pub kind: String,
    /// Its title, if it has one.
    #[serde(default)]
    pub title: Option<String>,
    /// Who saved it.
    pub author: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Its source text; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Asks to save what a run has really executed as a version of its module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveRequest {
    /// Under another path in the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A version of a module that holds what a run has executed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SavedModule {
    /// The version.
    pub module: ModuleInfo,
    /// The scripts that it has from the run.
    pub saved: Vec<String>,
    /// Edited scripts that other modules contribute: they are not in it.
    #[serde(default)]
    pub left: Vec<String>,
}
