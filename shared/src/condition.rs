//! What a wait waits for, as people and programs write it.
//!
//! ```text
//! condition = subject [ test ]
//! subject   = key                    web.1:port   ss:url.service
//!           | node "[*]:" name       every live instance of the node, and there is one
//!           | node "[any]:" name     at least one of them
//!           | node "[" k "+]:" name  at least k of them
//! test      =                        it has a value
//!           | "=" text               its value is this one
//!           | "~" pattern            its value has a part that matches (`^` and `$` anchor)
//!           | "@" revision           it was set or unset by a later event than that
//! ```
//!
//! A wait takes a list of them and ends when all hold at the same time. Keys have none of the characters
//! that begin a test, so nothing in a condition is ever escaped. A pattern is compiled by the coordinator
//! alone: agents stay small.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    brief::{bounded, brief},
    id::{InstanceId, NodeName},
    parameter::{Key, MAX_VALUE},
};

/// The most conditions of one wait.
pub const MAX_CONDITIONS: usize = 64;

/// The longest pattern, in bytes.
pub const MAX_PATTERN: usize = 256;

/// Something about the parameters of a run that may come true.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Condition {
    /// Of what.
    pub subject: Subject,
    /// What has to hold.
    pub test: Test,
}

/// Whose value a condition is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// One parameter.
    Key(Key),
    /// The same parameter of the live instances of a node.
    Instances {
        /// The node.
        node: NodeName,
        /// How many of its instances.
        count: Count,
        /// The part after the colon.
        name: String,
    },
}

/// How many instances of a node a condition asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Count {
    /// All there are, and at least one.
    All,
    /// So many; at least one.
    AtLeast(u32),
}

/// What a condition asks of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Test {
    /// There is one.
    Set,
    /// It is this one.
    Equals(String),
    /// A part of it matches this regular expression.
    Matches(String),
    /// It was set or unset after the event of this number.
    Newer(u64),
}

/// Why a text is not a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a condition: {reason}", brief(text))]
pub struct InvalidCondition {
    /// What was given, its value left out.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Condition {
    /// Reads a condition as typed on a machine, see [`Key::qualify`].
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn qualify(text: &str, caller: Option<&InstanceId>) -> Result<Self, InvalidCondition> {
        read(text, |key| Key::qualify(key, caller))
    }

    /// What is shown of it where people look for what hangs: a long value is cut.
    #[must_use]
    pub fn brief(&self) -> String {
        const MOST: usize = 60;
        match &self.test {
            Test::Equals(value) if value.len() > MOST => {
                format!("{}={}…", self.subject, &value[..value.floor_char_boundary(MOST)])
            }
            _ => self.to_string(),
        }
    }
}

fn read<E: fmt::Display>(text: &str, key: impl Fn(&str) -> Result<Key, E>) -> Result<Condition, InvalidCondition> {
    let (subject, test) = text.split_at(text.find(['=', '~', '@']).unwrap_or(text.len()));
    let fail = |reason: String| InvalidCondition { text: subject.to_owned(), reason: bounded(&reason, 400) };
    let test = match test.chars().next() {
        None => Test::Set,
        Some('=') if test.len() > MAX_VALUE + 1 => {
            return Err(fail(format!("the value has more than {MAX_VALUE} bytes")));
        }
        Some('=') => Test::Equals(test[1..].to_owned()),
        Some('~') if test.len() > MAX_PATTERN + 1 => {
            return Err(fail(format!("the pattern has more than {MAX_PATTERN} bytes")));
        }
        Some('~') => Test::Matches(test[1..].to_owned()),
        Some(_) => {
            Test::Newer(test[1..].parse().map_err(|_| fail("after `@` stands a revision, a number".to_owned()))?)
        }
    };
    let subject = match subject.split_once('[') {
        None => Subject::Key(key(subject).map_err(|e| fail(e.to_string()))?),
        Some((node, rest)) => instances(node, rest).map_err(fail)?,
    };
    Ok(Condition { subject, test })
}

/// Reads `web`, `2+]:port`.
fn instances(node: &str, rest: &str) -> Result<Subject, String> {
    let (count, name) = rest.split_once("]:").ok_or("after `[` it has the form `*]:name`")?;
    let node: NodeName = node.parse().map_err(|e: crate::id::InvalidId| e.to_string())?;
    let name = format!("ss:{name}").parse::<Key>().map_err(|e| e.to_string())?.name;
    let number = |text: &str| text.parse().ok().filter(|k| *k > 0 && !text.starts_with(['+', '0']));
    let count = match (count, count.strip_suffix('+')) {
        ("*", _) => Count::All,
        ("any", _) => Count::AtLeast(1),
        (_, Some(least)) => {
            Count::AtLeast(number(least).ok_or_else(|| format!("`[{least}+]` has no number before the `+`"))?)
        }
        (index, None) => {
            let index = number(index).ok_or_else(|| format!("`[{index}]` is none of [1], [*], [any], [2+]"))?;
            return Ok(Subject::Key(Key::instance(&InstanceId::new(node, index), &name)));
        }
    };
    Ok(Subject::Instances { node, count, name })
}

impl FromStr for Condition {
    type Err = InvalidCondition;
    fn from_str(text: &str) -> Result<Self, InvalidCondition> {
        read(text, str::parse)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Key(key) => key.fmt(f),
            Subject::Instances { node, count: Count::All, name } => write!(f, "{node}[*]:{name}"),
            Subject::Instances { node, count: Count::AtLeast(1), name } => write!(f, "{node}[any]:{name}"),
            Subject::Instances { node, count: Count::AtLeast(k), name } => write!(f, "{node}[{k}+]:{name}"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subject.fmt(f)?;
        match &self.test {
            Test::Set => Ok(()),
            Test::Equals(value) => write!(f, "={value}"),
            Test::Matches(pattern) => write!(f, "~{pattern}"),
            Test::Newer(revision) => write!(f, "@{revision}"),
        }
    }
}

impl TryFrom<String> for Condition {
    type Error = InvalidCondition;
    fn try_from(text: String) -> Result<Self, InvalidCondition> {
        text.parse()
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> String {
        condition.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_read_back_as_they_were_written() {
        for text in [
            "web.1:port",
            "ss:url.service",
            "web:multiplicity=3",
            "web.1:port=",
            "web.1:port==a~b@c\n\0é]:[",
            "web.1:version~^1\\.[0-9]+$",
            "web.1:lock@0",
            "web.1:lock@18446744073709551615",
            "web[*]:ready=true",
            "web[any]:ready",
            "web[2+]:ready~x",
            "web[4294967295+]:ready@7",
        ] {
            assert_eq!(text.parse::<Condition>().expect(text).to_string(), text);
        }
        assert_eq!("web[3]:port".parse::<Condition>(), "web.3:port".parse());
        assert_eq!("web[1+]:port".parse::<Condition>(), "web[any]:port".parse());
    }

    #[test]
    fn on_a_machine_names_may_be_short() {
        let me: InstanceId = "web.2".parse().expect("valid");
        for (typed, full) in [
            ("ready", "web.2:ready"),
            ("ready=a:b", "web.2:ready=a:b"),
            ("db:port@3", "db.1:port@3"),
            ("ids=1", "web:ids=1"),
            ("db[*]:port", "db[*]:port"),
        ] {
            assert_eq!(Condition::qualify(typed, Some(&me)).expect(typed).to_string(), full);
        }
    }

    #[test]
    fn texts_of_a_wrong_shape_are_refused_without_their_value() {
        let long = format!("web.1:x~{}", "a".repeat(MAX_PATTERN + 1));
        let large = format!("web.1:x={}", "secret".repeat(MAX_VALUE / 6 + 1));
        for bad in [
            "",
            "=",
            "=x",
            "port",
            "web.1:",
            "web.1:a b",
            "web.0:x",
            "web[]:x",
            "web[0]:x",
            "web[0+]:x",
            "web[+]:x",
            "web[-1+]:x",
            "web[4294967296+]:x",
            "web[*]",
            "web[*:x",
            "web[*]x",
            "web[*].x",
            "[*]:x",
            "web.1[*]:x",
            "ss[*]:x",
            "web[**]:x",
            "web[*]:x:y",
            "web[any]:=secret",
            "web.1:x@",
            "web.1:x@-1",
            "web.1:x@secret",
            "web.1:x@18446744073709551616",
            "wéb:x=secret",
            &long,
            &large,
        ] {
            let error = bad.parse::<Condition>().expect_err(bad).to_string();
            assert!(!error.contains("secret") && error.len() < 400, "{error}");
        }
    }

    #[test]
    fn a_long_value_is_cut_for_display_between_characters() {
        let condition: Condition = format!("web.1:x={}", "é".repeat(100)).parse().expect("valid");
        assert_eq!(condition.brief(), format!("web.1:x={}…", "é".repeat(30)));
    }
}
