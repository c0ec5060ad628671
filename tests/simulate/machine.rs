//! The agent of each machine. It keeps its changes until they are answered, asks its questions again on
//! each connection, and loses connections and its own life as real ones do. What it runs is in [`super::work`].

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use slipstream_coordinator::{
    cloud::fake::Started,
    drive::{AgentUp, EnrolError, Lines, RunError},
};
use slipstream_shared::{
    context::Context,
    event::StepResult,
    id::{AttemptKey, InstanceId},
    link::{AgentPlan, Change, Down, HEARTBEAT_SECONDS, RefusedChange, Reply, Up},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::sim::{Shown, Sim};

/// What a machine keeps on its disk, and what it knows while its agent lives.
#[derive(Debug)]
pub(crate) struct Room {
    spool: VecDeque<(u64, Change)>,
    next: u64,
    /// Scripts that have ended, as far as this machine knows.
    pub(crate) finished: BTreeMap<u32, StepResult>,
    /// The ready check has passed since it was booted.
    pub(crate) ready: bool,
    makers: BTreeMap<u64, oneshot::Sender<Option<RefusedChange>>>,
    questions: BTreeMap<u64, (Up, oneshot::Sender<Reply>)>,
    asked: u64,
    out: Option<mpsc::UnboundedSender<Up>>,
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) sim: Arc<Sim>,
    name: String,
    pub(crate) key: AttemptKey,
    user_data: String,
    room: Mutex<Room>,
    is_on: AtomicBool,
    pub(crate) plan: Shown<Option<AgentPlan>>,
    pub(crate) abort: Shown<bool>,
    pub(crate) report: Shown<bool>,
}

/// Why a machine does not connect again.
struct Dismissed;

impl Machine {
    /// One that was never booted.
    pub(crate) fn new(sim: &Arc<Sim>, started: &Started) -> Arc<Self> {
        let room = Room {
            spool: VecDeque::new(),
            next: 1,
            finished: BTreeMap::new(),
            ready: false,
            makers: BTreeMap::new(),
            questions: BTreeMap::new(),
            asked: 0,
            out: None,
        };
        Arc::new(Machine {
            sim: Arc::clone(sim),
            name: started.machine.clone(),
            key: started.key.clone(),
            user_data: started.user_data.clone(),
            room: Mutex::new(room),
            is_on: AtomicBool::new(false),
            plan: Shown::new(None),
            abort: Shown::new(false),
            report: Shown::new(false),
        })
    }

    /// Lives until the machine ends or is powered off. It may be powered on again later.
    pub(crate) async fn live(self: Arc<Self>, ended: CancellationToken) {
        if self.is_on.swap(true, Ordering::Relaxed) {
            return;
        }
        loop {
            let crash = self.sim.dice().between(60, 3000);
            let crashes = self.sim.mishap(300);
            let crash = async {
                tokio::time::sleep(Duration::from_secs(crash)).await;
                if !crashes {
                    std::future::pending::<()>().await;
                }
            };
            let over = tokio::select! {
                biased;
                () = ended.cancelled() => true,
                () = self.connect() => true,
                () = self.work() => true,
                () = crash => false,
            };
            self.forget();
            if over {
                break self.is_on.store(false, Ordering::Relaxed);
            }
            let boot = self.down();
            self.sim.note(|| format!("{} crashes, for {} s", self.name(), boot.as_secs()));
            tokio::select! {
                biased;
                () = ended.cancelled() => break self.is_on.store(false, Ordering::Relaxed),
                () = tokio::time::sleep(boot) => {}
            }
        }
    }

    /// How long it is down after a crash: sometimes for so long that it is given up, sometimes for ever.
    fn down(&self) -> Duration {
        if !self.sim.mishap(250) {
            return self.sim.delay(5000, 120_000);
        }
        let for_ever = self.sim.dice().percent(30);
        Duration::from_secs(if for_ever { 1_000_000 } else { self.sim.dice().between(30, 2000) })
    }

    /// Everything but the disk is lost.
    fn forget(&self) {
        let mut room = self.room();
        room.makers.clear();
        room.questions.clear();
        (room.out, room.ready) = (None, false);
        drop(room);
        self.plan.show(None);
        self.report.show(false);
    }

    fn name(&self) -> String {
        format!("{} ({})", self.key.instance, self.name)
    }

    pub(crate) fn id(&self) -> &InstanceId {
        &self.key.instance
    }

    pub(crate) fn room(&self) -> MutexGuard<'_, Room> {
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
        let key = &self.key;
        let secret = format!("key of {}", self.name);
        let token = Context::from_user_data(self.user_data.as_bytes()).expect("ours").token;
        let attached = async {
            let handle = life.runs.find(&key.run.to_string()).await.map_err(|e| is_over(&e))?;
            match handle.enrol(&key.instance, key.attempt, &token, &secret, "1").await {
                Ok(()) => {}
                Err(EnrolError::Unavailable(_)) => return Err(false),
                Err(_) => return Err(true),
            }
            tokio::time::sleep(self.sim.delay(20, 5000)).await;
            handle.attach(&key.instance, key.attempt, &secret).await.map_err(|e| is_over(&e))
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
        let _ends = ends.clone().drop_guard();
        // What it has sent may still arrive when it has another connection already.
        self.sim.spawn(send(Arc::clone(&self.sim), up, lines, life.dead.clone(), ends));
        let result = tokio::select! {
            biased;
            () = life.dead.cancelled() => Ok(()),
            result = self.receive(down, out) => result,
            () = tokio::time::sleep(Duration::from_secs(lasts)) => Ok(()),
        };
        self.room().out = None;
        result
    }

    fn answered(&self, id: u64, reply: Reply) {
        let question = self.room().questions.remove(&id);
        if let Some((_, to)) = question {
            let _ = to.send(reply);
        }
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
                Down::Answer { id, reply } => self.answered(id, reply),
                Down::Answers { ids, reply } => ids.into_iter().for_each(|id| self.answered(id, reply.clone())),
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
            self.sim.rules().told_applied(self.key.run, self.id(), value);
        }
        if let Some(maker) = maker {
            let _ = maker.send(refused);
        }
    }

    /// Makes a change; gives the answer, if it comes before the agent crashes.
    pub(crate) async fn change(&self, change: Change) -> Option<RefusedChange> {
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
    pub(crate) async fn ask(&self, within: u64, question: impl FnOnce(u64) -> Up) -> Option<Reply> {
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
