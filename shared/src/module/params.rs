//! Declared parameters: their type, their limits, and whether a value keeps to them.

use std::cmp::Ordering;

use super::problem::Position;
use crate::{
    parameter::{InvalidValue, ParamType},
    template::Template,
};

/// Names of types of parameters.
pub const TYPES: [&str; 7] = ["string", "text", "integer", "number", "boolean", "port", "enum"];
/// Types of the format that this version does not have.
pub const LATER_TYPES: [&str; 4] = ["secret", "size", "duration", "json"];

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
    /// What it is for.
    pub help: String,
    /// Further limits.
    pub limits: Limits,
}

/// Limits of the values of an input. They hold for values in modules and at launch; what scripts set
/// later is checked against the type alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The smallest value.
    pub min: Option<String>,
    /// The largest value.
    pub max: Option<String>,
    /// A regular expression the whole value matches.
    pub pattern: Option<String>,
}

impl ParamDecl {
    /// Checks a value against type and limits. The value is not part of the message: it may be private.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn check(&self, value: &str) -> Result<(), String> {
        self.kind.check(value).map_err(|e: InvalidValue| e.to_string())?;
        let beyond = |limit: &Option<String>, side| limit.as_deref().is_some_and(|l| compare(value, l) == Some(side));
        if beyond(&self.limits.min, Ordering::Less) {
            return Err(format!("the value is less than {}", self.limits.min.as_deref().unwrap_or_default()));
        }
        if beyond(&self.limits.max, Ordering::Greater) {
            return Err(format!("the value is more than {}", self.limits.max.as_deref().unwrap_or_default()));
        }
        match &self.limits.pattern {
            Some(pattern) if !matches_whole(pattern, value) => Err(format!("the value does not match `{pattern}`")),
            _ => Ok(()),
        }
    }

    /// True for types whose values have an order.
    #[must_use]
    pub fn is_numeric(&self) -> bool {
        matches!(self.kind, ParamType::Integer | ParamType::Number | ParamType::Port)
    }
}

/// Orders two numbers as written; whole ones exactly.
pub(super) fn compare(a: &str, b: &str) -> Option<Ordering> {
    match (a.parse::<i64>(), b.parse::<i64>()) {
        (Ok(a), Ok(b)) => Some(a.cmp(&b)),
        _ => a.parse::<f64>().ok()?.partial_cmp(&b.parse().ok()?),
    }
}

fn matches_whole(pattern: &str, value: &str) -> bool {
    // The pattern was compiled when the module was read; one that no longer compiles refuses everything.
    regex_lite::Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(value))
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
    }
}

/// Whether every value of `source` is also one of `target`.
#[must_use]
pub fn assignable(target: &ParamType, source: &ParamType) -> bool {
    match (target, source) {
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

    fn declared(kind: ParamType, limits: Limits) -> ParamDecl {
        ParamDecl {
            at: Position::START,
            output: false,
            kind,
            default: None,
            required: false,
            help: String::new(),
            limits,
        }
    }

    #[test]
    fn limits_hold() {
        let some = |text: &str| Some(text.to_owned());
        let number = declared(ParamType::Number, Limits { min: some("-1.5"), max: some("10"), pattern: None });
        assert_eq!(number.check("10"), Ok(()));
        assert_eq!(number.check("10.01"), Err("the value is more than 10".to_owned()));
        assert_eq!(number.check("-2"), Err("the value is less than -1.5".to_owned()));
        assert_eq!(number.check("ten"), Err("the value is not a number".to_owned()));
        let large = declared(ParamType::Integer, Limits { max: some("9007199254740993"), ..Limits::default() });
        assert!(large.check("9007199254740993").is_ok());
        assert!(large.check("9007199254740994").is_err(), "beyond what a float can tell apart");
        let word = declared(ParamType::String, Limits { pattern: some("a|bc"), ..Limits::default() });
        assert_eq!(word.check("bc"), Ok(()));
        assert_eq!(word.check("abc"), Err("the value does not match `a|bc`".to_owned()));
    }

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
