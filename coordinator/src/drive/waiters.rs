//! Who waits for what in one run.
//!
//! A wait is level-triggered: it is looked at when it begins and whenever one of the things it lacks
//! may have changed. A change touches only the waits on what it changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use slipstream_shared::{id::InstanceId, parameter::Key};

use crate::{
    run::{Run, value::Leaf},
    seam::Millis,
};

/// Number of a wait.
pub(super) type WaiterId = u64;

/// What is waited for.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// That a parameter has a value.
    Value(Key),
    /// That the environment of a step is complete.
    Env(InstanceId, u32),
}

/// What came of a wait.
#[derive(Debug, Clone)]
pub(super) enum Come {
    Value(String),
    Env(BTreeMap<String, String>),
}

impl Target {
    /// What it is worth now, or what it lacks.
    pub(super) fn look(&self, run: &Run) -> Result<Come, Vec<Leaf>> {
        match self {
            Target::Value(key) => run.value(key).map(Come::Value),
            Target::Env(instance, index) => run.agent_env(instance, *index).map(Come::Env),
        }
    }
}

/// One wait. `A` is how its answer gets to who asked.
#[derive(Debug)]
pub(super) struct Waiter<A> {
    pub(super) target: Target,
    pub(super) ignore_abort: bool,
    pub(super) answer: A,
    /// The instance whose script waits, for the record.
    pub(super) instance: Option<InstanceId>,
    pub(super) since: Millis,
    /// What it lacks.
    leaves: BTreeSet<Leaf>,
}

/// All waits of a run.
#[derive(Debug)]
pub(super) struct Waiters<A> {
    next: WaiterId,
    all: HashMap<WaiterId, Waiter<A>>,
    by_leaf: HashMap<Leaf, BTreeSet<WaiterId>>,
    /// Waits of instances that are on record, with how many there are of each.
    announced: BTreeSet<Announced>,
    /// How many waits are those of instances.
    of_instances: usize,
}

/// Who waits, and for what.
pub(super) type Announced = (InstanceId, String);

impl<A> Default for Waiters<A> {
    fn default() -> Self {
        Waiters { next: 0, all: HashMap::new(), by_leaf: HashMap::new(), announced: BTreeSet::new(), of_instances: 0 }
    }
}

/// A wait longer than this is put on record.
pub(super) const ANNOUNCE_AFTER: Millis = 1000;

impl<A> Waiters<A> {
    /// Adds a wait for a target that lacks `leaves`.
    pub(super) fn add(
        &mut self,
        target: Target,
        ignore_abort: bool,
        instance: Option<InstanceId>,
        since: Millis,
        leaves: Vec<Leaf>,
        answer: A,
    ) -> WaiterId {
        self.next += 1;
        self.of_instances += usize::from(instance.is_some());
        let waiter = Waiter { target, ignore_abort, answer, instance, since, leaves: BTreeSet::new() };
        self.all.insert(self.next, waiter);
        self.watch(self.next, leaves);
        self.next
    }

    fn watch(&mut self, id: WaiterId, leaves: Vec<Leaf>) {
        let Some(waiter) = self.all.get_mut(&id) else { return };
        waiter.leaves = leaves.into_iter().collect();
        for leaf in &waiter.leaves {
            self.by_leaf.entry(leaf.clone()).or_default().insert(id);
        }
    }

    fn unwatch(&mut self, id: WaiterId) {
        let Some(waiter) = self.all.get_mut(&id) else { return };
        for leaf in std::mem::take(&mut waiter.leaves) {
            if let Some(ids) = self.by_leaf.get_mut(&leaf) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_leaf.remove(&leaf);
                }
            }
        }
    }

    /// Takes a wait away.
    pub(super) fn remove(&mut self, id: WaiterId) -> Option<Waiter<A>> {
        self.unwatch(id);
        let waiter = self.all.remove(&id)?;
        self.of_instances -= usize::from(waiter.instance.is_some());
        Some(waiter)
    }

    /// Takes all waits that `which` chooses.
    pub(super) fn take(&mut self, which: impl Fn(&Waiter<A>) -> bool) -> Vec<Waiter<A>> {
        let ids: Vec<WaiterId> = self.all.iter().filter(|(_, w)| which(w)).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Looks again at the waits that any of `changed` concerns, and takes those that are over.
    pub(super) fn wake(&mut self, run: &Run, changed: &[Leaf]) -> Vec<(Waiter<A>, Come)> {
        let concerned: BTreeSet<WaiterId> =
            changed.iter().filter_map(|leaf| self.by_leaf.get(leaf)).flatten().copied().collect();
        let mut over = Vec::new();
        for id in concerned {
            let Some(waiter) = self.all.get(&id) else { continue };
            match waiter.target.look(run) {
                Ok(come) => over.extend(self.remove(id).map(|w| (w, come))),
                Err(leaves) => {
                    self.unwatch(id);
                    self.watch(id, leaves);
                }
            }
        }
        over
    }

    /// Compares what is on record with what is waited for now: waits that have become long enough to
    /// record, and recorded ones that are over.
    pub(super) fn announce(&mut self, run: &Run, now: Millis) -> (Vec<Announced>, Vec<Announced>) {
        if self.of_instances == 0 && self.announced.is_empty() {
            return (vec![], vec![]);
        }
        let mut current = BTreeSet::new();
        for waiter in self.all.values().filter(|w| w.since + ANNOUNCE_AFTER <= now) {
            let Some(instance) = &waiter.instance else { continue };
            let shown = waiter.leaves.iter().filter(|leaf| !run.is_indirect(leaf));
            current.extend(shown.map(|leaf| (instance.clone(), leaf.to_string())));
        }
        let begun = current.difference(&self.announced).cloned().collect();
        let ended = self.announced.difference(&current).cloned().collect();
        self.announced = current;
        (begun, ended)
    }

    /// When the next wait becomes long enough to record.
    pub(super) fn next_announcement(&self, now: Millis) -> Option<Millis> {
        if self.of_instances == 0 {
            return None;
        }
        let of_instances = self.all.values().filter(|w| w.instance.is_some());
        of_instances.map(|w| w.since + ANNOUNCE_AFTER).filter(|at| *at > now).min()
    }

    /// What a run read from the store has on record.
    pub(super) fn recorded(&mut self, run: &Run) {
        let of = |(id, i): (&InstanceId, &crate::run::Instance)| -> Vec<(InstanceId, String)> {
            i.waits.keys().map(|on| (id.clone(), on.clone())).collect()
        };
        self.announced = run.instances.iter().flat_map(of).collect();
    }
}
