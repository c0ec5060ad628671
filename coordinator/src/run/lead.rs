//! Leads: who is the only one to do something, with a number that grows.
//!
//! A lead belongs to a machine, not to a script of it: it lasts until the instance resigns, is gone, was
//! launched again, or is silent while another one asks. A program outside has it for a time that it names, and
//! asks again to keep it: nothing else would tell that it is still there. Each leader has a larger number than
//! all before it, and the number is durable before anybody hears of it. What the leader changes can thus refuse
//! one that has not yet heard that it leads no longer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slipstream_shared::{
    api::LeadInfo,
    event::Event,
    id::InstanceId,
    meeting::{Leader, MAX_MEETINGS, MeetingName},
};

use super::{
    Instance, Machine, Run,
    change::Refused,
    decide::{Decision, before},
};
use crate::{planted::Bug, seam::Millis};

/// Something that one instance leads, or one program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lead {
    /// Of the leader, or the last one there was.
    pub number: u64,
    /// Nobody, when it was given up and no other has asked.
    pub leader: Option<Leader>,
    /// Since when that is so.
    pub since: Millis,
    /// Until when, for a program.
    #[serde(default)]
    pub until: Option<Millis>,
}

/// All leads of a run.
pub type Leads = BTreeMap<MeetingName, Lead>;

impl Run {
    /// The number of who leads; none: it does not. With the run, everything that is led is over.
    #[must_use]
    pub fn leads(&self, name: &MeetingName, by: &Leader) -> Option<u64> {
        let leads = |lead: &&Lead| lead.leader.as_ref() == Some(by) && !self.state.is_final();
        self.leads.get(name).filter(leads).map(|lead| lead.number)
    }

    /// True when another one may take the lead.
    #[must_use]
    pub fn is_vacant(&self, name: &MeetingName) -> bool {
        match self.leads.get(name).and_then(|lead| lead.leader.as_ref()) {
            None => true,
            Some(Leader::Instance(id)) => self.is_silent(id) || !self.instances.get(id).is_some_and(may_lead),
            Some(Leader::Program { .. }) => Bug::LeadTakenOver.is_planted(),
        }
    }

    /// Ends the leads of programs that did not ask again in time.
    pub(super) fn expire_leads(&self, now: Millis, decision: &mut Decision) {
        for (name, lead) in self.leads.iter().filter(|(_, lead)| lead.leader.is_some()) {
            if lead.until.is_some_and(|until| !before(now, until, decision)) {
                decision.events.push(vacated(name, lead));
            }
        }
    }

    /// The event by which a program that leads goes on to lead for so many seconds.
    #[must_use]
    pub fn keep_lead(&self, name: &MeetingName, by: &Leader, seconds: u64) -> Option<Event> {
        let number = self.leads(name, by)?;
        Some(Event::LeadChanged { lead: name.clone(), number, leader: Some(by.clone()), seconds: Some(seconds) })
    }

    /// The event by which somebody takes a lead that is vacant; a program, for so many seconds.
    ///
    /// # Errors
    /// The run has too many.
    pub fn take_lead(&self, name: &MeetingName, by: &Leader, seconds: Option<u64>) -> Result<Event, Refused> {
        let number = match self.leads.get(name) {
            Some(lead) => lead.number + 1,
            None if self.leads.len() >= MAX_MEETINGS => {
                let reason = format!("lead `{name}`: the run has {MAX_MEETINGS} leads already");
                return Err(Refused::Unreasonable(reason));
            }
            None => 1,
        };
        Ok(Event::LeadChanged { lead: name.clone(), number, leader: Some(by.clone()), seconds })
    }

    /// The events of an instance that gives a lead up; none if it does not lead.
    #[must_use]
    pub fn resign(&self, name: &MeetingName, id: &InstanceId) -> Vec<Event> {
        let by = Leader::Instance(id.clone());
        let leads = self.leads.get(name).filter(|lead| lead.leader.as_ref() == Some(&by));
        leads.map(|lead| vacated(name, lead)).into_iter().collect()
    }

    /// The events of taking a lead away from whoever has it; none if nobody has.
    #[must_use]
    pub fn end_lead(&self, name: &MeetingName) -> Vec<Event> {
        let led = self.leads.get(name).filter(|lead| lead.leader.is_some() && !self.state.is_final());
        led.map(|lead| vacated(name, lead)).into_iter().collect()
    }

    /// What people see of leads.
    #[must_use]
    pub fn lead_infos(&self) -> Vec<LeadInfo> {
        let info = |(name, lead): (&MeetingName, &Lead)| LeadInfo {
            name: name.clone(),
            number: lead.number,
            silent: matches!(&lead.leader, Some(Leader::Instance(id)) if self.is_silent(id)),
            until: lead.until.map(|at| self.shown(at)),
            // With the run, everything that is led is over.
            leader: lead.leader.clone().filter(|_| !self.state.is_final()),
            since: self.shown(lead.since),
        };
        self.leads.iter().map(info).collect()
    }
}

/// Not while its machine is powered off, although it comes back.
fn may_lead(instance: &Instance) -> bool {
    instance.is_live() && !matches!(instance.machine, Machine::Stopping | Machine::Stopped)
}

fn vacated(name: &MeetingName, lead: &Lead) -> Event {
    Event::LeadChanged { lead: name.clone(), number: lead.number, leader: None, seconds: None }
}

/// Takes in who leads.
pub(super) fn changed(leads: &mut Leads, name: &MeetingName, new: Lead) {
    let old = leads.get(name);
    let goes_on = old.filter(|old| old.leader.is_some() && old.leader == new.leader && old.number == new.number);
    let since = goes_on.map_or(new.since, |old| old.since);
    let number = new.number.max(old.map_or(0, |lead| lead.number));
    leads.insert(name.clone(), Lead { number, since, ..new });
}

/// An instance has left, or begins anew: it leads nothing.
pub(super) fn left(leads: &mut Leads, instance: &InstanceId, at: Millis) {
    let gone = Leader::Instance(instance.clone());
    for lead in leads.values_mut().filter(|lead| lead.leader.as_ref() == Some(&gone)) {
        (lead.leader, lead.since) = (None, at);
    }
}
