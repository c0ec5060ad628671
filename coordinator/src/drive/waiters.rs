//! Who waits for what in one run.
//!
//! A wait is level-triggered: it is looked at when it begins and whenever one of the things it lacks
//! may have changed. A change touches only the waits on what it changed, and those that wait for the same thing
//! are looked at once for all: a thousand machines that wait for one value cost one look.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use slipstream_shared::{
    id::InstanceId,
    meeting::{Leader, MeetingName},
};

use super::{
    actor::Answer,
    announce::{ANNOUNCE_AFTER, Announced, Announcements},
    question::{Asked, Come, Target},
};
use crate::{
    planted::Bug,
    run::{Run, value::Leaf},
    seam::Millis,
};

/// Number of a wait.
pub(super) type WaiterId = u64;

/// Gives numbers to waits. Clones give no number twice: so who asks from outside knows its number beforehand, and can
/// take the question back without having been told.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers(Arc<AtomicU64>);

impl Numbers {
    pub(super) fn next(&self) -> WaiterId {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Number of what some wait for. Smaller ones were asked for earlier.
type QuestionId = u64;

/// Who asked, where that is a script in a machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asker {
    pub(super) instance: InstanceId,
    /// Its agent's number of the question.
    pub(super) number: u64,
}

/// One wait.
#[derive(Debug)]
pub(super) struct Waiter {
    question: QuestionId,
    pub(super) ignore_abort: bool,
    pub(super) answer: Answer,
    since: Millis,
    /// It is long enough to be on record.
    announced: bool,
}

/// What some wait for.
#[derive(Debug)]
struct Question {
    asked: Arc<Asked>,
    /// What it lacks, each thing once.
    leaves: Vec<Leaf>,
    waiters: BTreeSet<WaiterId>,
    /// What it lacks for people, once one of its waits is long enough to be on record.
    shown: Option<Vec<String>>,
}

/// All waits of a run.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    numbers: Numbers,
    next: QuestionId,
    all: BTreeMap<WaiterId, Waiter>,
    questions: BTreeMap<QuestionId, Question>,
    /// Those that others may join.
    alike: HashMap<Arc<Asked>, QuestionId>,
    by_leaf: BTreeMap<Leaf, BTreeSet<QuestionId>>,
    by_asker: BTreeMap<InstanceId, BTreeMap<u64, WaiterId>>,
    record: Announcements,
}

/// The most waits of the scripts of one machine. Less than what may be under way to its agent, or ending
/// all of them at once would break its link.
pub(super) const MOST: usize = 10_000;

impl Waiters {
    /// For those who ask from outside.
    pub(super) fn numbers(&self) -> Numbers {
        self.numbers.clone()
    }

    /// Begins a wait. An answer at once is given back with who wants it.
    pub(super) fn begin(
        &mut self,
        run: &Run,
        target: Target,
        ignore_abort: bool,
        now: Millis,
        answer: Answer,
    ) -> Result<WaiterId, (Answer, Come)> {
        let asked = Asked { target, full: answer.asker().is_none() };
        let leaves = match asked.look(run) {
            Ok(come) => return Err((answer, come)),
            Err(leaves) => leaves,
        };
        let id = match &answer {
            Answer::User(id, _) => *id,
            Answer::Agent(Asker { instance, number }) => {
                let id = self.numbers.next();
                self.by_asker.entry(instance.clone()).or_default().insert(*number, id);
                self.record.pending.insert((now, id));
                id
            }
        };
        let question = match self.alike.get(&asked) {
            Some(question) => *question,
            None => self.ask(run, asked, leaves),
        };
        if let Some(question) = self.questions.get_mut(&question) {
            question.waiters.insert(id);
        }
        self.all.insert(id, Waiter { question, ignore_abort, answer, since: now, announced: false });
        Ok(id)
    }

    fn ask(&mut self, run: &Run, asked: Asked, leaves: Vec<Leaf>) -> QuestionId {
        self.next += 1;
        let asked = Arc::new(asked);
        if asked.is_shared() {
            self.alike.insert(Arc::clone(&asked), self.next);
        }
        let question = Question { asked, leaves: vec![], waiters: BTreeSet::new(), shown: None };
        self.questions.insert(self.next, question);
        self.watch(run, self.next, leaves);
        self.next
    }

    /// Who has waited longest for a lead, and for how many seconds a program wants it.
    pub(super) fn next_leader(&self, name: &MeetingName) -> Option<(&Leader, Option<u64>)> {
        let ids = self.by_leaf.get(&Leaf::Lead(name.clone()))?;
        ids.iter().find_map(|id| match &self.questions.get(id)?.asked.target {
            Target::Lead(_, by, seconds) => Some((by, *seconds)),
            _ => None,
        })
    }

    /// How many waits the scripts of an instance have.
    pub(super) fn of(&self, instance: &InstanceId) -> usize {
        self.by_asker.get(instance).map_or(0, BTreeMap::len)
    }

    /// Files a question under what it lacks now.
    fn watch(&mut self, run: &Run, id: QuestionId, mut leaves: Vec<Leaf>) {
        leaves.sort_unstable();
        leaves.dedup();
        leaves.shrink_to_fit();
        self.unwatch(id);
        let Some(question) = self.questions.get_mut(&id) else { return };
        for leaf in &leaves {
            self.by_leaf.entry(leaf.clone()).or_default().insert(id);
        }
        question.leaves = leaves;
        let Some(old) = &mut question.shown else { return };
        let new = question.asked.shown(run, &question.leaves);
        for waiter in question.waiters.iter().filter_map(|id| self.all.get(id)).filter(|waiter| waiter.announced) {
            if let Some(asker) = waiter.answer.asker() {
                self.record.forget(&asker.instance, old);
                self.record.note(&asker.instance, &new);
            }
        }
        *old = new;
    }

    fn unwatch(&mut self, id: QuestionId) {
        let Some(question) = self.questions.get_mut(&id) else { return };
        for leaf in std::mem::take(&mut question.leaves) {
            if let Some(ids) = self.by_leaf.get_mut(&leaf) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_leaf.remove(&leaf);
                }
            }
        }
    }

    /// Takes a wait away.
    pub(super) fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let waiter = self.all.remove(&id)?;
        let question = self.questions.get_mut(&waiter.question);
        if let Some(Asker { instance, number }) = waiter.answer.asker() {
            if waiter.announced {
                let shown = question.as_ref().and_then(|question| question.shown.as_deref());
                self.record.forget(instance, shown.unwrap_or_default());
            } else {
                self.record.pending.remove(&(waiter.since, id));
            }
            // The number may be that of a later question already.
            if let Some(numbers) = self.by_asker.get_mut(instance)
                && numbers.get(number) == Some(&id)
            {
                numbers.remove(number);
            }
        }
        if let Some(question) = question {
            question.waiters.remove(&id);
            if question.waiters.is_empty() {
                self.unwatch(waiter.question);
                let over = self.questions.remove(&waiter.question);
                over.map(|question| self.alike.remove(&question.asked));
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
    pub(super) fn take(&mut self, which: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        let ids: Vec<WaiterId> = self.all.iter().filter(|(_, w)| which(w)).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Takes all waits at barriers: the arrivals that were to be recorded with them may not have been.
    pub(super) fn take_barriers(&mut self) -> Vec<Waiter> {
        let at_barriers = self.questions.values().filter(|q| matches!(q.asked.target, Target::Barrier(_)));
        let ids: Vec<WaiterId> = at_barriers.flat_map(|question| &question.waiters).copied().collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Looks again at the questions that any of `changed` concerns, and takes the waits that are over.
    pub(super) fn wake(&mut self, run: &Run, changed: &[Leaf]) -> Vec<(Waiter, Come)> {
        let concerned: BTreeSet<QuestionId> =
            changed.iter().filter_map(|leaf| self.by_leaf.get(leaf)).flatten().copied().collect();
        let forgotten = if Bug::LostWakeUp.is_planted() { self.last_of_several(&concerned) } else { None };
        let mut over = Vec::new();
        for id in concerned {
            let Some(question) = self.questions.get(&id) else { continue };
            match question.asked.look(run) {
                Ok(come) => {
                    let ids: Vec<WaiterId> = question.waiters.iter().copied().collect();
                    let woken = ids.into_iter().filter(|id| Some(*id) != forgotten).filter_map(|id| self.remove(id));
                    over.extend(woken.map(|waiter| (waiter, come.clone())));
                }
                Err(leaves) => self.watch(run, id, leaves),
            }
        }
        over
    }

    /// The last of those who wait for any of these, if they are several.
    fn last_of_several(&self, questions: &BTreeSet<QuestionId>) -> Option<WaiterId> {
        let waiting = questions.iter().filter_map(|id| self.questions.get(id)).flat_map(|question| &question.waiters);
        let all: BTreeSet<WaiterId> = waiting.copied().collect();
        all.last().copied().filter(|_| all.len() > 1)
    }

    /// Compares what is on record with what is waited for now: waits that have become long enough to
    /// record, and recorded ones that are over.
    pub(super) fn announce(&mut self, run: &Run, now: Millis) -> (Vec<Announced>, Vec<Announced>) {
        while let Some((since, id)) = self.record.pending.first().copied().filter(|(at, _)| at + ANNOUNCE_AFTER <= now)
        {
            self.record.pending.remove(&(since, id));
            let Some(waiter) = self.all.get_mut(&id) else { continue };
            let (Some(asker), Some(question)) = (waiter.answer.asker(), self.questions.get_mut(&waiter.question))
            else {
                continue;
            };
            let shown = question.shown.get_or_insert_with(|| question.asked.shown(run, &question.leaves));
            self.record.note(&asker.instance, shown);
            waiter.announced = true;
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
