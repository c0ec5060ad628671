//! Who may do what with a module or a run.
//!
//! The owner may do everything; groups and everyone may do what the owner grants. Whoever may do anything
//! with a thing may read it: what one may not read does not exist as far as one is told.

use std::{collections::BTreeMap, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that one may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// To see it: a module with its source; a run with its parameters, output, reports and events.
    Read,
    /// To have machines: launch the module, or build on it; scale, update, retry, stop and start a run.
    Launch,
    /// To change it: save versions; set parameters, abort, move the lease.
    Edit,
    /// To end it: terminate or abandon a run.
    Delete,
    /// To say who may do what, and to see the secrets of a run.
    Manage,
}

impl Right {
    /// All of them.
    pub const ALL: [Right; 5] = [Right::Read, Right::Launch, Right::Edit, Right::Delete, Right::Manage];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Launch => "launch",
            Right::Edit => "edit",
            Right::Delete => "delete",
            Right::Manage => "manage",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Several rights. Any of them brings [`Right::Read`] with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Vec<Right>", into = "Vec<Right>")]
#[schemars(with = "Vec<Right>")]
pub struct Rights(u8);

impl Rights {
    /// Every right there is.
    pub const ALL: Rights = Rights(0b1_1111);

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// True if this right is one of them.
    #[must_use]
    pub fn has(self, right: Right) -> bool {
        self.0 & (1 << right as u8) != 0
    }

    /// These and those.
    #[must_use]
    pub fn and(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub fn within(self, other: Rights) -> Rights {
        Rights(self.0 & other.0)
    }
}

impl From<Vec<Right>> for Rights {
    fn from(all: Vec<Right>) -> Self {
        let bits = all.iter().fold(0, |bits, right| bits | 1 << *right as u8);
        // Bit 0 is `read`.
        Rights(if bits == 0 { 0 } else { bits | 1 })
    }
}

impl From<Rights> for Vec<Right> {
    fn from(rights: Rights) -> Self {
        Right::ALL.into_iter().filter(|right| rights.has(*right)).collect()
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = Vec::from(*self).into_iter().map(Right::word).collect();
        f.write_str(&if words.is_empty() { "nothing".to_owned() } else { words.join(",") })
    }
}

/// Reads `read,launch`; `all` and `nothing` are words too.
impl FromStr for Rights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => return Ok(Rights::ALL),
            "nothing" => return Ok(Rights::default()),
            _ => {}
        }
        let right = |word: &str| {
            let words = || Right::ALL.map(Right::word).join(", ");
            let found = Right::ALL.into_iter().find(|right| right.word() == word.trim());
            found.ok_or_else(|| format!("`{word}` is no right (there are: {}, all, nothing)", words()))
        };
        text.split(',').map(right).collect::<Result<Vec<_>, _>>().map(Rights::from)
    }
}

/// What is granted to others than the owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// To the members of groups, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, Rights>,
    /// To everyone who has an account.
    #[serde(default, skip_serializing_if = "Rights::is_empty")]
    pub everyone: Rights,
}

impl Grants {
    /// True where nothing is granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Grants::default()
    }

    /// Changes what is named and leaves the rest. To grant nothing takes back.
    pub fn change(&mut self, groups: &BTreeMap<String, Rights>, everyone: Option<Rights>) {
        self.groups.extend(groups.iter().map(|(group, rights)| (group.clone(), *rights)));
        self.groups.retain(|_, rights| !rights.is_empty());
        self.everyone = everyone.unwrap_or(self.everyone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_right_brings_reading_with_it_and_words_are_read_back() {
        for (text, shown) in [
            ("launch", "read,launch"),
            ("manage,edit", "read,edit,manage"),
            ("all", "read,launch,edit,delete,manage"),
            ("nothing", "nothing"),
        ] {
            let rights: Rights = text.parse().expect(text);
            assert_eq!(rights.to_string(), shown);
            let json = serde_json::to_string(&rights).expect("serializes");
            assert_eq!(serde_json::from_str::<Rights>(&json).expect("reads back"), rights);
        }
        let error = "read,lunch".parse::<Rights>().expect_err("no right");
        assert!(error.starts_with("`lunch` is no right (there are: read, launch,"), "{error}");
        assert_eq!(serde_json::to_string(&Rights::from(vec![Right::Delete])).expect("json"), r#"["read","delete"]"#);
    }

    #[test]
    fn grants_change_what_is_named_and_nothing_takes_back() {
        let rights = |text: &str| text.parse::<Rights>().expect(text);
        let mut grants = Grants::default();
        grants.change(&[("devs".to_owned(), rights("edit")), ("ops".to_owned(), rights("all"))].into(), None);
        grants.change(&[("devs".to_owned(), rights("nothing"))].into(), Some(rights("read")));
        assert_eq!(
            serde_json::to_value(&grants).expect("json"),
            serde_json::json!({
                "groups": { "ops": ["read", "launch", "edit", "delete", "manage"] }, "everyone": ["read"],
            })
        );
    }
}
