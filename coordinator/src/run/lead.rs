//! Leads: which instance is the only one to do something, with a number that grows.
//!
//! A lead belongs to a machine, not to a script of it: it lasts until the instance resigns, is gone, was
//! launched again, or is silent while another one asks. Each leader has a larger number than all before it,
//! and the number is durable before anybody hears of it. What the leader changes can thus refuse one that
//! has not yet heard that it leads no longer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slipstream_shared::{
    api::LeadInfo,
    event::Event,
    id::InstanceId,
    meeting::{MAX_MEETINGS, MeetingName},
};

use super::{Instance, Machine, Run, change::Refused};
use crate::seam::Millis;

/// Something that one instance leads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lead {
    /// Of the leader, or the last one there was.
    pub number: u64,
    /// Nobody, when it was given up and no other has asked.
    pub leader: Option<InstanceId>,
    /// Since when that is so.
    pub since: Millis,
}

/// All leads of a run.
pub type Leads = BTreeMap<MeetingName, Lead>;

impl Run {
    /// The number of an instance that leads; none: it does not.
    #[must_use]
    pub fn leads(&self, name: &MeetingName, id: &InstanceId) -> Option<u64> {
        self.leads.get(name).filter(|lead| lead.leader.as_ref() == Some(id)).map(|lead| lead.number)
    }

    /// True when another instance may take the lead.
    #[must_use]
    pub fn is_vacant(&self, name: &MeetingName) -> bool {
        match self.leads.get(name).and_then(|lead| lead.leader.as_ref()) {
            None => true,
            Some(leader) => self.is_silent(leader) || !self.instances.get(leader).is_some_and(may_lead),
        }
    }

    /// The event by which an instance takes a lead that is vacant.
    ///
    /// # Errors
    /// The run has too many.
    pub fn take_lead(&self, name: &MeetingName, id: &InstanceId) -> Result<Event, Refused> {
        let number = match self.leads.get(name) {
            Some(lead) => lead.number + 1,
            None if self.leads.len() >= MAX_MEETINGS => {
                let reason = format!("lead `{name}`: the run has {MAX_MEETINGS} leads already");
                return Err(Refused::Unreasonable(reason));
            }
            None => 1,
        };
        Ok(Event::LeadChanged { lead: name.clone(), number, leader: Some(id.clone()) })
    }

    /// The events of an instance that gives a lead up; none if it does not lead.
    #[must_use]
    pub fn resign(&self, name: &MeetingName, id: &InstanceId) -> Vec<Event> {
        let leads = self.leads.get(name).filter(|lead| lead.leader.as_ref() == Some(id));
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
            silent: lead.leader.as_ref().is_some_and(|leader| self.is_silent(leader)),
            leader: lead.leader.clone(),
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
    Event::LeadChanged { lead: name.clone(), number: lead.number, leader: None }
}

/// Takes in who leads.
pub(super) fn changed(leads: &mut Leads, name: &MeetingName, number: u64, leader: Option<&InstanceId>, at: Millis) {
    let number = number.max(leads.get(name).map_or(0, |lead| lead.number));
    leads.insert(name.clone(), Lead { number, leader: leader.cloned(), since: at });
}

/// An instance has left, or begins anew: it leads nothing.
pub(super) fn left(leads: &mut Leads, instance: &InstanceId, at: Millis) {
    for lead in leads.values_mut().filter(|lead| lead.leader.as_ref() == Some(instance)) {
        (lead.leader, lead.since) = (None, at);
    }
}
