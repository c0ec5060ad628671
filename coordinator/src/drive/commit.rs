//! The end of a turn: make it durable, then tell everybody.

use std::{sync::Arc, time::Duration};

use slipstream_shared::{
    api::{RunSummary, WaitAnswer},
    error_chain::Chain,
    event::{Event, Record},
    link::Down,
    operation::Asked,
};

use super::{
    EnrolError, EventFeed, RunError,
    actor::{Actor, Answer, Effect, Turn},
    agents::{refusal, reply},
    handle::stopping,
    question::{Come, Met},
    secrets,
    waiters::Asker,
};
use crate::{
    planted::Bug,
    run::{Run, change::Refused},
    store::StoreError,
};

/// Between two tries of what the store has failed to do.
const PAUSE: Duration = Duration::from_secs(1);

impl Actor {
    /// Commits a turn and carries out its effects. When the store fails, none of it happened.
    pub(super) async fn commit(&mut self, mut turn: Turn) {
        if Bug::AnswerFirst.is_planted() {
            std::mem::take(&mut turn.effects).into_iter().for_each(|effect| self.carry_out(effect));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if Bug::LaunchFirst.is_planted() {
            self.start_commands(std::mem::take(&mut turn.commands));
        }
        if !turn.records.is_empty() {
            let summary = self.changed_summary();
            if let Err(error) = self.journal.append(&turn.records, summary.as_ref()).await {
                self.undo(turn, error).await;
                return;
            }
            if summary.is_some() {
                self.written = summary;
            }
        }
        self.tell_agents(&turn.records);
        for effect in turn.effects {
            self.carry_out(effect);
        }
        self.tell_followers(turn.records);
        self.start_commands(turn.commands);
        self.journal.keep_short(&self.run).await;
    }

    fn tell_followers(&self, records: Vec<Record>) {
        for record in records {
            // Nobody has to follow.
            let _ = self.live.send(Arc::new(record));
        }
    }

    /// The summary, if lists would show something new.
    fn changed_summary(&self) -> Option<RunSummary> {
        let new = self.run.summary();
        let same = self.written.as_ref().is_some_and(|old| RunSummary { changed: old.changed, ..new.clone() } == *old);
        (!same).then_some(new)
    }

    /// Goes back to what is durable and tells everybody that it did not work. What a store has written although it
    /// failed did happen: agents and those who follow are told, like those who ask again.
    async fn undo(&mut self, turn: Turn, error: StoreError) {
        tracing::error!(run = %self.run.id, error = %Chain(&error), "cannot record what happened");
        let error = RunError::from(error);
        let mut reads = Vec::new();
        for effect in turn.effects {
            match effect {
                Effect::Reply(to, _) => drop(to.send(Err(error.clone()))),
                Effect::Started(to, _) => drop(to.send(Err(error.clone()))),
                Effect::Written(to, ..) => drop(to.send(Err(error.clone()))),
                Effect::Enrolled(to, _) => drop(to.send(Err(EnrolError::Unavailable(error.clone())))),
                Effect::Answer(answer, _) => self.answer(answer, Err(error.clone())),
                // Not acknowledged: the agent repeats its change when it connects again.
                Effect::Tell(instance, _) => drop(self.links.all.remove(&instance)),
                // Who only looks is shown what is durable.
                Effect::Read(_) | Effect::Feed(..) => reads.push(effect),
                // Dropped: the agent sees that there is no answer, and connects again.
                Effect::Attach(..) => {}
            }
        }
        self.astray = true;
        let Some(run) = self.read_again().await else { return };
        self.astray = false;
        self.waiters.recorded(&run);
        self.run = Run { listening_since: self.run.listening_since, ..run };
        self.written = None;
        let happened: Vec<Record> = turn.records.into_iter().filter(|record| record.seq <= self.run.seq).collect();
        self.tell_agents(&happened);
        self.tell_followers(happened);
        for waiter in self.waiters.take_barriers() {
            self.answer(waiter.answer, Err(error.clone()));
        }
        for read in reads {
            self.carry_out(read);
        }
        // A full disk is not left by trying faster.
        tokio::time::sleep(PAUSE).await;
        self.wake = Some(self.now());
    }

    /// The run as the store has it, however long that takes: what this actor holds is ahead of it, and
    /// must neither be shown nor built upon. None: the coordinator stops.
    async fn read_again(&self) -> Option<Run> {
        let mut told = false;
        loop {
            let failed = match self.journal.load().await {
                Ok(Some(mut run)) => {
                    secrets::unlock(&self.world, &mut run);
                    return Some(run);
                }
                Ok(None) => "the run is no longer in the store".to_owned(),
                Err(e) => Chain(&e).to_string(),
            };
            if !std::mem::replace(&mut told, true) {
                tracing::error!(run = %self.run.id, error = failed, "cannot read the run again; trying until it works");
            }
            tokio::select! {
                biased;
                () = self.world.seam.stopping().cancelled() => return None,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Reply(to, result) => drop(to.send(result)),
            Effect::Started(to, result) => drop(to.send(result)),
            Effect::Written(to, key, result) => {
                let now = || self.run.parameter(&key).ok_or_else(|| self.run.unknown(&key).into());
                let _ = to.send(result.and_then(|()| now()));
            }
            Effect::Enrolled(to, result) => drop(to.send(result)),
            Effect::Answer(answer, result) => self.answer(answer, result),
            Effect::Tell(instance, line) => self.links.tell(&instance, line),
            Effect::Attach(claim, to) => drop(to.send(self.attach(&claim))),
            Effect::Read(read) => {
                let links = &self.links.all;
                read(&self.run, &|id| links.contains_key(id));
            }
            Effect::Feed(after, to) => {
                let feed = EventFeed::new(self.journal.clone(), self.live.subscribe(), after, &self.run);
                let _ = to.send(feed);
            }
        }
    }

    pub(super) fn answer(&mut self, answer: Answer, result: Result<Come, RunError>) {
        match answer {
            Answer::User(_, to) => drop(to.send(result.and_then(|come| match come {
                Come::Met(met) => Ok(met),
                Come::Broken(reason) => Err(Refused::Broken(reason).into()),
                Come::Leads(_) => Ok(Met::new(WaitAnswer { seq: self.run.seq, parameters: vec![] })),
                Come::Value(..) | Come::Env(_) => Err(stopping()),
            }))),
            Answer::Agent(Asker { instance, number }) => {
                let reply = result.map_or_else(|e| refusal(&e), reply);
                self.links.tell(&instance, Down::Answer { id: number, reply });
            }
        }
    }

    fn tell_agents(&mut self, records: &[Record]) {
        for record in records {
            match &record.event {
                Event::AbortRaised { reason, .. } => self.links.tell_all(&Down::Abort { reason: reason.clone() }),
                Event::AbortCancelled => self.links.tell_all(&Down::AbortCancelled),
                Event::ReplaceIntended { instance, .. } => {
                    self.waiters.withdraw_all(instance);
                    self.links.dismiss(instance, "this machine is being replaced");
                }
                Event::TerminateIntended { instance, .. } | Event::MachineGone { instance, .. } => {
                    self.links.dismiss(instance, "this machine is being removed");
                }
                Event::TaskOrdered { instance, .. } | Event::MachineChanged { instance, .. } => {
                    self.tell_plan(instance)
                }
                Event::OperationStarted { asked, .. } if matches!(**asked, Asked::Update { .. }) => self.tell_plans(),
                _ => {}
            }
        }
    }
}
