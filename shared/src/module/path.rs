//! Where a module is in the catalogue: `apps/lamp`, `apps/lamp@3`.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::InvalidId;

/// Which version of a module is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// The newest.
    #[default]
    Newest,
    /// The one that whoever may has published: `@published`.
    Published,
    /// That one, from 1: `@3`.
    Number(u32),
}

/// The word for the published version.
const PUBLISHED: &str = "published";

/// A module, and which of its versions: `apps/lamp@3`, `apps/lamp@published`; without one, the newest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ModuleRef {
    /// Its path.
    pub path: String,
    /// Which of its versions.
    pub version: Version,
}

/// Checks the path of a module: parts of letters, digits, `.`, `_` and `-`, joined by `/`.
///
/// # Errors
/// Says which rule it breaks.
pub fn check(text: &str) -> Result<(), InvalidId> {
    let fail = |rule| Err(InvalidId { text: text.to_owned(), what: "the path of a module", rule });
    if text.len() > 200 {
        return fail("it has more than 200 characters");
    }
    for part in text.split('/') {
        if !part.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return fail("each part between slashes starts with a letter or a digit");
        }
        if !part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
            return fail("only letters, digits, `.`, `_`, `-` and `/` are allowed");
        }
    }
    Ok(())
}

/// Checks the name of a configured cloud.
///
/// # Errors
/// Says which rule it breaks.
pub fn cloud(text: &str) -> Result<(), InvalidId> {
    let ok = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if ok {
        return Ok(());
    }
    let rule = "at most 63 letters, digits, `.`, `_` and `-`, a letter or a digit first";
    Err(InvalidId { text: text.to_owned(), what: "the name of a cloud", rule })
}

impl FromStr for ModuleRef {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (path, version) = match text.split_once('@') {
            None => (text, None),
            Some((path, version)) => (path, Some(version)),
        };
        check(path)?;
        let number = |text: &str| text.parse().ok().filter(|n| *n > 0 && !text.starts_with(['0', '+']));
        let version = match version {
            None => Version::Newest,
            Some(PUBLISHED) => Version::Published,
            Some(other) => Version::Number(number(other).ok_or_else(|| InvalidId {
                text: text.to_owned(),
                what: "a version of a module",
                rule: "the part after `@` is a number from 1, or `published`",
            })?),
        };
        Ok(ModuleRef { path: path.to_owned(), version })
    }
}

impl fmt::Display for ModuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Version::Number(version) => write!(f, "{}@{version}", self.path),
            Version::Published => write!(f, "{}@{PUBLISHED}", self.path),
            Version::Newest => f.write_str(&self.path),
        }
    }
}

impl TryFrom<String> for ModuleRef {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<ModuleRef> for String {
    fn from(reference: ModuleRef) -> String {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_parse_and_print() {
        for good in ["lamp", "apps/lamp", "apps/lamp@published", "examples/images/ubuntu-14.04@12"] {
            assert_eq!(good.parse::<ModuleRef>().map(|r| r.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", "/a", "a/", "a//b", "a/../b", ".a", "a b", "a@", "a@0", "a@01", "a@x", "a@1@2", "a@+1", "é"] {
            assert!(bad.parse::<ModuleRef>().is_err(), "{bad}");
        }
        assert_eq!(
            "a/../b".parse::<ModuleRef>().expect_err("a step up").to_string(),
            "`a/../b` is not the path of a module: each part between slashes starts with a letter or a digit"
        );
        assert_eq!(
            "a@x".parse::<ModuleRef>().expect_err("no number").to_string(),
            "`a@x` is not a version of a module: the part after `@` is a number from 1, or `published`"
        );
    }

    #[test]
    fn clouds_have_names() {
        assert!(cloud("exoscale-ch-gva").is_ok());
        assert_eq!(
            cloud("my cloud").expect_err("a space").to_string(),
            "`my cloud` is not the name of a cloud: at most 63 letters, digits, `.`, `_` and `-`, a letter or a digit first"
        );
    }
}
