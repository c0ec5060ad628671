//! Who waits for what in one run.
//!
//! A wait is level-triggered: it is looked at when it begins and whenever one of the things it lacks
//! may have changed. A change touches only the waits on what it changed.

use std::collections::{BTreeMap, BTreeSet};

use slipstream_shared::{
    api::WaitAnswer,
    id::InstanceId,
    meeting::{Leader, MeetingName},
    parameter::Key,
};

use super::meeting::{look_at_barrier, look_at_lead};
use crate::{
    planted::Bug,
    run::{Run, condition::Wanted, expand::reason, value::Leaf},
    seam::Millis,
};

/// A wait longer than this is put on record.
pub(super) const ANNOUNCE_AFTER: Millis = 1000;

/// Number of a wait.
pub(super) type WaiterId = u64;

/// What is waited for.
#[derive(Debug)]
pub(super) enum Target {
    /// That a parameter has a value, for a script that may read it.
    Value(Key),
    /// That the environment of a step is complete.
    Env(InstanceId, u32),
    /// That conditions hold, all at the same time.
    Conditions(Vec<Wanted>),
    /// That a barrier opens.
    Barrier(MeetingName),
    /// That an instance leads.
    Lead(MeetingName, Leader, Option<u64>),
}

/// What came of a wait.
#[derive(Debug, Clone)]
pub(super) enum Come {
    /// With its revision.
    Value(String, u64),
    Env(BTreeMap<String, String>),
    /// With the parameters of the conditions, for who wants them.
    Met(WaitAnswer),
    /// With its number.
    Leads(u64),
    /// It never will, and why.
    Broken(String),
}

impl Target {
    /// What it is worth now, or what it lacks. `full`: with the values it is about.
    fn look(&self, run: &Run, full: bool) -> Result<Come, Vec<Leaf>> {
        self.found(run, full).or_else(|leaves| match reason(&leaves) {
            Some(reason) => Ok(Come::Broken(reason.to_owned())),
            None => Err(leaves),
        })
    }

    fn found(&self, run: &Run, full: bool) -> Result<Come, Vec<Leaf>> {
        match self {
            Target::Value(key) => {
                run.clear_value(key).map(|value| Come::Value(value, run.stored(key).map_or(0, |s| s.revision)))
            }
            Target::Env(instance, index) => run.agent_env(instance, *index).map(Come::Env),
            Target::Conditions(wanted) => run.hold(wanted).map(|()| {
                let parameters = if full { run.parameters_of(wanted) } else { vec![] };
                Come::Met(WaitAnswer { seq: run.seq, parameters })
            }),
            Target::Barrier(name) => look_at_barrier(run, name),
            Target::Lead(name, by, _) => look_at_lead(run, name, by),
        }
    }

    /// What it lacks, for people.
    fn shown(&self, run: &Run, leaves: &BTreeSet<Leaf>) -> Vec<String> {
        match self {
            Target::Value(_) | Target::Env(..) | Target::Barrier(_) | Target::Lead(..) => {
                leaves.iter().filter(|leaf| !run.is_indirect(leaf)).map(ToString::to_string).collect()
            }
            Target::Conditions(wanted) => run.failing(wanted).map(|one| one.condition.brief()).collect(),
        }
    }
}

/// Who asked, where that is a script in a machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asker {
    pub(super) instance: InstanceId,
    /// Its agent's number of the question.
    pub(super) number: u64,
}

/// One wait. `A` is how its answer gets to who asked.
#[derive(Debug)]
pub(super) struct Waiter<A> {
    target: Target,
    pub(super) ignore_abort: bool,
    pub(super) answer: A,
    asker: Option<Asker>,
    since: Millis,
    /// What it lacks.
    leaves: BTreeSet<Leaf>,
    /// The same for people, once it is long enough to be put on record.
    shown: Option<Vec<String>>,
}

/// All waits of a run.
#[derive(Debug)]
pub(super) struct Waiters<A> {
    next: WaiterId,
    all: BTreeMap<WaiterId, Waiter<A>>,
    by_leaf: BTreeMap<Leaf, BTreeSet<WaiterId>>,
    by_asker: BTreeMap<InstanceId, BTreeMap<u64, WaiterId>>,
    record: Announcements,
}

/// Who waits, and for what.
pub(super) type Announced = (InstanceId, String);

impl<A> Default for Waiters<A> {
    fn default() -> Self {
        Waiters {
            next: 0,
            all: BTreeMap::new(),
            by_leaf: BTreeMap::new(),
            by_asker: BTreeMap::new(),
            record: Announcements::default(),
        }
    }
}

/// The most waits of the scripts of one machine. Less than what may be under way to its agent, or ending
/// all of them at once would break its link.
pub(super) const MOST: usize = 10_000;

impl<A> Waiters<A> {
    /// Begins a wait. An answer at once is given back with who wants it.
    pub(super) fn begin(
        &mut self,
        run: &Run,
        target: Target,
        ignore_abort: bool,
        asker: Option<Asker>,
        now: Millis,
        answer: A,
    ) -> Result<WaiterId, (A, Come)> {
        let leaves = match target.look(run, asker.is_none()) {
            Ok(come) => return Err((answer, come)),
            Err(leaves) => leaves,
        };
        self.next += 1;
        let id = self.next;
        if let Some(asker) = &asker {
            self.by_asker.entry(asker.instance.clone()).or_default().insert(asker.number, id);
            self.record.pending.insert((now, id));
        }
        let waiter = Waiter { target, ignore_abort, answer, asker, since: now, leaves: BTreeSet::new(), shown: None };
        self.all.insert(id, waiter);
        self.watch(run, id, leaves);
        Ok(id)
    }

    /// Who has waited longest for a lead, and for how many seconds a program wants it.
    pub(super) fn next_leader(&self, name: &MeetingName) -> Option<(&Leader, Option<u64>)> {
        let ids = self.by_leaf.get(&Leaf::Lead(name.clone()))?;
        ids.iter().find_map(|id| match &self.all.get(id)?.target {
            Target::Lead(_, by, seconds) => Some((by, *seconds)),
            _ => None,
        })
    }

    /// How many waits the scripts of an instance have.
    pub(super) fn of(&self, instance: &InstanceId) -> usize {
        self.by_asker.get(instance).map_or(0, BTreeMap::len)
    }

    fn watch(&mut self, run: &Run, id: WaiterId, leaves: Vec<Leaf>) {
        let Some(waiter) = self.all.get_mut(&id) else { return };
        waiter.leaves = leaves.into_iter().collect();
        for leaf in &waiter.leaves {
            self.by_leaf.entry(leaf.clone()).or_default().insert(id);
        }
        if let (Some(asker), Some(old)) = (&waiter.asker, &mut waiter.shown) {
            let new = waiter.target.shown(run, &waiter.leaves);
            self.record.forget(&asker.instance, old);
            self.record.note(&asker.instance, &new);
            *old = new;
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
        if let Some(Asker { instance, number }) = &waiter.asker {
            self.record.pending.remove(&(waiter.since, id));
            self.record.forget(instance, waiter.shown.as_deref().unwrap_or_default());
            // The number may be that of a later question already.
            if let Some(numbers) = self.by_asker.get_mut(instance)
                && numbers.get(number) == Some(&id)
            {
                numbers.remove(number);
            }
        }
        Some(waiter)
    }

    /// Takes the wait of one question away.
    pub(super) fn withdraw(&mut self, instance: &InstanceId, number: u64) {
        let id = self.by_asker.get(instance).and_then(|numbers| numbers.get(&number)).copied();
        id.map(|id| self.remove(id));
    }

    /// Takes all waits of the scripts of an instance away.
    pub(super) fn withdraw_all(&mut self, instance: &InstanceId) {
        let numbers = self.by_asker.remove(instance).unwrap_or_default();
        for id in numbers.into_values() {
            self.remove(id);
        }
    }

    /// Takes all waits that `which` chooses.
    pub(super) fn take(&mut self, which: impl Fn(&Waiter<A>) -> bool) -> Vec<Waiter<A>> {
        let ids: Vec<WaiterId> = self.all.iter().filter(|(_, w)| which(w)).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Takes all waits at barriers: the arrivals that were to be recorded with them may not have been.
    pub(super) fn take_barriers(&mut self) -> Vec<Waiter<A>> {
        self.take(|waiter| matches!(waiter.target, Target::Barrier(_)))
    }

    /// Looks again at the waits that any of `changed` concerns, and takes those that are over.
    pub(super) fn wake(&mut self, run: &Run, changed: &[Leaf]) -> Vec<(Waiter<A>, Come)> {
        let mut concerned: BTreeSet<WaiterId> =
            changed.iter().filter_map(|leaf| self.by_leaf.get(leaf)).flatten().copied().collect();
        if Bug::LostWakeUp.is_planted() && concerned.len() > 1 {
            concerned.pop_last();
        }
        let mut over = Vec::new();
        for id in concerned {
            let Some(waiter) = self.all.get(&id) else { continue };
            match waiter.target.look(run, waiter.asker.is_none()) {
                Ok(come) => over.extend(self.remove(id).map(|w| (w, come))),
                Err(leaves) => {
                    self.unwatch(id);
                    self.watch(run, id, leaves);
                }
            }
        }
        over
    }

    /// Compares what is on record with what is waited for now: waits that have become long enough to
    /// record, and recorded ones that are over.
    pub(super) fn announce(&mut self, run: &Run, now: Millis) -> (Vec<Announced>, Vec<Announced>) {
        while let Some((since, id)) = self.record.pending.first().copied().filter(|(at, _)| at + ANNOUNCE_AFTER <= now)
        {
            self.record.pending.remove(&(since, id));
            let Some(waiter) = self.all.get_mut(&id) else { continue };
            let Some(asker) = &waiter.asker else { continue };
            let shown = waiter.target.shown(run, &waiter.leaves);
            self.record.note(&asker.instance, &shown);
            waiter.shown = Some(shown);
        }
        self.record.changes()
    }

    /// When the next wait becomes long enough to record.
    pub(super) fn next_announcement(&self) -> Option<Millis> {
        self.record.pending.first().map(|(since, _)| since + ANNOUNCE_AFTER)
    }

    /// What a run read from the store has on record.
    pub(super) fn recorded(&mut self, run: &Run) {
        let of = |(id, i): (&InstanceId, &crate::run::Instance)| -> Vec<Announced> {
            i.waits.keys().map(|on| (id.clone(), on.clone())).collect()
        };
        self.record.recorded(run.instances.iter().flat_map(of).collect());
    }
}

/// The waits on record, and what has changed since they were compared.
#[derive(Debug, Default)]
struct Announcements {
    /// Waits that are not long enough yet.
    pending: BTreeSet<(Millis, WaiterId)>,
    /// How many wait for the same.
    counts: BTreeMap<Announced, usize>,
    on_record: BTreeSet<Announced>,
    touched: BTreeSet<Announced>,
}

impl Announcements {
    fn note(&mut self, instance: &InstanceId, shown: &[String]) {
        for on in shown {
            let key = (instance.clone(), on.clone());
            *self.counts.entry(key.clone()).or_default() += 1;
            self.touched.insert(key);
        }
    }

    fn forget(&mut self, instance: &InstanceId, shown: &[String]) {
        for on in shown {
            let key = (instance.clone(), on.clone());
            if let Some(count) = self.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&key);
                }
            }
            self.touched.insert(key);
        }
    }

    fn recorded(&mut self, on_record: BTreeSet<Announced>) {
        self.touched.extend(on_record.iter().chain(self.counts.keys()).cloned());
        self.on_record = on_record;
    }

    /// Begun and ended.
    fn changes(&mut self) -> (Vec<Announced>, Vec<Announced>) {
        let (mut begun, mut ended) = (vec![], vec![]);
        for key in std::mem::take(&mut self.touched) {
            match self.counts.contains_key(&key) {
                true if self.on_record.insert(key.clone()) => begun.push(key),
                false if self.on_record.remove(&key) => ended.push(key),
                _ => {}
            }
        }
        (begun, ended)
    }
}
