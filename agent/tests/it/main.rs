//! The agent as a whole: the real binary against a coordinator in memory.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;
mod flow;
