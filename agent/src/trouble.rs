//! One log line per change of cause, however often something is tried.

use std::{
    fmt::Display,
    io::{self, Write as _},
    time::Duration,
};

use ring::rand::{SecureRandom as _, SystemRandom};
use slipstream_shared::backoff::Backoff;

/// Writes a line to standard error, which is the journal.
pub fn say(line: impl Display) {
    // One write, so that what others write to the same console does not tear the line.
    let _ = io::stderr().write_all(format!("slipstream-agent: {line}\n").as_bytes());
}

/// A random number, for jitter.
#[must_use]
pub fn random_u32() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness a delay is as good as any other.
    let _ = SystemRandom::new().fill(&mut bytes);
    u32::from_le_bytes(bytes)
}

/// Counts the tries of one thing and says what is wrong with it.
#[derive(Debug)]
pub struct Trouble {
    what: &'static str,
    backoff: Backoff,
    attempt: u32,
    cause: Option<String>,
}

impl Trouble {
    /// For the thing `what`, as in "cannot `what`".
    #[must_use]
    pub fn new(what: &'static str, first: Duration, most: Duration) -> Self {
        Trouble { what, backoff: Backoff::new(first, most), attempt: 0, cause: None }
    }

    /// A try has failed: says so if the cause is a new one, and how long to wait before the next.
    pub fn failed(&mut self, cause: &str) -> Duration {
        self.attempt += 1;
        let delay = self.backoff.next(random_u32());
        if self.cause.as_deref() != Some(cause) {
            say(format_args!("cannot {} (try {}): {cause}; next in {} ms", self.what, self.attempt, delay.as_millis()));
            self.cause = Some(cause.to_owned());
        }
        delay
    }

    /// It works: says so if it did not before.
    pub fn over(&mut self) {
        let tries = self.forget();
        if tries > 1 {
            say(format_args!("can {} again (try {tries})", self.what));
        }
    }

    /// It works, which somebody else says: begins anew, and tells how many tries it took.
    pub fn forget(&mut self) -> u32 {
        self.cause = None;
        self.backoff.reset();
        std::mem::take(&mut self.attempt) + 1
    }
}
