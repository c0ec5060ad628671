//! What is wrong with a module file, and where.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{api::FileProblem, brief::bounded};

/// More are not reported at once: whoever has a hundred is not going to read them all.
const MOST: usize = 100;

/// The most bytes of a message, which may quote the file.
const LONGEST: usize = 400;

/// A place in a module file. Lines and columns count from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The character within the line.
    pub column: u32,
}

impl Position {
    /// The beginning of the file.
    pub const START: Position = Position { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong with a module file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The line it is on, from 1.
    pub line: u32,
    /// The character within the line, from 1.
    pub column: u32,
    /// The key it concerns, such as `nodes.web.count`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl From<&Problem> for FileProblem {
    fn from(problem: &Problem) -> Self {
        let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        FileProblem {
            line: usize::try_from(problem.line).unwrap_or(usize::MAX),
            column: usize::try_from(problem.column).unwrap_or(usize::MAX),
            message: format!("{}{hint}", problem.message),
        }
    }
}

/// Collects problems while a file is read.
#[derive(Debug, Clone, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes one.
    pub fn add(&mut self, at: Position, path: &str, message: impl Into<String>, hint: Option<String>) {
        if self.0.len() < MOST {
            self.0.push(Problem {
                line: at.line,
                column: at.column,
                path: bounded(path, LONGEST),
                message: bounded(&message.into(), LONGEST),
                hint: hint.map(|hint| bounded(&hint, LONGEST)),
            });
        }
    }

    /// Notes those that another look has found.
    pub fn extend(&mut self, others: Problems) {
        self.0.extend(others.0);
        self.0.truncate(MOST);
    }

    /// True while nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when reporting one more would be of no use.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }

    /// Those found so far, unsorted.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// All of them, in the order of the file, each once.
    #[must_use]
    pub fn sorted(mut self) -> Vec<Problem> {
        self.0.sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
        self.0.dedup();
        self.0
    }
}

/// `parent.key`, or `key` at the top.
pub(super) fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_print_with_place_and_hint_in_the_order_of_the_file() {
        let mut problems = Problems::default();
        problems.add(Position { line: 7, column: 3 }, "b", "second", None);
        problems.add(Position { line: 2, column: 9 }, "a", "first", Some("do this".to_owned()));
        problems.add(Position { line: 7, column: 3 }, "b", "second", None);
        let shown: Vec<String> = problems.sorted().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["2:9: first (do this)", "7:3: second"]);
    }

    #[test]
    fn over_the_wire_the_hint_is_part_of_the_message() {
        let (path, message) = ("a".to_owned(), "wrong".to_owned());
        let problem = Problem { line: 2, column: 9, path, message, hint: Some("do this".to_owned()) };
        let sent = FileProblem::from(&problem);
        assert_eq!((sent.line, sent.column, sent.message.as_str()), (2, 9, "wrong (do this)"));
    }

    #[test]
    fn a_hundred_are_enough() {
        let mut problems = Problems::default();
        for line in 0..1000 {
            problems.add(Position { line, column: 1 }, "", "bad", None);
        }
        assert!(problems.is_full());
        assert_eq!(problems.sorted().len(), MOST);
    }
}
