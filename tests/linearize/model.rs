//! What one parameter promises: a register whose revision grows with each write.
//!
//! A write does not tell its revision (the answer to a REST write is a read that follows it), so the model
//! knows of a register only that its revision is at least some number, until somebody sees it.

/// What somebody did with a parameter, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// It was read, and this was there.
    Read { revision: u64, value: Option<String> },
    /// It was written, or its value taken away.
    Write { value: Option<String> },
    /// It was written on the condition that it has that revision, and it had.
    Swap { expected: u64, value: Option<String> },
    /// The same, but it had another one; which one, if that was said.
    Missed { expected: u64, revision: Option<u64> },
    /// Somebody waited for this, and was told that it holds.
    Held(Test),
}

/// What was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    /// It has a value.
    Set,
    /// It has this value.
    Equals(String),
    /// It was written later than that.
    Newer(u64),
}

impl Test {
    /// Whether it holds for a parameter.
    pub(crate) fn holds(&self, revision: u64, value: Option<&str>) -> bool {
        match self {
            Test::Set => value.is_some(),
            Test::Equals(text) => value == Some(text),
            Test::Newer(than) => revision > *than,
        }
    }
}

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Register {
    /// Its revision, or the least it can have.
    least: u64,
    /// Whether that is its revision.
    exact: bool,
    value: Option<String>,
}

impl Register {
    /// One that nobody has written.
    pub(crate) fn new() -> Self {
        Register { least: 0, exact: true, value: None }
    }

    /// The register after `act`, if that can be what happened now.
    pub(crate) fn apply(&self, act: &Act) -> Option<Self> {
        match act {
            Act::Read { revision, value } => self.seen(*revision).filter(|seen| seen.value == *value),
            Act::Write { value } => Some(self.written(value)),
            Act::Swap { expected, value } => Some(self.seen(*expected)?.written(value)),
            Act::Missed { expected, revision: Some(revision) } => self.seen(*revision).filter(|_| revision != expected),
            Act::Missed { expected, revision: None } => (!self.exact || self.least != *expected).then(|| self.clone()),
            Act::Held(Test::Newer(than)) if self.exact => (self.least > *than).then(|| self.clone()),
            Act::Held(Test::Newer(than)) => Some(Register { least: self.least.max(than + 1), ..self.clone() }),
            Act::Held(test) => test.holds(0, self.value.as_deref()).then(|| self.clone()),
        }
    }

    /// The register, if its revision can be that one.
    fn seen(&self, revision: u64) -> Option<Self> {
        let can_be = if self.exact { self.least == revision } else { self.least <= revision };
        can_be.then(|| Register { least: revision, exact: true, value: self.value.clone() })
    }

    fn written(&self, value: &Option<String>) -> Self {
        Register { least: self.least + 1, exact: false, value: value.clone() }
    }
}
