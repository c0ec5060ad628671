//! Barriers open once, when all have arrived; of a lead there is one leader at a time, each with a larger number.

use std::collections::{BTreeMap, BTreeSet};

use slipstream_shared::{
    event::{Author, Event, Record},
    id::InstanceId,
    meeting::{Leader, MeetingName, Parties},
};

use super::members::Members;

/// Between a moment in the log and when it is on disk, and what a clock may be off by before that is noticed.
const COMMIT: u64 = 15_000;

#[derive(Debug)]
struct Barrier {
    parties: Parties,
    arrived: BTreeSet<Author>,
    open: bool,
}

#[derive(Debug, Default)]
struct Lead {
    number: u64,
    leader: Option<Leader>,
    /// Since when, and for how many seconds if it is a program.
    since: u64,
    seconds: u64,
    /// Who had each number.
    all: BTreeMap<u64, Leader>,
}

/// All barriers and leads of a run.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    barriers: BTreeMap<MeetingName, Barrier>,
    leads: BTreeMap<MeetingName, Lead>,
}

impl Meetings {
    /// Takes an event; says which rule it breaks. Before `leap` nobody knew how time passed.
    pub(super) fn take(&mut self, now: u64, leap: u64, record: &Record, members: &Members) -> Option<String> {
        match &record.event {
            Event::BarrierArrived { barrier, parties } => {
                let new = || Barrier { parties: parties.clone(), arrived: BTreeSet::new(), open: false };
                let known = self.barriers.entry(barrier.clone()).or_insert_with(new);
                known.arrived.insert(record.by.clone());
                (known.parties != *parties).then(|| format!("barrier {barrier} is for others than it was"))
            }
            Event::BarrierOpened { barrier } => {
                let known = self.barriers.get_mut(barrier).filter(|known| !known.open);
                let Some(known) = known else { return Some(format!("barrier {barrier} opened twice, or for nobody")) };
                known.open = true;
                known.lacks(members).map(|who| format!("barrier {barrier} opened without {who}"))
            }
            Event::LeadChanged { lead, number, leader, seconds } => {
                let known = self.leads.entry(lead.clone()).or_default();
                let broken = known.change(now, leap, *number, leader.as_ref(), &record.by, members);
                known.seconds = seconds.unwrap_or(0);
                broken.map(|what| format!("lead {lead}: {what}"))
            }
            Event::TerminateIntended { instance, .. }
            | Event::MachineGone { instance, .. }
            | Event::ReplaceIntended { instance, .. }
            | Event::InstanceGivenUp { instance, .. }
            | Event::LaunchIntended { instance, .. }
            | Event::LaunchFailed { instance, .. } => {
                self.left(instance);
                None
            }
            _ => None,
        }
    }

    fn left(&mut self, id: &InstanceId) {
        for barrier in self.barriers.values_mut() {
            barrier.arrived.remove(&Author::Instance(id.clone()));
        }
        let leader = Leader::Instance(id.clone());
        for lead in self.leads.values_mut().filter(|lead| lead.leader.as_ref() == Some(&leader)) {
            lead.leader = None;
        }
    }

    pub(super) fn is_open(&self, name: &MeetingName) -> bool {
        self.barriers.get(name).is_some_and(|barrier| barrier.open)
    }

    /// Whether somebody was given a lead with that number.
    pub(super) fn has_led(&self, name: &MeetingName, who: &Leader, number: u64) -> bool {
        self.leads.get(name).is_some_and(|lead| lead.all.get(&number) == Some(who))
    }
}

impl Barrier {
    /// Who has not arrived.
    fn lacks(&self, members: &Members) -> Option<String> {
        match &self.parties {
            Parties::Count(count) => {
                let has = self.arrived.len();
                (has < *count as usize).then(|| format!("{} of {count}", *count as usize - has))
            }
            Parties::Nodes(nodes) => {
                let mut wanted = members.live().filter(|id| nodes.contains(&id.node));
                wanted.find(|id| !self.arrived.contains(&Author::Instance((*id).clone()))).map(ToString::to_string)
            }
        }
    }
}

impl Lead {
    fn change(
        &mut self,
        now: u64,
        leap: u64,
        number: u64,
        leader: Option<&Leader>,
        by: &Author,
        members: &Members,
    ) -> Option<String> {
        let before = std::mem::replace(&mut self.leader, leader.cloned());
        let (last, since) = (self.number, self.since);
        (self.number, self.since) = (number.max(last), now);
        let Some(leader) = leader else {
            let early = matches!(before, Some(Leader::Program { .. }))
                && *by == Author::System
                && since >= leap
                && now + COMMIT < since + self.seconds * 1000;
            return early
                .then(|| format!("it ended {} s after it was given for {} s", (now - since) / 1000, self.seconds));
        };
        self.all.entry(number).or_insert_with(|| leader.clone());
        if before.as_ref() == Some(leader) && number == last {
            return None;
        }
        if number <= last {
            return Some(format!("{leader} got number {number} after {last}"));
        }
        let office = match &before {
            Some(Leader::Instance(id)) => !members.may_be_succeeded(id),
            Some(Leader::Program { .. }) => true,
            None => false,
        };
        office.then(|| {
            format!("{leader} took it while {} was in office", before.map_or_else(String::new, |b| b.to_string()))
        })
    }
}
