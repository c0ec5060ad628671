//! The agents of a run: who may enrol, who is connected, and what they say.

use std::collections::BTreeMap;

use slipstream_shared::{
    condition::InvalidCondition,
    event::{Author, Event},
    id::InstanceId,
    link::{Change, Down, PROTOCOL, RefusedChange, RefusedCode, Reply, Up},
    parameter::Key,
};
use tokio::sync::mpsc;

use super::{
    EnrolError, RunError,
    actor::{Actor, Answer, Effect, Turn},
    handle::{Claim, Message, stopping},
    lines::{LineSender, Lines, lines},
    question::{Come, Target},
    silence::Heard,
    waiters::Asker,
};
use crate::{
    planted::Bug,
    run::{Machine, Run, change::Refused, decide::BOOT_DEADLINE, expand::reason},
};

/// One connected agent, as the actor sees it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) tx: LineSender,
    pub(super) generation: u64,
}

/// The actor's side of all links.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) all: BTreeMap<InstanceId, Link>,
    generation: u64,
}

/// One connected agent, as the agent port sees it. Dropping it detaches the agent.
#[derive(Debug)]
pub struct AgentLink {
    /// Lines for the agent; the first is a `Hello`. It ends when the link is over.
    pub down: Lines,
    up: AgentUp,
}

/// Takes lines from an agent.
#[derive(Debug)]
pub struct AgentUp {
    instance: InstanceId,
    generation: u64,
    heard: Heard,
    tx: mpsc::Sender<Message>,
}

impl AgentLink {
    /// The two directions, to be used by two tasks. Dropping the second detaches the agent.
    #[must_use]
    pub fn split(self) -> (Lines, AgentUp) {
        (self.down, self.up)
    }

    /// Hands over a line, see [`AgentUp::send`].
    pub async fn up(&self, line: Up) -> Result<(), RunError> {
        self.up.send(line).await
    }
}

impl AgentUp {
    /// The agent has said something, if only that it is there.
    pub fn heard(&self) {
        self.heard.now();
    }

    /// Hands over any line but `Hello` and `Log`.
    ///
    /// # Errors
    /// The coordinator is stopping.
    pub async fn send(&self, line: Up) -> Result<(), RunError> {
        self.heard();
        let message = Message::Up { instance: self.instance.clone(), generation: self.generation, line };
        self.tx.send(message).await.map_err(|_| stopping())
    }
}

impl Drop for AgentUp {
    fn drop(&mut self) {
        let message = Message::Detach { instance: self.instance.clone(), generation: self.generation };
        let _ = self.tx.try_send(message);
    }
}

impl Links {
    /// Says something to an agent, if it is connected; gives its link up when it does not listen.
    pub(super) fn tell(&mut self, instance: &InstanceId, line: Down) {
        if let Some(link) = self.all.get(instance)
            && link.tx.send(line).is_err()
        {
            tracing::warn!(%instance, "the agent does not read, or too slowly: its link is given up");
            self.all.remove(instance);
        }
    }

    pub(super) fn tell_all(&mut self, line: &Down) {
        let all: Vec<InstanceId> = self.all.keys().cloned().collect();
        for instance in all {
            self.tell(&instance, line.clone());
        }
    }

    /// Ends the link of an agent that is not to come back.
    pub(super) fn dismiss(&mut self, instance: &InstanceId, reason: &str) {
        self.tell(instance, Down::Goodbye { reason: reason.to_owned(), retry: false });
        self.all.remove(instance);
    }
}

impl Actor {
    /// The events of an enrolment.
    pub(super) fn enrol(&mut self, turn: &mut Turn, claim: Claim) -> Result<(), EnrolError> {
        let key = self.run.attempt_key(&claim.instance, claim.attempt);
        if !self.world.trust.secret.verify(&key, &claim.token) {
            self.refuse(turn, &claim, "its token is not valid");
            return Err(EnrolError::Token);
        }
        let Some(instance) = part_of(&self.run, &claim) else { return Err(EnrolError::Ended) };
        match &instance.key {
            Some(known) if *known == claim.key => Ok(()),
            Some(_) => {
                self.refuse(turn, &claim, "its token was used before, with another key");
                Err(EnrolError::OtherKey)
            }
            None if self.now() > instance.since + BOOT_DEADLINE => {
                self.refuse(turn, &claim, "its token has expired");
                Err(EnrolError::Token)
            }
            None => {
                let Claim { instance, attempt, key, agent, .. } = claim;
                self.silence.begin(&instance, &self.world.seam);
                self.record(turn, Author::System, None, Event::Enrolled { instance, attempt, key, agent });
                Ok(())
            }
        }
    }

    /// Puts a refusal on record: once per reason, so that nobody fills the log by trying.
    fn refuse(&mut self, turn: &mut Turn, claim: &Claim, reason: &str) {
        let known = self.run.instances.get(&claim.instance);
        if known.is_none_or(|i| i.refused.as_deref() == Some(reason)) || self.run.state.is_final() {
            return;
        }
        let (instance, attempt) = (claim.instance.clone(), claim.attempt);
        let event = Event::EnrolmentRefused { instance, attempt, reason: reason.to_owned() };
        self.record(turn, Author::System, None, event);
    }

    /// Takes up a link.
    pub(super) fn attach(&mut self, claim: &Claim) -> Result<AgentLink, RunError> {
        let id = &claim.instance;
        let enrolled = part_of(&self.run, claim).filter(|i| i.key.as_ref() == Some(&claim.key));
        let plan = self.run.agent_plan(id, self.is_own_machine(id));
        let (Some(instance), Some(plan)) = (enrolled, plan) else {
            let reason = format!("{id} is no longer part of run {}, or was replaced", self.run.id.short());
            return Err(Refused::Gone(reason).into());
        };
        self.links.generation += 1;
        let generation = self.links.generation;
        let (tx, down) = lines();
        let coordinator = env!("CARGO_PKG_VERSION").to_owned();
        let refused = instance.refused_ops.iter().cloned().collect();
        let hello = Down::Hello { protocol: PROTOCOL, coordinator, last_op: instance.last_op, refused };
        let report = self.wants_report(id).then_some(Down::Report);
        for line in [hello, Down::Plan(Box::new(plan))].into_iter().chain(report) {
            tx.send(line).map_err(|_| stopping())?;
        }
        self.forget_waits_of(id);
        if let Some(old) = self.links.all.insert(id.clone(), Link { tx, generation }) {
            let reason = "the agent has connected again".to_owned();
            let _ = old.tx.send(Down::Goodbye { reason, retry: true });
        }
        let heard = self.silence.begin(id, &self.world.seam);
        let up = AgentUp { instance: id.clone(), generation, heard, tx: self.own.clone() };
        Ok(AgentLink { down, up })
    }

    pub(super) fn detach(&mut self, id: &InstanceId, generation: u64) {
        if self.links.all.get(id).is_some_and(|l| l.generation == generation) {
            self.links.all.remove(id);
            self.forget_waits_of(id);
        }
    }

    /// Questions belong to a connection: the agent asks them again on the next one.
    fn forget_waits_of(&mut self, id: &InstanceId) {
        self.waiters.withdraw_all(id);
    }

    /// Handles a line of an agent.
    pub(super) fn hear(&mut self, turn: &mut Turn, id: &InstanceId, generation: u64, line: Up) {
        if self.links.all.get(id).is_none_or(|l| l.generation != generation) {
            return;
        }
        match line {
            Up::Get { id: number, key, wait, ignore_abort } => self.get(turn, id, number, key, wait, ignore_abort),
            Up::Env { id: number, index } => {
                let report = index >= self.run.deploy_steps(id);
                self.wait(turn, Target::Env(id.clone(), index), report, of_agent(id, number));
            }
            Up::Wait { id: number, conditions, ignore_abort } => {
                let answer = of_agent(id, number);
                match conditions.iter().map(|text| text.parse()).collect::<Result<_, InvalidCondition>>() {
                    Ok(conditions) => self.wait_for(turn, conditions, ignore_abort, answer),
                    Err(e) => turn.then(Effect::Answer(answer, Err(Refused::Unreasonable(e.to_string()).into()))),
                }
            }
            Up::Barrier { id: number, name, parties, ignore_abort } => {
                let by = Author::Instance(id.clone());
                self.meet(turn, &by, name, Some(&parties), ignore_abort, of_agent(id, number));
            }
            Up::Lead { id: number, name, wait, ignore_abort } => {
                let asker = Asker { instance: id.clone(), number };
                self.ask_for_lead(turn, asker, name, wait, ignore_abort);
            }
            Up::Forget { id: number } => self.waiters.withdraw(id, number),
            Up::Do { op, change } => self.change_by_agent(turn, id, op, &change),
            Up::Hello { .. } | Up::Heartbeat | Up::Log { .. } => {}
        }
    }

    fn get(&mut self, turn: &mut Turn, id: &InstanceId, number: u64, key: Key, wait: bool, ignore_abort: bool) {
        let answer = of_agent(id, number);
        let refused = if self.run.kind_of(&key).is_none() {
            Some(self.run.unknown(&key))
        } else if let Err(denied) = self.run.may_touch(&Author::Instance(id.clone()), &key) {
            Some(denied)
        } else {
            self.run.abort.as_ref().filter(|_| !ignore_abort).map(|a| Refused::Aborted { reason: a.reason.clone() })
        };
        if let Some(refused) = refused {
            turn.then(Effect::Answer(answer, Err(refused.into())));
        } else if wait {
            self.wait(turn, Target::Value(key), ignore_abort, answer);
        } else {
            let revision = self.run.stored(&key).map_or(0, |stored| stored.revision);
            let value = self.run.clear_value(&key);
            let line = match value.as_ref().err().and_then(|leaves| reason(leaves)) {
                Some(reason) => {
                    let come = Come::Broken(reason.to_owned());
                    self.tell_broken(turn, &come);
                    reply(come)
                }
                None => Reply::Value { value: value.ok(), revision },
            };
            turn.then(Effect::Tell(id.clone(), Down::Answer { id: number, reply: line }));
        }
    }

    fn change_by_agent(&mut self, turn: &mut Turn, id: &InstanceId, op: u64, change: &Change) {
        let answered = self.run.instances.get(id).is_some_and(|i| op <= i.last_op) && !Bug::ApplyTwice.is_planted();
        let refused = if answered {
            self.run.refused_op(id, op).cloned()
        } else {
            let (events, refused) = match self.run.agent_change(id, change) {
                Ok(events) => (events, None),
                Err(refused) => (self.run.refusal(id, change, &refused).into_iter().collect(), Some(refused)),
            };
            for event in events {
                self.record(turn, Author::Instance(id.clone()), Some(op), event);
            }
            refused.map(|refused| RefusedChange { code: refused.code(), message: refused.to_string() })
        };
        turn.then(Effect::Tell(id.clone(), Down::Done { op, refused }));
    }
}

/// The reply to a question that could not be answered.
pub(super) fn refusal(error: &RunError) -> Reply {
    let code = match error {
        RunError::Refused(refused) => refused.code(),
        _ => RefusedCode::Unavailable,
    };
    Reply::Refused(RefusedChange { code, message: error.to_string() })
}

/// The reply to a question.
pub(super) fn reply(come: Come) -> Reply {
    match come {
        Come::Value(value, revision) => Reply::Value { value: Some(value), revision },
        Come::Env(env) => Reply::Env { env },
        Come::Met(met) => Reply::Met { seq: met.answer.seq },
        Come::Leads(number) => Reply::Lead { number: Some(number), leader: None },
        Come::Broken(reason) => refusal(&Refused::Broken(reason).into()),
    }
}

fn of_agent(instance: &InstanceId, number: u64) -> Answer {
    Answer::Agent(Asker { instance: instance.clone(), number })
}

/// The instance that somebody claims to be, if its machine still counts.
fn part_of<'a>(run: &'a Run, claim: &Claim) -> Option<&'a crate::run::Instance> {
    let instance = run.instances.get(&claim.instance)?;
    // One whose machine is being stopped may come back: it must not believe that it is needed no longer.
    let counts = instance.may_exist() && instance.machine != Machine::Terminating;
    (counts && instance.attempt == claim.attempt && !run.is_ending()).then_some(instance)
}
