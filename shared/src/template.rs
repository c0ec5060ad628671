//! Text with references: `http://${web[1].address}:${web.port}/`.
//!
//! A reference names a parameter of another node (`${web.port}`, `${web[2].port}`, `${web[*].port}`,
//! `${web[any].port}`), of the run (`${ss.url.service}`), or of the reader itself (`${port}`).
//! `$${` stands for a literal `${`. No expressions, no loops.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{brief::brief, id::NodeName, parameter::Key};

/// Text with references, kept as it was written and parsed once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Stands for itself.
    Text(String),
    /// Is replaced by a value.
    Reference(Reference),
}

/// `${…}`: whose value, and which.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Whose.
    pub owner: Owner,
    /// The parameter's name.
    pub name: String,
}

/// Whose value a reference means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The instance that reads it (in an application's outputs: the run).
    Own,
    /// The run: `${ss.name}`.
    Run,
    /// Instances of a node.
    Node(Target),
}

/// Which instances of a node are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// The node.
    pub node: NodeName,
    /// Which of its instances.
    pub which: Which,
}

/// Selects instances of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// No brackets: the lowest live id.
    Lowest,
    /// `[2]`: that one.
    Index(u32),
    /// `[*]`: all of them, a comma list by id.
    All,
    /// `[any]`: the first one that has a value.
    Any,
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidTemplate {
    /// Where, in bytes from the beginning of the text.
    pub offset: usize,
    /// What is wrong there.
    pub reason: String,
}

impl Template {
    /// A text without references, whatever characters it has.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        let parts = if text.is_empty() { vec![] } else { vec![Part::Text(text.to_owned())] };
        Template { source: text.replace("${", "$${"), parts }
    }

    /// The pieces in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// All references in it.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|p| match p {
            Part::Reference(r) => Some(r),
            Part::Text(_) => None,
        })
    }

    /// The text, where it has no reference.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl FromStr for Template {
    type Err = InvalidTemplate;
    fn from_str(source: &str) -> Result<Self, InvalidTemplate> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find("${") {
            let offset = source.len() - rest.len() + at;
            if rest[..at].ends_with('$') {
                text.push_str(&rest[..at - 1]);
                text.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            text.push_str(&rest[..at]);
            let inside = &rest[at + 2..];
            let end = inside.find('}').ok_or_else(|| InvalidTemplate {
                offset,
                reason: "`${` without a closing `}` (write `$${` for a literal one)".to_owned(),
            })?;
            let reference = inside[..end].parse().map_err(|reason| InvalidTemplate { offset: offset + 2, reason })?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Reference(reference));
            rest = &inside[end + 1..];
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Template { source: source.to_owned(), parts })
    }
}

impl FromStr for Reference {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let own = |name: &str| check(name).map(|name| Reference { owner: Owner::Own, name });
        let Some(dot) = text.find(['.', '[']) else { return own(text) };
        let (head, tail) = text.split_at(dot);
        if head == "ss" && tail.starts_with('.') {
            return check(&tail[1..]).map(|name| Reference { owner: Owner::Run, name });
        }
        let node: NodeName = head.parse().map_err(|e: crate::id::InvalidId| e.to_string())?;
        let (which, tail) = match tail.strip_prefix('[') {
            None => (Which::Lowest, tail),
            Some(inside) => {
                let (index, tail) = inside.split_once(']').ok_or("`[` without a closing `]`")?;
                let which = match index {
                    "*" => Which::All,
                    "any" => Which::Any,
                    _ => Which::Index(
                        index
                            .parse()
                            .ok()
                            .filter(|i| *i > 0)
                            .ok_or_else(|| format!("`[{}]` is none of [1], [*], [any]", brief(index)))?,
                    ),
                };
                (which, tail)
            }
        };
        let name = tail
            .strip_prefix('.')
            .ok_or_else(|| format!("`{}` names no parameter (as in `{head}.port`)", brief(text)))?;
        check(name).map(|name| Reference { owner: Owner::Node(Target { node, which }), name })
    }
}

fn check(name: &str) -> Result<String, String> {
    format!("ss:{name}").parse::<Key>().map(|key| key.name).map_err(|e| e.to_string())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.which {
            Which::Lowest => write!(f, "{}", self.node),
            Which::Index(i) => write!(f, "{}[{i}]", self.node),
            Which::All => write!(f, "{}[*]", self.node),
            Which::Any => write!(f, "{}[any]", self.node),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Owner::Own => write!(f, "{}", self.name),
            Owner::Run => write!(f, "ss.{}", self.name),
            Owner::Node(target) => write!(f, "{target}.{}", self.name),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl TryFrom<String> for Template {
    type Error = InvalidTemplate;
    fn try_from(text: String) -> Result<Self, InvalidTemplate> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> String {
        template.source
    }
}

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let template: Template = text.parse().expect(text);
        template.references().map(ToString::to_string).collect()
    }

    #[test]
    fn references_of_every_form_are_found() {
        assert_eq!(
            shown("a ${web.port} ${web[2].url.service} ${web[*].address} ${web[any].x} ${ss.state} ${own}"),
            ["web.port", "web[2].url.service", "web[*].address", "web[any].x", "ss.state", "own"]
        );
    }

    #[test]
    fn a_doubled_dollar_is_no_reference() {
        let template: Template = "costs $${price} $5".parse().expect("valid");
        assert_eq!(template.as_literal(), Some("costs ${price} $5"));
        assert_eq!(Template::literal("${x}").as_literal(), Some("${x}"));
        assert_eq!(
            Template::literal("${x}").to_string().parse::<Template>().expect("valid").as_literal(),
            Some("${x}")
        );
    }

    #[test]
    fn errors_say_where() {
        let error = |text: &str| text.parse::<Template>().expect_err(text);
        assert_eq!(error("abc ${web.port").offset, 4);
        assert_eq!(error("ab ${web[0].x}").offset, 5);
        assert!(error("${web[1]}").reason.contains("names no parameter"));
        assert!(error("${1.x}").reason.contains("start with a letter"));
    }
}
