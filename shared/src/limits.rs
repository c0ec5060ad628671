//! Limits that a module sets for the values of a parameter, beside its type.
//!
//! The only place that checks them: the reader of modules, the launch, and every write of a run come here.

use std::cmp::Ordering;

use regex_lite::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    module::units,
    parameter::{InvalidValue, ParamType},
};

/// The most memory a compiled pattern may take. Matching takes at most the product of this and the size of
/// the value, and a run does nothing else meanwhile.
const PATTERN_BYTES: usize = 32 * 1024;

/// Limits of the values of a parameter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// The smallest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// The largest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// A regular expression the whole value matches.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

impl Limits {
    /// True where there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Limits::default()
    }

    /// Checks a value against the type and these limits.
    ///
    /// # Errors
    /// Says what was expected; the value itself is never part of the message.
    pub fn check(&self, kind: &ParamType, value: &str) -> Result<(), InvalidValue> {
        kind.check(value)?;
        let beyond = |limit: &Option<String>, side| {
            limit.clone().filter(|limit| compare(kind, value, limit).is_some_and(|found| found == side))
        };
        if let Some(min) = beyond(&self.min, Ordering::Less) {
            return Err(InvalidValue::TooSmall { min });
        }
        if let Some(max) = beyond(&self.max, Ordering::Greater) {
            return Err(InvalidValue::TooLarge { max });
        }
        match &self.pattern {
            Some(text) if !pattern(text).is_ok_and(|regex| regex.is_match(value)) => {
                Err(InvalidValue::NoMatch { pattern: text.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// True for types whose values have an order.
#[must_use]
pub fn is_ordered(kind: &ParamType) -> bool {
    matches!(kind, ParamType::Integer | ParamType::Number | ParamType::Port | ParamType::Size | ParamType::Duration)
}

/// Orders two values of an ordered type; whole numbers exactly.
#[must_use]
pub fn compare(kind: &ParamType, a: &str, b: &str) -> Option<Ordering> {
    match kind {
        ParamType::Size => Some(units::size(a).ok()?.cmp(&units::size(b).ok()?)),
        ParamType::Duration => Some(units::duration(a).ok()?.cmp(&units::duration(b).ok()?)),
        _ => match (a.parse::<i64>(), b.parse::<i64>()) {
            (Ok(a), Ok(b)) => Some(a.cmp(&b)),
            _ => a.parse::<f64>().ok()?.partial_cmp(&b.parse().ok()?),
        },
    }
}

/// Compiles the pattern of a parameter: it is matched against whole values.
///
/// # Errors
/// Says what is wrong with it.
pub fn pattern(text: &str) -> Result<Regex, String> {
    // Alone first: `a)|(b` is none, though between the brackets below it would be.
    RegexBuilder::new(text).size_limit(PATTERN_BYTES).build().map_err(|e| e.to_string())?;
    let whole = RegexBuilder::new(&format!("^(?:{text})$")).size_limit(PATTERN_BYTES).build();
    whole.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(min: Option<&str>, max: Option<&str>, pattern: Option<&str>) -> Limits {
        Limits { min: min.map(str::to_owned), max: max.map(str::to_owned), pattern: pattern.map(str::to_owned) }
    }

    fn says(limits: &Limits, kind: &ParamType, value: &str) -> String {
        limits.check(kind, value).map_or_else(|e| e.to_string(), |()| "fits".to_owned())
    }

    #[test]
    fn limits_hold() {
        let number = limits(Some("-1.5"), Some("10"), None);
        for (value, said) in [
            ("10", "fits"),
            ("10.01", "the value is more than 10"),
            ("-2", "the value is less than -1.5"),
            ("ten", "the value is not a number"),
        ] {
            assert_eq!(says(&number, &ParamType::Number, value), said, "{value}");
        }
        let large = limits(None, Some("9007199254740993"), None);
        assert_eq!(says(&large, &ParamType::Integer, "9007199254740993"), "fits");
        assert_eq!(
            says(&large, &ParamType::Integer, "9007199254740994"),
            "the value is more than 9007199254740993",
            "beyond what a float can tell apart"
        );
        let size = limits(Some("1GiB"), Some("2000MiB"), None);
        assert_eq!(says(&size, &ParamType::Size, "1024MiB"), "fits");
        assert_eq!(says(&size, &ParamType::Size, "2GiB"), "the value is more than 2000MiB");
        let time = limits(Some("90s"), None, None);
        assert_eq!(says(&time, &ParamType::Duration, "1m30s"), "fits");
        assert_eq!(says(&time, &ParamType::Duration, "1m"), "the value is less than 90s");
    }

    #[test]
    fn a_pattern_is_about_the_whole_value_and_bounded() {
        let word = limits(None, None, Some("a|bc"));
        assert_eq!(says(&word, &ParamType::String, "bc"), "fits");
        assert_eq!(says(&word, &ParamType::String, "abc"), "the value does not match `a|bc`");
        assert!(pattern("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?").is_ok(), "a host name");
        for bad in ["(", "a)|(b", "((a{99}){99}){99}"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }
}
