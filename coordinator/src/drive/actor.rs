//! The actor of one run: the only writer of its state.
//!
//! It works in turns. A turn takes the messages that have piled up, applies what they lead to, asks
//! [`Run::decide`] until it has no more events, commits all of it at once, and only then answers.
//! Messages that arrive during a commit make up the next turn, so a busy run commits many at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use slipstream_shared::{
    api::{Parameter, RunSummary},
    condition::Condition,
    event::{Author, Event, Record},
    id::InstanceId,
    link::Down,
    parameter::Key,
};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    AgentLink, EnrolError, EventFeed, RunError, World,
    agents::Links,
    clock::Clock,
    handle::{Claim, Message, Reader, RunHandle, UserChange, Write, stopping},
    journal::Journal,
    question::{Come, Met, Target},
    secrets,
    silence::Silence,
    waiters::{Asker, MOST, WaiterId, Waiters},
    watch::Watches,
};
use crate::{
    planted::Bug,
    run::{Machine, Run, change::Refused, decide::Command, value::Leaf},
};

/// Messages that may wait for the actor; senders wait when there are more.
const QUEUE: usize = 4096;

/// Messages handled in one turn.
const TURN: usize = 1024;

/// Events that an event stream may be behind before it reads them from the journal. Room for them is taken by
/// every run, whether anybody listens or not.
const LIVE: usize = 256;

/// An ended run nobody asks about is put away after so long.
const IDLE: Duration = Duration::from_secs(10);

/// How an answer gets to who waits for it.
#[derive(Debug)]
pub(super) enum Answer {
    /// With the number that it has chosen for the wait.
    User(WaiterId, oneshot::Sender<Result<Arc<Met>, RunError>>),
    Agent(Asker),
}

impl Answer {
    /// Who asked, where that is a script in a machine.
    pub(super) fn asker(&self) -> Option<&Asker> {
        match self {
            Answer::Agent(asker) => Some(asker),
            Answer::User(..) => None,
        }
    }
}

/// What is done once a turn is durable.
pub(super) enum Effect {
    Reply(oneshot::Sender<Result<(), RunError>>, Result<(), RunError>),
    Started(oneshot::Sender<Result<u32, RunError>>, Result<u32, RunError>),
    Written(oneshot::Sender<Result<Parameter, RunError>>, Key, Result<(), RunError>),
    Enrolled(oneshot::Sender<Result<(), EnrolError>>, Result<(), EnrolError>),
    Answer(Answer, Result<Come, RunError>),
    Tell(InstanceId, Down),
    Read(Reader),
    Attach(Claim, oneshot::Sender<Result<AgentLink, RunError>>),
    Feed(u64, oneshot::Sender<EventFeed>),
}

/// What one turn has led to so far.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) records: Vec<Record>,
    pub(super) effects: Vec<Effect>,
    pub(super) leaves: Vec<Leaf>,
    pub(super) commands: Vec<Command>,
}

impl Turn {
    pub(super) fn then(&mut self, effect: Effect) {
        self.effects.push(effect);
    }
}

/// One run's actor.
pub(super) struct Actor {
    pub(super) world: Arc<World>,
    pub(super) journal: Journal,
    pub(super) run: Run,
    pub(super) links: Links,
    pub(super) waiters: Waiters,
    pub(super) live: broadcast::Sender<Arc<Record>>,
    /// To this actor, for jobs and links.
    pub(super) own: mpsc::Sender<Message>,
    /// Commands under way.
    pub(super) running: BTreeSet<Command>,
    /// Launches that may have reached their cloud: those of this actor, and those it found intended.
    pub(super) tried: BTreeSet<(InstanceId, u32)>,
    /// When a command that failed may be tried again, and how often it has failed.
    pub(super) retry: BTreeMap<Command, (u64, u32)>,
    pub(super) watches: Watches,
    pub(super) clock: Clock,
    pub(super) silence: Silence,
    /// The summary that was written last.
    pub(super) written: Option<RunSummary>,
    /// When to look again although nothing happened.
    pub(super) wake: Option<u64>,
    /// True while the state is ahead of the store, because that has failed.
    pub(super) astray: bool,
}

/// Starts the actor of a run.
pub(super) fn start(world: Arc<World>, journal: Journal, mut run: Run) -> RunHandle {
    secrets::unlock(&world, &mut run);
    let (tx, rx) = mpsc::channel(QUEUE);
    let mut waiters = Waiters::default();
    waiters.recorded(&run);
    let handle = RunHandle { id: run.id, tx: tx.clone(), journal: journal.clone(), numbers: waiters.numbers() };
    let intended = run.instances.iter().filter(|(_, i)| i.machine == Machine::Intended);
    let tried = intended.map(|(id, i)| (id.clone(), i.attempt)).collect();
    let clock = Clock::new(&world.seam, &run);
    // One that has just begun has missed nothing.
    let listening_since = if run.seq > 1 { clock.now() } else { 0 };
    let run = Run { listening_since, ..run };
    let actor = Actor {
        written: Some(run.summary()),
        clock,
        silence: Silence::new(&world.seam),
        world: Arc::clone(&world),
        journal,
        run,
        links: Links::default(),
        waiters,
        live: broadcast::channel(LIVE).0,
        own: tx,
        running: BTreeSet::new(),
        tried,
        retry: BTreeMap::new(),
        watches: Watches::default(),
        wake: None,
        astray: false,
    };
    world.seam.spawn(actor.live_on(rx));
    handle
}

impl Actor {
    async fn live_on(mut self, mut rx: mpsc::Receiver<Message>) {
        let stop = self.world.seam.stopping().clone();
        self.turn(None, &mut rx).await;
        loop {
            let idle = self.run.state.is_final();
            let pause = self.pause(idle);
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                message = rx.recv() => message,
                () = tokio::time::sleep(pause) => None,
            };
            if message.is_none() && idle && self.live.receiver_count() == 0 {
                break;
            }
            self.turn(message, &mut rx).await;
        }
        rx.close();
        // Who has asked meanwhile gets an answer all the same.
        while !self.astray
            && let Ok(message) = rx.try_recv()
        {
            self.turn(Some(message), &mut rx).await;
        }
        self.say_goodbye();
    }

    /// How long to sleep if nothing happens.
    fn pause(&self, idle: bool) -> Duration {
        let now = self.now();
        let times = [
            self.wake,
            self.watches.next(),
            self.waiters.next_announcement(),
            self.next_retry(now),
            self.next_silence(),
        ];
        match times.into_iter().flatten().min() {
            _ if idle => IDLE,
            Some(at) => Duration::from_millis(at.saturating_sub(now).max(1)),
            None => Duration::from_secs(3600),
        }
    }

    fn next_retry(&self, now: u64) -> Option<u64> {
        self.retry.values().map(|(at, _)| *at).filter(|at| *at > now).min()
    }

    /// When what has failed on a cloud is tried again; none: nothing has failed.
    fn next_try(&self) -> Option<jiff::Timestamp> {
        let failed = self.retry.values().filter(|(_, failures)| *failures > 0).map(|(at, _)| *at);
        let at = failed.chain(self.watches.next_after_failure()).min()?;
        Some(self.run.shown(at.max(self.now())))
    }

    /// Ends what others wait for: they come back when the coordinator does.
    fn say_goodbye(&mut self) {
        for waiter in self.waiters.take(|_| true) {
            self.answer(waiter.answer, Err(stopping()));
        }
        self.links.tell_all(&Down::Goodbye { reason: "the coordinator is stopping".to_owned(), retry: true });
    }

    async fn turn(&mut self, first: Option<Message>, rx: &mut mpsc::Receiver<Message>) {
        let mut turn = Turn::default();
        self.compare_clocks(&mut turn);
        let mut next = first;
        for _ in 0..TURN {
            let Some(message) = next else { break };
            self.handle(&mut turn, message);
            next = rx.try_recv().ok();
        }
        if let Some(message) = next {
            self.handle(&mut turn, message);
        }
        self.settle(&mut turn);
        self.commit(turn).await;
    }

    fn handle(&mut self, turn: &mut Turn, message: Message) {
        match message {
            Message::Read(read) => turn.then(Effect::Read(read)),
            Message::Feed { after, reply } => turn.then(Effect::Feed(after, reply)),
            Message::Change { by, change, reply } => {
                let result = self.change_by_user(turn, &by, &change);
                turn.then(Effect::Reply(reply, result));
            }
            Message::Operate { by, asked, op, reply } => {
                let result = self.begin_operation(turn, by, &asked, op);
                turn.then(Effect::Started(reply, result));
            }
            Message::Write { by, write, reply } => {
                let key = write.key.clone();
                let result = self.change_by_user(turn, &by, &UserChange::Set(write));
                turn.then(Effect::Written(reply, key, result));
            }
            Message::Wait { conditions, ignore_abort, answer } => {
                self.wait_for(turn, conditions, ignore_abort, answer);
            }
            Message::Meet { by, name, parties, ignore_abort, answer } => {
                self.meet(turn, &by, name, parties.as_ref(), ignore_abort, answer);
            }
            Message::Lead { by, name, seconds, ignore_abort, answer } => {
                self.lead_from_outside(turn, by, name, seconds, ignore_abort, answer);
            }
            Message::Forget(id) => drop(self.waiters.remove(id)),
            Message::Enrol { claim, reply } => {
                let result = self.enrol(turn, claim);
                turn.then(Effect::Enrolled(reply, result));
            }
            Message::Attach { claim, reply } => turn.then(Effect::Attach(claim, reply)),
            Message::Up { instance, generation, line } => self.hear(turn, &instance, generation, line),
            Message::Detach { instance, generation } => self.detach(&instance, generation),
            Message::ReportStored { instance, size } => {
                if self.run.instances.get(&instance).is_some_and(|i| !i.reported) {
                    let event = Event::ReportFinished { instance, size: Some(size) };
                    self.record(turn, Author::System, None, event);
                }
            }
            Message::Outcome(outcome) => self.outcome(turn, outcome),
            Message::NextTry(reply) => drop(reply.send(self.next_try())),
        }
    }

    fn change_by_user(&mut self, turn: &mut Turn, by: &Author, change: &UserChange) -> Result<(), RunError> {
        let mut op = None;
        let events = match change {
            UserChange::Set(Write { key, value, if_revision, request }) => {
                if let Some(number) = request
                    && !Bug::ApplyTwice.is_planted()
                    && self.run.was_made(by, *number, key, value.as_deref())?
                {
                    return Ok(());
                }
                op = *request;
                match if_revision {
                    Some(revision) => self.run.set_if(by, key, value.as_deref(), *revision)?,
                    None => self.run.set(by, key, value.as_deref())?,
                }
            }
            UserChange::Abort { reason } if !self.run.state.is_final() => self.run.raise_abort(None, reason),
            UserChange::CancelAbort if !self.run.state.is_final() => self.run.cancel_abort(),
            UserChange::Abort { .. } | UserChange::CancelAbort => {
                let (id, state) = (self.run.id.short(), self.run.state);
                return Err(Refused::Gone(format!("run {id} has ended ({state})")).into());
            }
            UserChange::EndLead(name) => self.end_lead(name)?,
            UserChange::Terminate => self.run.request_termination(),
            UserChange::Abandon => self.run.abandon()?,
            UserChange::Lease { seconds } => self.run.set_lease(*seconds)?,
        };
        for event in events {
            self.record(turn, by.clone(), op, event);
        }
        Ok(())
    }

    /// Applies an event; it is durable when the turn is.
    pub(super) fn record(&mut self, turn: &mut Turn, by: Author, op: Option<u64>, event: Event) {
        let record = Record { seq: self.run.seq + 1, at: self.stamp(&event), by, op, event };
        turn.leaves.extend(self.run.apply(&record));
        turn.records.push(record);
    }

    /// Begins a wait, or answers at once. True: it has begun.
    pub(super) fn wait(&mut self, turn: &mut Turn, target: Target, ignore_abort: bool, answer: Answer) -> bool {
        let aborted = self.run.abort.as_ref().filter(|_| !ignore_abort);
        if let Some(abort) = aborted {
            let reason = abort.reason.clone();
            turn.then(Effect::Answer(answer, Err(Refused::Aborted { reason }.into())));
            return false;
        }
        let over = self.run.state.is_final();
        if let Some(asker) = answer.asker().filter(|asker| self.waiters.of(&asker.instance) >= MOST) {
            let who = Author::Instance(asker.instance.clone());
            let what = format!("wait for more than {MOST} things at once");
            turn.then(Effect::Answer(answer, Err(Refused::Denied { who, what }.into())));
            return false;
        }
        match self.waiters.begin(&self.run, target, ignore_abort, self.now(), answer) {
            Err((answer, come)) => {
                self.tell_broken(turn, &come);
                turn.then(Effect::Answer(answer, Ok(come)));
                false
            }
            Ok(id) if over => {
                let reason = format!("run {} has ended ({})", self.run.id.short(), self.run.state);
                if let Some(waiter) = self.waiters.remove(id) {
                    turn.then(Effect::Answer(waiter.answer, Err(Refused::Gone(reason).into())));
                }
                false
            }
            Ok(_) => true,
        }
    }

    /// Begins a wait for conditions, or says why there can be none.
    pub(super) fn wait_for(&mut self, turn: &mut Turn, conditions: Vec<Condition>, ignore_abort: bool, answer: Answer) {
        let by = answer.asker().map_or(Author::System, |asker| Author::Instance(asker.instance.clone()));
        let allowed = |wanted: Vec<_>| self.run.may_wait(&by, &wanted).map(|()| wanted);
        match self.run.wanted(conditions).and_then(allowed) {
            Ok(wanted) => drop(self.wait(turn, Target::Conditions(wanted), ignore_abort, answer)),
            Err(refused) => turn.then(Effect::Answer(answer, Err(refused.into()))),
        }
    }

    /// Lets everything follow that follows from what was recorded.
    fn settle(&mut self, turn: &mut Turn) {
        self.make_up_secrets(turn);
        self.notice_silence(turn);
        loop {
            let now = self.now();
            let decision = self.run.decide(now);
            if decision.events.is_empty() {
                self.wake = decision.wake;
                turn.commands = decision.commands;
                break;
            }
            for event in decision.events {
                self.record(turn, Author::System, None, event);
            }
        }
        self.pass_leads(turn);
        self.end_waits(turn);
        self.announce_waits(turn);
    }

    fn end_waits(&mut self, turn: &mut Turn) {
        let changed = std::mem::take(&mut turn.leaves);
        for (waiter, come) in self.waiters.wake(&self.run, &changed) {
            self.tell_broken(turn, &come);
            turn.then(Effect::Answer(waiter.answer, Ok(come)));
        }
        let over = if self.run.state.is_final() {
            let reason = format!("run {} has ended ({})", self.run.id.short(), self.run.state);
            self.waiters.take(|_| true).into_iter().map(|w| (w, Refused::Gone(reason.clone()))).collect()
        } else if let Some(abort) = &self.run.abort {
            let reason = abort.reason.clone();
            let taken = self.waiters.take(|w| !w.ignore_abort);
            taken.into_iter().map(|w| (w, Refused::Aborted { reason: reason.clone() })).collect()
        } else {
            vec![]
        };
        for (waiter, refused) in over {
            turn.then(Effect::Answer(waiter.answer, Err(refused.into())));
        }
    }

    /// A value that somebody needs and that cannot be made is for people to see.
    pub(super) fn tell_broken(&mut self, turn: &mut Turn, come: &Come) {
        if let Come::Broken(reason) = come {
            self.trouble(turn, reason.clone());
        }
    }

    fn announce_waits(&mut self, turn: &mut Turn) {
        let (begun, ended) = self.waiters.announce(&self.run, self.now());
        if self.run.state.is_final() {
            // That is the last event of a run: who follows it reads no further. All waits are over with it.
            return;
        }
        for (instance, on) in ended {
            let came = self.run.abort.is_none();
            self.record(turn, Author::System, None, Event::WaitEnded { instance, on, came });
        }
        for (instance, on) in begun {
            self.record(turn, Author::System, None, Event::WaitBegan { instance, on });
        }
    }
}
