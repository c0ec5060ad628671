//! The agent of each machine. It keeps its changes until they are answered, asks its questions again on
//! each connection, and loses connections and its own life as real ones do.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use slipstream_coordinator::{
    cloud::fake::Started,
    drive::{AgentUp, EnrolError, Lines, RunError},
};
use slipstream_shared::{
    context::Context,
    event::StepResult,
    id::InstanceId,
    link::{AgentPlan, Change, Down, HEARTBEAT_SECONDS, RefusedChange, Reply, Up},
    parameter::Key,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    plan::PARAMETERS,
    sim::{Shown, Sim},
};

/// What a machine keeps on its disk, and what it knows while its agent lives.
#[derive(Debug)]
struct Room {
    spool: VecDeque<(u64, Change)>,
    next: u64,
    /// Scripts that have ended, as far as this machine knows.
    finished: BTreeMap<u32, StepResult>,
    ready: bool,
    reported: bool,
    makers: BTreeMap<u64, oneshot::Sender<Option<RefusedChange>>>,
    questions: BTreeMap<u64, (Up, oneshot::Sender<Reply>)>,
    asked: u64,
    out: Option<mpsc::UnboundedSender<Up>>,
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    sim: Arc<Sim>,
    started: Started,
    room: Mutex<Room>,
    plan: Shown<Option<AgentPlan>>,
    abort: Shown<bool>,
    report: Shown<bool>,
}

/// Why a machine does not connect again.
struct Dismissed;

impl Machine {
    /// Lives until the machine ends.
    pub(crate) async fn live(sim: Arc<Sim>, started: Started) {
        let ended = started.ended.clone();
        let room = Room {
            spool: VecDeque::new(),
            next: 1,
            finished: BTreeMap::new(),
            ready: false,
            reported: false,
            makers: BTreeMap::new(),
            questions: BTreeMap::new(),
            asked: 0,
            out: None,
        };
        let machine = Arc::new(Machine {
            sim,
            started,
            room: Mutex::new(room),
            plan: Shown::new(None),
            abort: Shown::new(false),
            report: Shown::new(false),
        });
        loop {
            let crash = machine.sim.dice().between(60, 3000);
            let crashes = machine.sim.mishap(300);
            let crash = async {
                tokio::time::sleep(Duration::from_secs(crash)).await;
                if !crashes {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                () = ended.cancelled() => return,
                () = machine.connect() => return,
                () = machine.work() => return,
                () = crash => {}
            }
            // Everything but the disk is lost.
            machine.sim.note(|| format!("{} crashes", machine.name()));
            {
                let mut room = machine.room();
                room.makers.clear();
                room.questions.clear();
                room.out = None;
            }
            machine.plan.show(None);
            machine.report.show(false);
            let boot = machine.sim.delay(5000, 120_000);
            tokio::time::sleep(boot).await;
        }
    }

    fn name(&self) -> String {
        format!("{} ({})", self.started.key.instance, self.started.machine)
    }

    fn id(&self) -> &InstanceId {
        &self.started.key.instance
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects again and again.
    async fn connect(&self) {
        loop {
            if let Err(Dismissed) = self.session().await {
                return;
            }
            self.room().out = None;
            let pause = self.sim.delay(500, 20_000);
            tokio::time::sleep(pause).await;
        }
    }

    async fn session(&self) -> Result<(), Dismissed> {
        let life = self.sim.life().await;
        let key = &self.started.key;
        let secret = format!("key of {}", self.started.machine);
        let token = Context::from_user_data(self.started.user_data.as_bytes()).expect("ours").token;
        let attached = async {
            let handle = life.runs.find(&key.run.to_string()).await.map_err(|e| is_over(&e))?;
            match handle.enrol(&key.instance, key.attempt, &token, &secret, "1", &Default::default()).await {
                Ok(_) => {}
                Err(EnrolError::Unavailable(_)) => return Err(false),
                Err(_) => return Err(true),
            }
            tokio::time::sleep(self.sim.delay(20, 5000)).await;
            handle.attach(&key.instance, key.attempt, &secret, 0, &Default::default()).await.map_err(|e| is_over(&e))
        };
        let link = tokio::select! {
            biased;
            () = life.dead.cancelled() => return Ok(()),
            link = attached => link,
        };
        let (down, up) = match link {
            Ok(link) => link.split(),
            Err(true) => return Err(Dismissed),
            Err(false) => return Ok(()),
        };
        let lasts = if self.sim.mishap(400) { self.sim.dice().between(1, 600) } else { 1_000_000 };
        let (out, lines) = mpsc::unbounded_channel();
        let ends = CancellationToken::new();
        // What it has sent may still arrive when it has another connection already.
        self.sim.spawn(send(Arc::clone(&self.sim), up, lines, life.dead.clone(), ends.clone()));
        let result = tokio::select! {
            biased;
            () = life.dead.cancelled() => Ok(()),
            result = self.receive(down, out) => result,
            () = tokio::time::sleep(Duration::from_secs(lasts)) => Ok(()),
        };
        self.room().out = None;
        ends.cancel();
        result
    }

    async fn receive(&self, mut down: Lines, out: mpsc::UnboundedSender<Up>) -> Result<(), Dismissed> {
        while let Some(line) = down.recv().await {
            tokio::time::sleep(self.sim.delay(2, 2000)).await;
            match line {
                Down::Hello { last_op, refused, .. } => {
                    let refused: BTreeMap<u64, RefusedChange> =
                        refused.into_iter().map(|r| (r.op, r.refused)).collect();
                    self.greeted(&out, last_op, &refused);
                }
                Down::Plan(plan) => {
                    self.abort.show(plan.abort.is_some());
                    self.plan.show(Some(*plan));
                }
                Down::Answer { id, reply } => {
                    let question = self.room().questions.remove(&id);
                    if let Some((_, to)) = question {
                        let _ = to.send(reply);
                    }
                }
                Down::Done { op, refused } => self.done(op, refused),
                Down::Abort { .. } => self.abort.show(true),
                Down::AbortCancelled => self.abort.show(false),
                Down::Report => self.report.show(true),
                Down::Goodbye { retry: false, .. } => return Err(Dismissed),
                Down::Goodbye { .. } => return Ok(()),
                Down::Heartbeat | Down::LogAck { .. } => {}
            }
        }
        Ok(())
    }

    fn greeted(&self, out: &mpsc::UnboundedSender<Up>, last_op: u64, refused: &BTreeMap<u64, RefusedChange>) {
        let known: Vec<u64> = self.room().spool.iter().map(|(op, _)| *op).filter(|op| *op <= last_op).collect();
        for op in known {
            self.done(op, refused.get(&op).cloned());
        }
        let mut room = self.room();
        room.next = room.next.max(last_op + 1);
        let changes = room.spool.iter().map(|(op, change)| Up::Do { op: *op, change: change.clone() });
        let questions = room.questions.values().map(|(ask, _)| ask.clone());
        for line in changes.chain(questions) {
            let _ = out.send(line);
        }
        room.out = Some(out.clone());
    }

    /// A change is answered.
    fn done(&self, op: u64, refused: Option<RefusedChange>) {
        let (change, maker) = {
            let mut room = self.room();
            let Some(at) = room.spool.iter().position(|(known, _)| *known == op) else { return };
            (room.spool.remove(at).map(|(_, change)| change), room.makers.remove(&op))
        };
        if refused.is_none() {
            let value = match &change {
                Some(Change::Set { value, .. } | Change::SetIf { value, .. }) => value.as_deref(),
                _ => None,
            };
            self.sim.rules().told_applied(self.started.key.run, self.id(), value);
        }
        if let Some(maker) = maker {
            let _ = maker.send(refused);
        }
    }

    /// Makes a change; gives the answer, if it comes before the agent crashes.
    async fn change(&self, change: Change) -> Option<RefusedChange> {
        let answer = {
            let mut room = self.room();
            let op = room.next;
            room.next += 1;
            room.spool.push_back((op, change.clone()));
            if let Some(out) = &room.out {
                let _ = out.send(Up::Do { op, change });
            }
            let (to, answer) = oneshot::channel();
            room.makers.insert(op, to);
            answer
        };
        match answer.await {
            Ok(refused) => refused,
            // Only a crash forgets who waits, and that ends this future as well.
            Err(_) => std::future::pending().await,
        }
    }

    /// Asks a question and waits for its answer, not longer than so many seconds.
    async fn ask(&self, within: u64, question: impl FnOnce(u64) -> Up) -> Option<Reply> {
        let (id, answer) = {
            let mut room = self.room();
            room.asked += 1;
            let id = room.asked;
            let ask = question(id);
            if let Some(out) = &room.out {
                let _ = out.send(ask.clone());
            }
            let (to, answer) = oneshot::channel();
            room.questions.insert(id, (ask, to));
            (id, answer)
        };
        let answer = tokio::time::timeout(Duration::from_secs(within), answer).await;
        let mut room = self.room();
        if room.questions.remove(&id).is_some()
            && let Some(out) = &room.out
        {
            let _ = out.send(Up::Forget { id });
        }
        answer.ok()?.ok()
    }

    /// What the machine is for: its scripts, then its report when that is asked for.
    async fn work(&self) {
        let Some(plan) = self.plan.until(Option::is_some).await else { return };
        let deploy = async {
            for index in 0..plan.deploy {
                let known = plan.finished.contains_key(&index) || self.room().finished.contains_key(&index);
                if !known && !self.step(index, &plan).await {
                    return std::future::pending::<()>().await;
                }
            }
            if !std::mem::replace(&mut self.room().ready, true) {
                self.change(Change::Ready).await;
            }
            std::future::pending::<()>().await;
        };
        let report = async {
            self.report.until(|asked| *asked).await;
            tokio::time::sleep(self.sim.delay(3000, 100_000)).await;
            if !std::mem::replace(&mut self.room().reported, true) {
                self.change(Change::Reported).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::join!(deploy, report);
    }

    /// One script. True: it has succeeded.
    async fn step(&self, index: u32, plan: &AgentPlan) -> bool {
        if self.abort.now() {
            return false;
        }
        if plan.steps.get(usize::try_from(index).unwrap_or(0)).is_some_and(|step| step.gated)
            && !matches!(self.ask(86_400, |id| Up::Env { id, index }).await, Some(Reply::Env { .. }))
        {
            return false;
        }
        self.change(Change::StepStarted { index }).await;
        let aborted = tokio::select! {
            biased;
            _ = self.abort.until(|aborted| *aborted) => true,
            () = self.script() => false,
        };
        let fails = self.sim.mishap(15);
        let result = StepResult {
            exit: (!aborted).then(|| i32::from(fails)),
            cause: aborted.then(|| "aborted".to_owned()),
            ..StepResult::default()
        };
        self.room().finished.insert(index, result.clone());
        self.change(Change::StepFinished { index, result }).await;
        !aborted && !fails
    }

    /// What a script does.
    async fn script(&self) {
        let times = self.sim.dice().between(1, 4);
        for _ in 0..times {
            let pause = self.sim.delay(2000, 60_000);
            tokio::time::sleep(pause).await;
            let key = Key::instance(self.id(), random_parameter(&self.sim));
            let choice = self.sim.dice().below(10);
            match choice {
                0..5 => drop(self.change(Change::Set { key, value: Some(self.value()), ignore_abort: false }).await),
                5 => drop(self.change(Change::Set { key, value: None, ignore_abort: false }).await),
                6 | 7 => self.compare(key).await,
                _ => {
                    let wait = |id| Up::Get { id, key, wait: true, ignore_abort: choice == 9 };
                    let within = self.sim.dice().between(1, 90);
                    self.ask(within, wait).await;
                }
            }
        }
        // Whoever refers to it goes on.
        for name in PARAMETERS {
            let set =
                Change::Set { key: Key::instance(self.id(), name), value: Some(self.value()), ignore_abort: false };
            self.change(set).await;
        }
    }

    async fn compare(&self, key: Key) {
        let get = |id| Up::Get { id, key: key.clone(), wait: false, ignore_abort: true };
        let Some(Reply::Value { value, revision }) = self.ask(60, get).await else { return };
        self.sim.rules().told_value(self.started.key.run, &key, value.as_deref(), revision);
        let new = self.value();
        self.sim.rules().expect(&new, revision);
        self.change(Change::SetIf { key, value: Some(new), revision, ignore_abort: false }).await;
    }

    /// A value that nobody else writes.
    fn value(&self) -> String {
        format!("{}-{}-{:x}", self.id(), self.started.machine, self.sim.dice().number())
    }
}

fn random_parameter(sim: &Sim) -> &'static str {
    sim.dice().one::<&str>(&PARAMETERS)
}

/// Whether there is no use in trying again.
fn is_over(error: &RunError) -> bool {
    matches!(error, RunError::NotFound(_) | RunError::Refused(_))
}

/// Carries lines to the coordinator, in order, each with its delay. When the connection is cut, what is left
/// is lost, or arrives when nobody expects it any more.
async fn send(
    sim: Arc<Sim>,
    up: AgentUp,
    mut lines: mpsc::UnboundedReceiver<Up>,
    dead: CancellationToken,
    ends: CancellationToken,
) {
    let mut cut = false;
    let mut heartbeat = tokio::time::interval(Duration::from_secs(HEARTBEAT_SECONDS));
    loop {
        let line = tokio::select! {
            biased;
            () = dead.cancelled() => return,
            line = lines.recv() => line,
            () = ends.cancelled(), if !cut => {
                if !sim.mishap(500) {
                    return;
                }
                cut = true;
                lines.close();
                continue;
            }
            _ = heartbeat.tick() => {
                up.heard();
                continue;
            }
        };
        let Some(line) = line else { return };
        tokio::time::sleep(sim.delay(2, 2000)).await;
        if dead.is_cancelled() || up.send(line).await.is_err() {
            return;
        }
    }
}
