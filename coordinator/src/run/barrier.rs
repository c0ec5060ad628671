//! Barriers: who has arrived where, and which of them open.
//!
//! A barrier begins with its first arrival, which says whose arrivals open it. It opens once and stays open:
//! a script that is run again after a reboot, a retry or a lost answer passes, and does not arrive at
//! another round that nobody else will come to. Rounds are barriers of different names.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use slipstream_shared::{
    api::BarrierInfo,
    event::{Author, Event},
    id::InstanceId,
    meeting::{MAX_COUNT, MAX_MEETINGS, MeetingName, Parties},
};

use super::{Instance, Run, change::Refused};
use crate::seam::Millis;

/// A barrier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Barrier {
    /// Whose arrivals open it.
    pub parties: Parties,
    /// Who has arrived and not left. Empty once it is open.
    pub arrived: BTreeSet<Author>,
    /// Since when it is open.
    pub open: Option<Millis>,
}

/// All barriers of a run.
pub type Barriers = BTreeMap<MeetingName, Barrier>;

impl Run {
    /// The event of an arrival at a barrier; none if it is open, or `by` has arrived or is not expected.
    ///
    /// # Errors
    /// The barrier was begun for others, or makes no sense.
    pub fn arrive(&self, by: &Author, name: &MeetingName, parties: &Parties) -> Result<Option<Event>, Refused> {
        let unreasonable = |reason: String| Err(Refused::Unreasonable(format!("barrier `{name}`: {reason}")));
        match parties {
            Parties::Count(0) => return unreasonable("it would open for nobody".to_owned()),
            Parties::Count(count) if *count > MAX_COUNT => {
                return unreasonable(format!("{count} arrivals are more than the {MAX_COUNT} there may be"));
            }
            Parties::Nodes(nodes) => {
                if nodes.is_empty() {
                    return unreasonable("it names no node".to_owned());
                }
                if let Some(unknown) = nodes.iter().find(|node| !self.plan.nodes.contains_key(*node)) {
                    return unreasonable(format!("this run has no node `{unknown}`"));
                }
            }
            Parties::Count(_) => {}
        }
        match self.barriers.get(name) {
            Some(known) if known.parties != *parties => {
                unreasonable(format!("it was begun for {}, not for {parties}; use another name", known.parties))
            }
            Some(known) if known.open.is_some() || known.arrived.contains(by) => Ok(None),
            None if self.barriers.len() >= MAX_MEETINGS => {
                unreasonable(format!("the run has {MAX_MEETINGS} barriers already"))
            }
            _ if !expected(by, parties) => Ok(None),
            _ => Ok(Some(Event::BarrierArrived { barrier: name.clone(), parties: parties.clone() })),
        }
    }

    /// True once everybody has arrived at a barrier.
    #[must_use]
    pub fn is_barrier_open(&self, name: &MeetingName) -> bool {
        self.barriers.get(name).is_some_and(|barrier| barrier.open.is_some())
    }

    /// The barriers that open now. None once machines are being removed: then there are fewer and fewer to wait for.
    pub(super) fn open_barriers(&self) -> Vec<Event> {
        if self.is_ending() {
            return vec![];
        }
        let complete = |barrier: &Barrier| match &barrier.parties {
            Parties::Count(count) => barrier.arrived.iter().filter(|by| self.counts(by)).count() >= *count as usize,
            Parties::Nodes(nodes) => {
                let mut live = self.instances.iter().filter(|(id, i)| nodes.contains(&id.node) && i.is_live());
                // Not where all who have arrived are about to leave, and nobody stays.
                barrier.arrived.iter().any(|by| self.counts(by))
                    && live.all(|(id, _)| barrier.arrived.contains(&Author::Instance(id.clone())))
            }
        };
        let opening = self.barriers.iter().filter(|(_, barrier)| barrier.open.is_none() && complete(barrier));
        opening.map(|(name, _)| Event::BarrierOpened { barrier: name.clone() }).collect()
    }

    /// Whether an arrival still counts: not that of an instance which is about to leave.
    fn counts(&self, by: &Author) -> bool {
        match by {
            Author::Instance(id) => self.instances.get(id).is_some_and(Instance::is_live),
            Author::User(_) | Author::System => true,
        }
    }

    /// What people see of barriers.
    #[must_use]
    pub fn barrier_infos(&self) -> Vec<BarrierInfo> {
        let info = |(name, barrier): (&MeetingName, &Barrier)| BarrierInfo {
            name: name.clone(),
            parties: barrier.parties.clone(),
            arrived: barrier.arrived.iter().cloned().collect(),
            open: barrier.open.map(|at| self.shown(at)),
        };
        self.barriers.iter().map(info).collect()
    }
}

/// Takes in an arrival.
pub(super) fn arrived(barriers: &mut Barriers, name: &MeetingName, parties: &Parties, by: &Author) {
    let new = || Barrier { parties: parties.clone(), arrived: BTreeSet::new(), open: None };
    let barrier = barriers.entry(name.clone()).or_insert_with(new);
    if barrier.open.is_none() {
        barrier.arrived.insert(by.clone());
    }
}

/// Takes in that a barrier has opened.
pub(super) fn opened(barriers: &mut Barriers, name: &MeetingName, at: Millis) {
    if let Some(barrier) = barriers.get_mut(name) {
        barrier.open = Some(at);
        barrier.arrived.clear();
    }
}

/// An instance has left, or begins anew: it has arrived nowhere.
pub(super) fn left(barriers: &mut Barriers, instance: &InstanceId) {
    let gone = Author::Instance(instance.clone());
    for barrier in barriers.values_mut() {
        barrier.arrived.remove(&gone);
    }
}

fn expected(by: &Author, parties: &Parties) -> bool {
    match (by, parties) {
        (Author::Instance(id), Parties::Nodes(nodes)) => nodes.contains(&id.node),
        (_, Parties::Nodes(_)) => false,
        (_, Parties::Count(_)) => true,
    }
}
