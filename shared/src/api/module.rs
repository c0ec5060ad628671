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
    /// Why, in the author's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The version that is published, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<u32>,
    /// What its newest version is for; a long text is cut.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The words of its newest version to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Address of its picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo: Option<String>,
    /// Its end, where it was deleted or moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<ModuleGone>,
    /// Its source text; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// That a module is not listed and not launched any more. Its versions are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModuleGone {
    /// Who has deleted or moved it.
    pub by: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Where it was moved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What is asked of a module in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ModuleAction {
    /// Makes a version the one that `@published` means.
    Publish {
        /// Which; without it, the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
    },
    /// None is published any more.
    Unpublish {},
    /// Takes its deletion back.
    Undelete {},
    /// Saves a version of it as the first one of another module.
    Copy {
        /// The other module's path.
        to: String,
        /// Which; without it, the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
    },
    /// Gives it, with all its versions, another path.
    Move {
        /// The new path.
        to: String,
    },
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
