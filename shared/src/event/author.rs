//! Who caused an event.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{InstanceId, InvalidId};

/// Who caused an event: `system`, `user:alice`, or an instance such as `web.1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Author {
    /// The coordinator itself.
    System,
    /// A person or program with an API token.
    User(String),
    /// The agent or a script in a machine of the run.
    Instance(InstanceId),
}

impl FromStr for Author {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.strip_prefix("user:") {
            Some(name) => Ok(Author::User(name.to_owned())),
            None if text == "system" => Ok(Author::System),
            None => text.parse().map(Author::Instance),
        }
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Author::System => f.write_str("system"),
            Author::User(name) => write!(f, "user:{name}"),
            Author::Instance(instance) => instance.fmt(f),
        }
    }
}

impl TryFrom<String> for Author {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Author> for String {
    fn from(author: Author) -> String {
        author.to_string()
    }
}
