//! Declared parameters: their type, their limits, and whether a value keeps to them.

use super::problem::Position;
use crate::{limits::Limits, parameter::ParamType, template::Template};

/// Names of types of parameters.
pub const TYPES: [&str; 11] =
    ["string", "text", "integer", "number", "boolean", "port", "enum", "size", "duration", "secret", "json"];
/// The most characters of a secret that is made up.
pub const MOST_GENERATED: u32 = 1024;

/// A parameter as a module declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamDecl {
    /// Where its name is.
    pub at: Position,
    /// Declared under `publish`, not under `params`.
    pub output: bool,
    /// What values it takes.
    pub kind: ParamType,
    /// Its value until somebody sets one.
    pub default: Option<Template>,
    /// Whether a run needs a value for it.
    pub required: bool,
    /// How many characters to make up where a secret has no value.
    pub generate: Option<u32>,
    /// What it is for.
    pub help: String,
    /// Further limits.
    pub limits: Limits,
}

impl ParamDecl {
    /// Checks a value against type and limits. The value is not part of the message: it may be private.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn check(&self, value: &str) -> Result<(), String> {
        self.limits.check(&self.kind, value).map_err(|e| e.to_string())
    }
}

/// The word for a type, with its article.
#[must_use]
pub fn type_name(kind: &ParamType) -> &'static str {
    match kind {
        ParamType::String => "a string",
        ParamType::Text => "a text",
        ParamType::Integer => "an integer",
        ParamType::Number => "a number",
        ParamType::Boolean => "a boolean",
        ParamType::Port => "a port",
        ParamType::Enum(_) => "an enum",
        ParamType::Size => "a size",
        ParamType::Duration => "a duration",
        ParamType::Secret => "a secret",
        ParamType::Json => "a JSON document",
    }
}

/// Whether every value of `source` is also one of `target`.
#[must_use]
pub fn assignable(target: &ParamType, source: &ParamType) -> bool {
    match (target, source) {
        // Whatever is made of a secret is one.
        (ParamType::Secret, _) => true,
        (_, ParamType::Secret) => false,
        (ParamType::String | ParamType::Text, _)
        | (ParamType::Number, ParamType::Integer | ParamType::Port)
        | (ParamType::Integer, ParamType::Port) => true,
        (ParamType::Enum(to), ParamType::Enum(from)) => from.iter().all(|word| to.contains(word)),
        (target, source) => target == source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_fits_when_all_its_values_do() {
        let words = |list: &[&str]| ParamType::Enum(list.iter().map(|w| (*w).to_owned()).collect());
        assert!(assignable(&ParamType::Text, &ParamType::Boolean));
        assert!(assignable(&ParamType::Number, &ParamType::Port));
        assert!(assignable(&words(&["a", "b"]), &words(&["b"])));
        assert!(!assignable(&words(&["a"]), &words(&["a", "b"])));
        assert!(!assignable(&ParamType::Port, &ParamType::Integer));
        assert!(!assignable(&ParamType::Integer, &ParamType::String));
    }
}
