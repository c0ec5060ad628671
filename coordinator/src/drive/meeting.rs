//! Barriers and leads: arriving, and who is next.

use slipstream_shared::{
    api::WaitAnswer,
    event::{Author, Event},
    id::InstanceId,
    link::{Down, Reply},
    meeting::{MeetingName, Parties},
};

use super::{
    RunError,
    actor::{Actor, Answer, Effect, Turn},
    waiters::{Asker, Come, Target, WaiterId},
};
use crate::run::{Run, change::Refused, value::Leaf};

impl Actor {
    /// Arrives at a barrier, if `parties` says for whom it is, and waits until it opens.
    pub(super) fn meet(
        &mut self,
        turn: &mut Turn,
        by: &Author,
        name: MeetingName,
        parties: Option<&Parties>,
        ignore_abort: bool,
        answer: Answer,
    ) -> WaiterId {
        let arrival = match parties.map(|parties| self.run.arrive(by, &name, parties)).transpose() {
            Ok(arrival) => arrival.flatten(),
            Err(refused) => {
                turn.then(Effect::Answer(answer, Err(refused.into())));
                return 0;
            }
        };
        let id = self.wait(turn, Target::Barrier(name), ignore_abort, answer);
        // Whoever may not wait has not arrived.
        if let Some(arrival) = arrival.filter(|_| id != 0) {
            self.record(turn, by.clone(), None, arrival);
        }
        id
    }

    /// Asks for a lead: at once if it is vacant and nobody else waits, else in line, or not at all.
    pub(super) fn ask_for_lead(
        &mut self,
        turn: &mut Turn,
        asker: Asker,
        name: MeetingName,
        wait: bool,
        ignore_abort: bool,
    ) {
        let id = asker.instance.clone();
        if let Some(abort) = self.run.abort.as_ref().filter(|_| !ignore_abort) {
            let refused = Refused::Aborted { reason: abort.reason.clone() };
            return turn.then(Effect::Answer(Answer::Agent(asker), Err(refused.into())));
        }
        let in_line = self.waiters.first(&Leaf::Lead(name.clone())).is_some();
        if self.run.leads(&name, &id).is_none() && self.run.is_vacant(&name) && !in_line && !self.run.is_ending() {
            match self.run.take_lead(&name, &id) {
                Ok(event) => self.record(turn, Author::Instance(id.clone()), None, event),
                Err(refused) => return turn.then(Effect::Answer(Answer::Agent(asker), Err(refused.into()))),
            }
        }
        if wait || self.run.leads(&name, &id).is_some() {
            self.wait(turn, Target::Lead(name, id), ignore_abort, Answer::Agent(asker));
        } else {
            let leader = self.run.leads.get(&name).and_then(|lead| lead.leader.clone());
            let reply = Reply::Lead { number: None, leader };
            turn.then(Effect::Tell(asker.instance, Down::Answer { id: asker.number, reply }));
        }
    }

    /// Gives vacant leads to those who have waited longest.
    pub(super) fn pass_leads(&mut self, turn: &mut Turn) {
        if self.run.is_ending() {
            return;
        }
        let vacant: Vec<MeetingName> = self.run.leads.keys().filter(|name| self.run.is_vacant(name)).cloned().collect();
        for name in vacant {
            let next = self.waiters.first(&Leaf::Lead(name.clone())).cloned();
            if let Some(next) = next
                && let Ok(event) = self.run.take_lead(&name, &next)
            {
                self.record(turn, Author::System, None, event);
            }
        }
    }

    /// The events of taking a lead away.
    pub(super) fn end_lead(&self, name: &MeetingName) -> Result<Vec<Event>, RunError> {
        if self.run.leads.contains_key(name) {
            return Ok(self.run.end_lead(name));
        }
        Err(Refused::Unreasonable(format!("nobody has ever led `{name}` in this run")).into())
    }
}

/// Whether a barrier is open.
pub(super) fn look_at_barrier(run: &Run, name: &MeetingName) -> Result<Come, Vec<Leaf>> {
    if run.is_barrier_open(name) {
        Ok(Come::Met(WaitAnswer { seq: run.seq, parameters: vec![] }))
    } else {
        Err(vec![Leaf::Barrier(name.clone())])
    }
}

/// Whether an instance leads.
pub(super) fn look_at_lead(run: &Run, name: &MeetingName, id: &InstanceId) -> Result<Come, Vec<Leaf>> {
    run.leads(name, id).map(Come::Leads).ok_or_else(|| vec![Leaf::Lead(name.clone())])
}
