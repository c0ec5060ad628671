//! How the instances of a run meet at a barrier, and which names barriers and leads have.

use std::{collections::BTreeSet, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::Author,
    id::{InstanceId, InvalidId, NodeName},
    parameter::Key,
};

/// The most barriers of a run, and the most leads.
pub const MAX_MEETINGS: usize = 1000;

/// The most arrivals a barrier may ask for.
pub const MAX_COUNT: u32 = 10_000;

/// The name of a barrier or a lead: like that of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct MeetingName(String);

impl FromStr for MeetingName {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match format!("ss:{text}").parse::<Key>() {
            Ok(key) => Ok(MeetingName(key.name)),
            Err(e) => Err(InvalidId { text: text.to_owned(), what: "the name of a barrier or a lead", rule: e.rule }),
        }
    }
}

impl fmt::Display for MeetingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MeetingName {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<MeetingName> for String {
    fn from(name: MeetingName) -> String {
        name.0
    }
}

/// Who leads: an instance (`web.1`), or a program outside under a name of its own (`user:ann/nightly`), so that
/// two programs of the same user are two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Leader {
    /// A machine of the run.
    Instance(InstanceId),
    /// A program.
    Program {
        /// Whose.
        user: String,
        /// Which one.
        name: MeetingName,
    },
}

impl Leader {
    /// Who is behind it.
    #[must_use]
    pub fn author(&self) -> Author {
        match self {
            Leader::Instance(id) => Author::Instance(id.clone()),
            Leader::Program { user, .. } => Author::User(user.clone()),
        }
    }
}

impl fmt::Display for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leader::Instance(id) => id.fmt(f),
            Leader::Program { user, name } => write!(f, "user:{user}/{name}"),
        }
    }
}

impl FromStr for Leader {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // The name of a program has no slash.
        match text.strip_prefix("user:").and_then(|rest| rest.rsplit_once('/')) {
            Some((user, name)) => Ok(Leader::Program { user: user.to_owned(), name: name.parse()? }),
            None => text.parse().map(Leader::Instance),
        }
    }
}

impl TryFrom<String> for Leader {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Leader> for String {
    fn from(leader: Leader) -> String {
        leader.to_string()
    }
}

/// Whose arrival opens a barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parties {
    /// All live instances of these nodes, and there is one: also those that come before it opens, not those
    /// that have left.
    Nodes(BTreeSet<NodeName>),
    /// So many, whoever they are.
    Count(u32),
}

impl fmt::Display for Parties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Parties::Count(count) => count.fmt(f),
            Parties::Nodes(nodes) => {
                let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
                write!(f, "all of {}", names.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_like_those_of_parameters() {
        for good in ["schema", "step-2", "a.b_c", "7"] {
            assert_eq!(good.parse::<MeetingName>().expect(good).to_string(), good);
        }
        for bad in ["", "a b", "a:b", "-a", "é", "a/b", &"x".repeat(129)] {
            let error = bad.parse::<MeetingName>().expect_err(bad).to_string();
            assert!(error.contains("barrier"), "{error}");
        }
    }

    #[test]
    fn names_are_keys_of_what_is_kept() {
        let kept = std::collections::BTreeMap::from([("a.b".parse::<MeetingName>().expect("valid"), 7)]);
        let json = serde_json::to_string(&kept).expect("serializes");
        assert_eq!(json, r#"{"a.b":7}"#);
        assert_eq!(
            serde_json::from_str::<std::collections::BTreeMap<MeetingName, i32>>(&json).expect("reads back"),
            kept
        );
    }

    #[test]
    fn parties_read_back_and_are_shown() {
        let nodes = Parties::Nodes(["web", "db"].map(|n| n.parse().expect("valid")).into());
        assert_eq!(nodes.to_string(), "all of db, web");
        for parties in [nodes, Parties::Count(3)] {
            let json = serde_json::to_string(&parties).expect("serializes");
            assert_eq!(serde_json::from_str::<Parties>(&json).expect(&json), parties);
        }
    }

    #[test]
    fn a_leader_is_a_machine_or_a_named_program() {
        for text in ["web.1", "user:ann/nightly", "user:a/b/nightly-2"] {
            assert_eq!(text.parse::<Leader>().map(|leader| leader.to_string()).as_deref(), Ok(text));
        }
        for bad in ["", "user:ann", "user:ann/", "user:ann/a b", "web"] {
            assert!(bad.parse::<Leader>().is_err(), "`{bad}` was accepted");
        }
    }
}
