//! The keys and types of parameters: `web.1:port`, `web:ids`, `ss:state`.
//!
//! Grammar (SlipStream's, extended): a key splits at its first `:`. Before it stands `ss` (the run), a
//! node, or a node instance; after it a name of letters, digits, `_`, `.` and `-`.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    id::{InstanceId, InvalidId, NodeName},
    module::units,
    predefined::{self, Level},
};

/// The longest value, in bytes. Longer ones are refused, never cut.
pub const MAX_VALUE: usize = 64 * 1024;

/// What is shown of a secret, whatever its value and length.
pub const MASK: &str = "***";

/// What a parameter belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The whole run, written `ss`.
    Run,
    /// A node, such as `web`.
    Node(NodeName),
    /// A node instance, such as `web.1`.
    Instance(InstanceId),
}

/// The full name of a parameter within a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Key {
    /// What it belongs to.
    pub scope: Scope,
    /// The part after the colon.
    pub name: String,
}

impl Key {
    /// The key of a run-wide parameter.
    #[must_use]
    pub fn run(name: &str) -> Self {
        Key { scope: Scope::Run, name: name.to_owned() }
    }

    /// The key of a parameter of one instance.
    #[must_use]
    pub fn instance(instance: &InstanceId, name: &str) -> Self {
        Key { scope: Scope::Instance(instance.clone()), name: name.to_owned() }
    }

    /// The key of a parameter of a node.
    #[must_use]
    pub fn node(node: &NodeName, name: &str) -> Self {
        Key { scope: Scope::Node(node.clone()), name: name.to_owned() }
    }

    /// Reads a key as typed on a machine, as SlipStream's client did: `port` is the caller's own,
    /// `web:port` is that of `web.1`, `ids` and `multiplicity` belong to the node.
    ///
    /// # Errors
    /// The text is not a key, or is unqualified and there is no caller.
    pub fn qualify(text: &str, caller: Option<&InstanceId>) -> Result<Self, InvalidId> {
        if !text.contains(':') {
            let caller = caller.ok_or_else(|| InvalidId {
                text: text.to_owned(),
                what: "a parameter key",
                rule: "outside a machine the owner must be named, as in web.1:port or ss:state",
            })?;
            check_name(text)?;
            return Ok(if is_of_node(text) { Key::node(&caller.node, text) } else { Key::instance(caller, text) });
        }
        let key: Key = text.parse()?;
        Ok(match key {
            Key { scope: Scope::Node(node), name } if !is_of_node(&name) => {
                Key { scope: Scope::Instance(InstanceId::new(node, 1)), name }
            }
            other => other,
        })
    }
}

/// True for names that belong to a node as a whole, never to one of its instances.
fn is_of_node(name: &str) -> bool {
    predefined::find(Level::Node, name).is_some()
}

fn check_name(name: &str) -> Result<(), InvalidId> {
    let fail = |rule| Err(InvalidId { text: name.to_owned(), what: "a parameter name", rule });
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        return fail("it must start with a letter, a digit or an underscore");
    }
    if name.len() > 128 {
        return fail("it has more than 128 characters");
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')) {
        return fail("only letters, digits, `_`, `.` and `-` are allowed");
    }
    Ok(())
}

impl FromStr for Key {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (owner, name) = text.split_once(':').ok_or_else(|| InvalidId {
            text: text.to_owned(),
            what: "a parameter key",
            rule: "it has the form owner:name, as in web.1:port",
        })?;
        check_name(name)?;
        let scope = match owner {
            "ss" => Scope::Run,
            _ if owner.contains('.') => Scope::Instance(owner.parse()?),
            _ => Scope::Node(owner.parse()?),
        };
        Ok(Key { scope, name: name.to_owned() })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Run => write!(f, "ss:{}", self.name),
            Scope::Node(node) => write!(f, "{node}:{}", self.name),
            Scope::Instance(instance) => write!(f, "{instance}:{}", self.name),
        }
    }
}

impl TryFrom<String> for Key {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.to_string()
    }
}

/// The type of a parameter, as its module declares it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParamType {
    /// One line or many, any UTF-8.
    #[default]
    String,
    /// The same, shown as several lines.
    Text,
    /// A whole number, optionally signed, that fits 64 bits.
    Integer,
    /// A decimal number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A TCP or UDP port, 1 to 65535.
    Port,
    /// One of the listed words.
    Enum(Vec<String>),
    /// Bytes with a unit, such as `4GiB`.
    Size,
    /// A time with units, such as `1h30m`.
    Duration,
    /// Any text that only those may read whose module binds it.
    Secret,
    /// A JSON document.
    Json,
}

/// Why a value does not fit its parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// Longer than [`MAX_VALUE`].
    #[error("the value has {size} bytes, the limit is {MAX_VALUE}")]
    TooLong {
        /// Its size in bytes.
        size: usize,
    },
    /// Not of the declared type.
    #[error("the value is not {expected}")]
    WrongType {
        /// What the type asks for.
        expected: String,
    },
    /// Less than its module allows.
    #[error("the value is less than {min}")]
    TooSmall {
        /// The smallest one.
        min: String,
    },
    /// More than its module allows.
    #[error("the value is more than {max}")]
    TooLarge {
        /// The largest one.
        max: String,
    },
    /// Not of the form its module asks for.
    #[error("the value does not match `{pattern}`")]
    NoMatch {
        /// A regular expression for the whole value.
        pattern: String,
    },
}

impl ParamType {
    /// Checks that `value` is one of this type.
    ///
    /// # Errors
    /// Says what was expected; the value itself is never part of the message.
    pub fn check(&self, value: &str) -> Result<(), InvalidValue> {
        if value.len() > MAX_VALUE {
            return Err(InvalidValue::TooLong { size: value.len() });
        }
        let (ok, expected) = match self {
            ParamType::String | ParamType::Text | ParamType::Secret => return Ok(()),
            ParamType::Integer => (value.parse::<i64>().is_ok(), "a whole number".to_owned()),
            ParamType::Number => (value.parse::<f64>().is_ok_and(f64::is_finite), "a number".to_owned()),
            ParamType::Boolean => (matches!(value, "true" | "false"), "`true` or `false`".to_owned()),
            ParamType::Port => {
                (value.parse::<u16>().is_ok_and(|p| p > 0), "a port (a number from 1 to 65535)".to_owned())
            }
            ParamType::Enum(words) => (words.iter().any(|w| w == value), format!("one of {}", words.join(", "))),
            ParamType::Size => (units::size(value).is_ok(), "a size (as in `512MiB` or `20GB`)".to_owned()),
            ParamType::Duration => (units::duration(value).is_ok(), "a time (as in `30s` or `1h30m`)".to_owned()),
            ParamType::Json => {
                (serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok(), "a JSON document".to_owned())
            }
        };
        if ok { Ok(()) } else { Err(InvalidValue::WrongType { expected }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_apache(text: &str) -> String {
        let me: InstanceId = "apache.1".parse().expect("valid");
        Key::qualify(text, Some(&me)).expect(text).to_string()
    }

    #[test]
    fn short_names_are_completed_as_the_original_client_did() {
        for (typed, full) in [
            ("port", "apache.1:port"),
            ("multiplicity", "apache:multiplicity"),
            ("ids", "apache:ids"),
            ("webserver:port", "webserver.1:port"),
            ("webserver:multiplicity", "webserver:multiplicity"),
            ("webserver:ids", "webserver:ids"),
            ("webserver.3:port", "webserver.3:port"),
            ("ss:state", "ss:state"),
            ("webserver:max-provisioning-failures", "webserver:max-provisioning-failures"),
            ("webserver.3:ids", "webserver.3:ids"),
            ("machine:url.ssh", "machine.1:url.ssh"),
            // There is none, which is a plain "no such parameter".
            ("webserver.hostname", "apache.1:webserver.hostname"),
        ] {
            assert_eq!(from_apache(typed), full, "{typed}");
        }
    }

    #[test]
    fn keys_of_a_wrong_shape_are_refused() {
        for bad in
            ["", ":", "a:", ":b", "a b:c", "web.0:x", "web.1:", "web.1:a b", "web.1:a:b", "w\u{e9}b:x", "-a:x", "a:-x"]
        {
            assert!(bad.parse::<Key>().is_err(), "`{bad}` was accepted");
        }
        assert!(Key::qualify("port", None).is_err());
        // There is no such machine any more.
        assert!(Key::qualify("orchestrator:hostname", None).is_err());
        assert!(Key::qualify("orchestrator-exo:hostname", None).is_err());
    }

    #[test]
    fn values_are_checked_against_their_type() {
        let words = ParamType::Enum(vec!["on".into(), "off".into()]);
        let any = ["", " ", "\u{0}", "\u{feff}\u{2028}"];
        for (kind, good, bad, expected) in [
            (ParamType::String, &any[..], &[][..], ""),
            (ParamType::Text, &any, &[], ""),
            (ParamType::Secret, &any, &[], ""),
            (
                ParamType::Integer,
                &["0", "-42", "9223372036854775807"],
                &["", "1.0", "9223372036854775808", " 1"],
                "a whole number",
            ),
            (ParamType::Number, &["0", "-1.5", "1e3"], &["", "NaN", "inf", "1,5"], "a number"),
            (ParamType::Boolean, &["true", "false"], &["", "True", "1"], "`true` or `false`"),
            (ParamType::Port, &["1", "65535"], &["0", "65536", "http", "", " 80"], "a port (a number from 1 to 65535)"),
            (words, &["on", "off"], &["", "On"], "one of on, off"),
            (ParamType::Size, &["4GiB", "20 GB"], &["", "4", "0B", "4gib"], "a size (as in `512MiB` or `20GB`)"),
            (ParamType::Duration, &["5m", "1h30m"], &["", "5", "0s", "30m1h"], "a time (as in `30s` or `1h30m`)"),
            (ParamType::Json, &["1", "{\"a\": [null]}"], &["", "{", "{} {}", "'a'"], "a JSON document"),
        ] {
            for value in good {
                assert_eq!(kind.check(value), Ok(()), "{kind:?} {value}");
            }
            for value in bad {
                let error = InvalidValue::WrongType { expected: expected.to_owned() };
                assert_eq!(kind.check(value), Err(error), "{kind:?} {value}");
            }
        }
        assert_eq!(ParamType::String.check(&"x".repeat(MAX_VALUE)), Ok(()));
        assert_eq!(
            ParamType::String.check(&"x".repeat(MAX_VALUE + 1)),
            Err(InvalidValue::TooLong { size: MAX_VALUE + 1 })
        );
    }
}
