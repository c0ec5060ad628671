//! Barriers and leads: arriving, and who is next.

use slipstream_shared::{
    api::WaitAnswer,
    event::{Author, Event},
    link::{Down, Reply},
    meeting::{Leader, MeetingName, Parties},
};

use super::{
    RunError,
    actor::{Actor, Answer, Effect, Turn},
    question::{Come, Met, Target},
    waiters::Asker,
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
    ) {
        let arrival = match parties.map(|parties| self.run.arrive(by, &name, parties)).transpose() {
            Ok(arrival) => arrival.flatten(),
            Err(refused) => {
                return turn.then(Effect::Answer(answer, Err(refused.into())));
            }
        };
        let waits = self.wait(turn, Target::Barrier(name), ignore_abort, answer);
        // Whoever may not wait has not arrived.
        if let Some(arrival) = arrival.filter(|_| waits) {
            self.record(turn, by.clone(), None, arrival);
        }
    }

    /// Asks for a lead for a script: at once if it is vacant and nobody else waits, else in line, or not at all.
    pub(super) fn ask_for_lead(
        &mut self,
        turn: &mut Turn,
        asker: Asker,
        name: MeetingName,
        wait: bool,
        ignore_abort: bool,
    ) {
        let by = Leader::Instance(asker.instance.clone());
        match self.try_to_lead(turn, &name, &by, None, ignore_abort) {
            Err(refused) => turn.then(Effect::Answer(Answer::Agent(asker), Err(refused.into()))),
            Ok(leads) if leads || wait => {
                self.wait(turn, Target::Lead(name, by, None), ignore_abort, Answer::Agent(asker));
            }
            Ok(_) => {
                let leader = self.run.leads.get(&name).and_then(|lead| lead.leader.clone());
                let reply = Reply::Lead { number: None, leader };
                turn.then(Effect::Tell(asker.instance, Down::Answer { id: asker.number, reply }));
            }
        }
    }

    /// Asks for a lead for a program, or to keep it, for so many seconds.
    pub(super) fn lead_from_outside(
        &mut self,
        turn: &mut Turn,
        by: Leader,
        name: MeetingName,
        seconds: u64,
        ignore_abort: bool,
        answer: Answer,
    ) {
        match self.try_to_lead(turn, &name, &by, Some(seconds), ignore_abort) {
            Ok(_) => drop(self.wait(turn, Target::Lead(name, by, Some(seconds)), ignore_abort, answer)),
            Err(refused) => turn.then(Effect::Answer(answer, Err(refused.into()))),
        }
    }

    /// Whether somebody leads, now that it has asked: nobody overtakes those who wait.
    fn try_to_lead(
        &mut self,
        turn: &mut Turn,
        name: &MeetingName,
        by: &Leader,
        seconds: Option<u64>,
        ignore_abort: bool,
    ) -> Result<bool, Refused> {
        if let Some(abort) = self.run.abort.as_ref().filter(|_| !ignore_abort) {
            return Err(Refused::Aborted { reason: abort.reason.clone() });
        }
        let kept = seconds.and_then(|seconds| self.run.keep_lead(name, by, seconds));
        let free = self.run.leads(name, by).is_none()
            && self.run.is_vacant(name)
            && self.waiters.next_leader(name).is_none()
            && !self.run.is_ending();
        let event = if free { Some(self.run.take_lead(name, by, seconds)?) } else { kept };
        if let Some(event) = event {
            self.record(turn, by.author(), None, event);
        }
        Ok(self.run.leads(name, by).is_some())
    }

    /// Gives vacant leads to those who have waited longest.
    pub(super) fn pass_leads(&mut self, turn: &mut Turn) {
        if self.run.is_ending() {
            return;
        }
        let vacant: Vec<MeetingName> = self.run.leads.keys().filter(|name| self.run.is_vacant(name)).cloned().collect();
        for name in vacant {
            let next = self.waiters.next_leader(&name).map(|(by, seconds)| (by.clone(), seconds));
            if let Some((next, seconds)) = next
                && let Ok(event) = self.run.take_lead(&name, &next, seconds)
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
        Ok(Come::Met(Met::new(WaitAnswer { seq: run.seq, parameters: vec![] })))
    } else {
        Err(vec![Leaf::Barrier(name.clone())])
    }
}

/// Whether somebody leads.
pub(super) fn look_at_lead(run: &Run, name: &MeetingName, by: &Leader) -> Result<Come, Vec<Leaf>> {
    run.leads(name, by).map(Come::Leads).ok_or_else(|| vec![Leaf::Lead(name.clone())])
}
