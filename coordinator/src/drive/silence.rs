//! Notices agents of which nothing is heard: a link that is gone, or on which nothing comes.
//!
//! Each line that comes from an agent moves a number of its link, without a message to the actor; the actor
//! looks at those numbers when one may have become too old. On record is only that an agent has fallen
//! silent and that it is heard again. Nothing is known of the time before the actor was started: after a
//! restart of the coordinator all agents have the whole time to come back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use slipstream_shared::{
    event::{Author, Event},
    id::InstanceId,
    link::HEARTBEAT_SECONDS,
};

use super::actor::{Actor, Turn};
use crate::seam::{Millis, Seam};

/// An agent of which nothing was heard for so long is silent.
pub const SILENT_AFTER: Millis = 3 * HEARTBEAT_SECONDS * 1000;

/// How often silent agents are looked at.
const LOOK_AGAIN: Millis = HEARTBEAT_SECONDS * 1000;

/// When an agent was heard last. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    seam: Seam,
    at: Arc<AtomicU64>,
}

impl Heard {
    fn new(seam: &Seam) -> Self {
        Heard { seam: seam.clone(), at: Arc::new(AtomicU64::new(seam.steady())) }
    }

    /// It is heard.
    pub(super) fn now(&self) {
        self.at.store(self.seam.steady(), Ordering::Relaxed);
    }
}

/// Who was heard when, by the seam's steady time.
#[derive(Debug)]
pub(super) struct Silence {
    /// Before this nobody listened.
    began: Millis,
    heard: BTreeMap<InstanceId, Heard>,
    /// When to look.
    next: Option<Millis>,
}

impl Silence {
    pub(super) fn new(seam: &Seam) -> Self {
        let began = seam.steady();
        Silence { began, heard: BTreeMap::new(), next: Some(began) }
    }

    /// An agent is heard, on a new link or for the first time.
    pub(super) fn begin(&mut self, id: &InstanceId, seam: &Seam) -> Heard {
        let heard = Heard::new(seam);
        self.heard.insert(id.clone(), heard.clone());
        self.next = Some(0);
        heard
    }

    /// Its machine has begun to run again: its agent has the whole time to come back, and may be back already.
    pub(super) fn begin_again(&mut self, id: &InstanceId, seam: &Seam) {
        match self.heard.get(id) {
            Some(heard) => heard.now(),
            None => drop(self.begin(id, seam)),
        }
        self.next = Some(0);
    }

    fn last(&self, id: &InstanceId) -> Millis {
        self.heard.get(id).map_or(self.began, |heard| heard.at.load(Ordering::Relaxed))
    }
}

impl Actor {
    /// When silence is to be looked for, in the run's own time.
    pub(super) fn next_silence(&self) -> Option<Millis> {
        self.silence.next.map(|steady| self.clock.at(steady))
    }

    /// Puts on record who has fallen silent and who is heard again.
    pub(super) fn notice_silence(&mut self, turn: &mut Turn) {
        let now = self.world.seam.steady();
        if self.silence.next.is_none_or(|next| next > now) {
            return;
        }
        self.silence.next = None;
        if self.run.is_ending() {
            return;
        }
        let mut changed = Vec::new();
        for (id, instance) in self.run.instances.iter().filter(|(_, i)| i.should_be_heard()) {
            let due = self.silence.last(id) + SILENT_AFTER;
            let booting = due <= now && self.run.is_booting(id, instance);
            if !booting && (due <= now) != instance.silent.is_some() {
                changed.push((id.clone(), instance.attempt));
            }
            let look = if due <= now { now + LOOK_AGAIN } else { due };
            self.silence.next = Some(self.silence.next.map_or(look, |next| next.min(look)));
        }
        for (instance, attempt) in changed {
            let event = if self.run.is_silent(&instance) {
                Event::InstanceHeard { instance, attempt }
            } else {
                Event::InstanceSilent { instance, attempt }
            };
            self.record(turn, Author::System, None, event);
        }
    }
}
