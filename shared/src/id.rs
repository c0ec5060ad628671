//! Identifiers: runs, nodes, node instances.
//!
//! Each is a newtype that can only be made by parsing, so a value of the type is always valid.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not {what}: {rule}", crate::brief::brief(text))]
pub struct InvalidId {
    /// What was given.
    pub text: String,
    /// What it should have been.
    pub what: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

/// One execution of a module: a UUID version 7.
///
/// People see its *last* eight hexadecimal digits ([`RunId::short`]): the first ones are a clock, the
/// same for all runs that start within the same minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunId(#[schemars(with = "String")] Uuid);

impl RunId {
    /// Makes an id from the time in milliseconds since 1970 and ten random bytes.
    #[must_use]
    pub fn new(millis: u64, random: [u8; 10]) -> Self {
        RunId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// When it was made, in milliseconds since 1970. None: by something else than [`RunId::new`].
    #[must_use]
    pub fn millis(&self) -> Option<u64> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        Some(seconds * 1000 + u64::from(nanos / 1_000_000))
    }

    /// The eight digits shown where a person reads.
    #[must_use]
    pub fn short(&self) -> String {
        let text = self.0.simple().to_string();
        text[24..].to_owned()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for RunId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::parse_str(text).map(RunId).map_err(|_| InvalidId {
            text: text.to_owned(),
            what: "a run id",
            rule: "a run id is a UUID",
        })
    }
}

/// A role in an application, such as `web`: a letter, then at most 30 letters, digits or underscores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// The node of a run of a single image or component.
    #[must_use]
    pub fn machine() -> Self {
        NodeName("machine".to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fail = |rule| Err(InvalidId { text: text.to_owned(), what: "a node name", rule });
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return fail("it must start with a letter");
        }
        if text.len() > 31 {
            return fail("it has more than 31 characters");
        }
        if !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return fail("only letters, digits and underscores are allowed");
        }
        if text == "ss" || text == "orchestrator" {
            return fail("that name is reserved");
        }
        Ok(NodeName(text.to_owned()))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One virtual machine of a run, such as `web.1`. Ids start at 1 and are never reused in a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct InstanceId {
    /// The role.
    pub node: NodeName,
    /// The number within the role, from 1.
    pub index: u32,
}

impl InstanceId {
    /// Instance `index` of `node`.
    #[must_use]
    pub fn new(node: NodeName, index: u32) -> Self {
        InstanceId { node, index }
    }
}

impl FromStr for InstanceId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fail = |rule| InvalidId { text: text.to_owned(), what: "a node instance", rule };
        let (node, index) = text.split_once('.').ok_or_else(|| fail("it has the form node.number, as in web.1"))?;
        let index = index
            .parse()
            .ok()
            .filter(|i| *i > 0 && !index.starts_with(['0', '+']))
            .ok_or_else(|| fail("the part after the dot is a number from 1"))?;
        Ok(InstanceId { node: node.parse()?, index })
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.index)
    }
}

macro_rules! text_conversions {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    )*};
}
text_conversions!(NodeName, InstanceId);

/// One attempt to launch the machine of an instance: what a cloud resource is tagged with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AttemptKey {
    /// The run it belongs to.
    pub run: RunId,
    /// The instance it is for.
    pub instance: InstanceId,
    /// Counts the launches of that instance, from 1.
    pub attempt: u32,
}

impl AttemptKey {
    /// The name of the machine in the cloud: `ss-<short run>-<node>-<index>-<attempt>`, at most 63
    /// characters, lower case letters, digits and dashes only.
    #[must_use]
    pub fn machine_name(&self) -> String {
        let node = self.instance.node.as_str().to_ascii_lowercase().replace('_', "-");
        format!("ss-{}-{}-{}-{}", self.run.short(), node, self.instance.index, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_parse_and_print() {
        let id: InstanceId = "web_front.12".parse().expect("valid");
        assert_eq!((id.node.as_str(), id.index), ("web_front", 12));
        assert_eq!(id.to_string(), "web_front.12");
        for bad in ["web", "web.", "web.0", "web.01", "web.+1", ".1", "1web.1", "web.1.2", "ss.1", "web.-1"] {
            assert!(bad.parse::<InstanceId>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn runs_that_start_together_look_different() {
        let (a, b) = (RunId::new(1_700_000_000_000, [1; 10]), RunId::new(1_700_000_000_001, [2; 10]));
        assert_ne!(a.short(), b.short());
        assert_eq!(a.short().len(), 8);
        assert!(a < b, "ids sort by time");
        assert_eq!(a.to_string().parse::<RunId>(), Ok(a));
    }

    #[test]
    fn machine_names_fit_a_dns_label() {
        let key = AttemptKey {
            run: RunId::new(1, [7; 10]),
            instance: "A_very_long_name_of_a_node_12345.4294967295".parse::<InstanceId>().unwrap_or_else(|_| {
                InstanceId::new("A23456789012345678901234567890_".parse().expect("31 characters"), u32::MAX)
            }),
            attempt: 99_999,
        };
        assert!(key.machine_name().len() <= 63, "{}", key.machine_name());
    }
}
