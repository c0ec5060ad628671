//! How long a run may live. It is told before the end, which anybody who may terminate it can move.

use slipstream_shared::event::Event;

use super::{
    Run,
    change::Refused,
    decide::{Decision, before},
};
use crate::seam::Millis;
use serde::{Deserialize, Serialize};

/// The longest lease, in seconds: ten years.
pub const LONGEST: u64 = 10 * 365 * 24 * 3600;

/// The end of a run, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// When.
    pub end: Millis,
    /// When people are told.
    pub warn: Millis,
    /// They were.
    pub warned: bool,
}

impl Lease {
    /// One that begins now. It is told when a tenth of it is left, but at most an hour before.
    #[must_use]
    pub fn new(now: Millis, seconds: u64) -> Self {
        let length = seconds.min(LONGEST) * 1000;
        let left = (length / 10).min(3600 * 1000);
        Lease { end: now + length, warn: now + length - left, warned: false }
    }
}

impl Run {
    /// The events of another lease: so many seconds from now, or none.
    ///
    /// # Errors
    /// The run has ended or is ending, or the lease is longer than any may be.
    pub fn set_lease(&self, seconds: Option<u64>) -> Result<Vec<Event>, Refused> {
        let id = self.id.short();
        if self.state.is_final() {
            return Err(Refused::Gone(format!("run {id} has ended ({}): it has no lease any more", self.state)));
        }
        if self.terminate.is_some() || self.is_ending() {
            return Err(Refused::Gone(format!("run {id} is ending: its lease can no longer be changed")));
        }
        if seconds.is_some_and(|s| s > LONGEST) {
            return Err(Refused::Unreasonable(format!("a lease has at most {LONGEST} s (ten years)")));
        }
        Ok(vec![Event::LeaseSet { seconds }])
    }

    /// What follows from the lease.
    pub(super) fn enforce_lease(&self, now: Millis, decision: &mut Decision) {
        let Some(lease) = self.lease.as_ref().filter(|_| self.terminate.is_none() && !self.is_ending()) else { return };
        if !before(now, lease.end, decision) {
            decision.events.extend([Event::LeaseEnded, Event::TerminateRequested]);
        } else if !lease.warned && !before(now, lease.warn, decision) {
            decision.events.push(Event::LeaseEnding { seconds: (lease.end - now).div_ceil(1000) });
        }
    }
}
