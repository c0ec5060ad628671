//! The time a run lives by. It passes at the same pace as ours, whatever is done to the clock of the
//! machine: deadlines neither fire nor wait because somebody has set that.
//!
//! Records carry the time of the machine's clock, for people. Where that has left the run's own time, the
//! difference becomes an event, so that both stay known: `run time = recorded time - sum of the changes`.
//! While no coordinator runs, nobody can tell a clock that was set forward from time that has passed: it
//! counts as passed. One that was set back shows, for a run never goes back.

use slipstream_shared::event::{Author, Event};

use super::actor::{Actor, Turn};
use crate::{
    run::{Run, view::timestamp},
    seam::{Millis, Seam},
};

/// A difference up to this is not worth an event: clocks are always a little off.
const TOLERATED: u64 = 10_000;

/// The run's own time.
#[derive(Debug)]
pub(super) struct Clock {
    seam: Seam,
    /// Was this when `seam` had been for so long.
    run: Millis,
    steady: Millis,
}

impl Clock {
    /// Goes on where a run was.
    pub(super) fn new(seam: &Seam, run: &Run) -> Self {
        let now = seam.now().saturating_add_signed(run.clock.saturating_neg());
        Clock { seam: seam.clone(), run: now.max(run.changed), steady: seam.steady() }
    }

    /// Now.
    pub(super) fn now(&self) -> Millis {
        self.at(self.seam.steady())
    }

    /// The time of the run when the seam is so old.
    pub(super) fn at(&self, steady: Millis) -> Millis {
        (self.run + steady).saturating_sub(self.steady)
    }
}

impl Actor {
    /// The run's own time.
    pub(super) fn now(&self) -> Millis {
        self.clock.now()
    }

    /// The time to put on the record of an event: that of the machine's clock.
    pub(super) fn stamp(&self, event: &Event) -> jiff::Timestamp {
        let changed = if let Event::ClockChanged { millis } = event { *millis } else { 0 };
        timestamp(self.now().saturating_add_signed(self.run.clock.saturating_add(changed)))
    }

    /// Puts on record that the machine's clock was set, if it was.
    pub(super) fn compare_clocks(&mut self, turn: &mut Turn) {
        let (shown, expected) = (self.world.seam.now(), self.now().saturating_add_signed(self.run.clock));
        if shown.abs_diff(expected) <= TOLERATED || self.run.state.is_final() {
            return;
        }
        let [shown, expected] = [shown, expected].map(|t| i64::try_from(t).unwrap_or(i64::MAX));
        let millis = shown.saturating_sub(expected);
        tracing::warn!(run = %self.run.id, millis, "the clock of this machine was set");
        self.record(turn, Author::System, None, Event::ClockChanged { millis });
    }
}
