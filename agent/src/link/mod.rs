//! What the agent and its coordinator have to say to each other, whether or not they can just now.
//!
//! [`Link`] is the room everything else talks to: questions wait in it, changes are on disk in it
//! ([`spool`]), output is queued in it ([`outlet`]). A connection ([`session`]) only carries its content
//! to and fro; when it breaks, all that is unanswered is said again on the next one ([`keep`]).
//!
//! Invariant: a change has its number on disk before anyone is told that it was made.

pub mod keep;
pub mod outlet;
mod requested;
pub mod session;
pub mod spool;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
    sync::{Mutex, MutexGuard},
};

use slipstream_shared::{
    event::StepResult,
    link::{AgentPlan, CHANGES_UNDER_WAY, Change, Down, RefusedChange, RefusedCode, RefusedOp, Reply, Up},
};
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    outlet::Outlet,
    requested::{Outcome, Requested},
    spool::Spool,
};

/// Where a connection picks up what is to be sent.
pub type Sender = mpsc::UnboundedSender<Up>;

/// Whether the coordinator can be talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Not now, and why.
    Away(String),
    /// Yes.
    Up,
    /// Never again, and why.
    Gone(String),
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// The coordinator has applied it.
    Applied,
    /// It is on disk and will be sent when the coordinator is back.
    Spooled,
    /// The coordinator does not want it.
    Refused(RefusedChange),
}

/// The shared room. See the module.
#[derive(Debug)]
pub struct Link {
    state: Mutex<State>,
    plan: watch::Sender<Option<AgentPlan>>,
    abort: watch::Sender<Option<String>>,
    report: watch::Sender<u64>,
    phase: watch::Sender<Phase>,
}

#[derive(Debug)]
struct State {
    spool: Spool,
    makers: HashMap<u64, oneshot::Sender<Option<RefusedChange>>>,
    questions: BTreeMap<u64, Question>,
    next_question: u64,
    outlets: BTreeMap<u32, Outlet>,
    out: Option<Sender>,
    /// The last change that this connection has carried.
    sent: u64,
    /// The change that has to be answered before another one is sent.
    held: Option<u64>,
    /// The last question that this connection has carried.
    asked: u64,
}

#[derive(Debug)]
struct Question {
    ask: Up,
    reply: oneshot::Sender<Reply>,
}

impl Link {
    /// A link whose spool is the file `ops`.
    ///
    /// # Errors
    /// The file can not be read or written.
    pub fn open(ops: &Path) -> io::Result<Self> {
        let state = State {
            spool: Spool::open(ops)?,
            makers: HashMap::new(),
            questions: BTreeMap::new(),
            next_question: 1,
            outlets: BTreeMap::new(),
            out: None,
            sent: 0,
            held: None,
            asked: 0,
        };
        Ok(Link {
            state: Mutex::new(state),
            plan: watch::Sender::new(None),
            abort: watch::Sender::new(None),
            report: watch::Sender::new(0),
            phase: watch::Sender::new(Phase::Away("not connected yet".to_owned())),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding it")
    }

    /// The plan, when it is known.
    pub fn plan(&self) -> watch::Receiver<Option<AgentPlan>> {
        self.plan.subscribe()
    }

    /// Why the run is aborted, while it is.
    pub fn abort(&self) -> watch::Receiver<Option<String>> {
        self.abort.subscribe()
    }

    /// How often a report was asked for.
    pub fn report(&self) -> watch::Receiver<u64> {
        self.report.subscribe()
    }

    /// Whether the coordinator can be talked to.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Resolves when the run is aborted, with the reason.
    pub async fn aborted(&self) -> String {
        let mut abort = self.abort();
        loop {
            if let Some(reason) = abort.borrow_and_update().clone() {
                return reason;
            }
            // The sender lives as long as the link.
            let _ = abort.changed().await;
        }
    }

    /// Resolves when the run is not aborted.
    pub async fn not_aborted(&self) {
        let _ = self.abort().wait_for(Option::is_none).await;
    }

    /// Resolves when the coordinator can be talked to, or never can again.
    pub async fn up(&self) {
        let _ = self.phase().wait_for(|phase| !matches!(phase, Phase::Away(_))).await;
    }

    /// Resolves when the coordinator can not be talked to.
    pub async fn down(&self) {
        let _ = self.phase().wait_for(|phase| *phase != Phase::Up).await;
    }

    /// How a step has ended, where the coordinator may not know it yet.
    #[must_use]
    pub fn finishing(&self, step: u32) -> Option<StepResult> {
        self.state().spool.unanswered().find_map(|(_, change)| match change {
            Change::StepFinished { index, result } if *index == step => Some(result.clone()),
            _ => None,
        })
    }

    /// Asks a question; the answer comes when the coordinator has one. Dropping the future withdraws
    /// the question.
    pub async fn ask(&self, question: impl FnOnce(u64) -> Up) -> Reply {
        let (reply, answer) = oneshot::channel();
        let id = {
            let mut state = self.state();
            if let Phase::Gone(message) = &*self.phase.borrow() {
                return Reply::Refused(RefusedChange { code: RefusedCode::Gone, message: message.clone() });
            }
            let id = state.next_question;
            state.next_question += 1;
            state.questions.insert(id, Question { ask: question(id), reply });
            state.pump();
            id
        };
        let _withdraw = Withdraw { link: self, id };
        answer.await.unwrap_or_else(|_| {
            let message = "the agent is stopping".to_owned();
            Reply::Refused(RefusedChange { code: RefusedCode::Unavailable, message })
        })
    }

    /// Makes a change: on disk now, applied by the coordinator as soon as it can be reached.
    ///
    /// # Errors
    /// It could not be written, so it is not made.
    pub fn change(&self, change: Change) -> io::Result<()> {
        self.state().change(change, None).map(|_| ())
    }

    /// Makes a change and waits for what the coordinator says, but not for the coordinator to come back.
    ///
    /// # Errors
    /// It could not be written, so it is not made.
    pub async fn change_and_wait(&self, change: Change) -> io::Result<Made> {
        self.request_and_wait(change, None).await
    }

    /// The same; with a name of the request that was used before, the change is not made again.
    ///
    /// # Errors
    /// It could not be written, so it is not made.
    pub async fn request_and_wait(&self, change: Change, request: Option<String>) -> io::Result<Made> {
        let answer = self.state().make(change, request)?;
        tokio::select! {
            biased;
            answer = answer => Ok(match answer {
                Ok(None) => Made::Applied,
                Ok(Some(refused)) => Made::Refused(refused),
                Err(_) => Made::Spooled,
            }),
            () = self.down() => Ok(match self.phase.borrow().clone() {
                Phase::Gone(message) => Made::Refused(RefusedChange { code: RefusedCode::Gone, message }),
                _ => Made::Spooled,
            }),
        }
    }

    /// Makes a change and waits for what the coordinator says about it, however long that takes. Nothing is
    /// made while the coordinator is away: what was true when it was asked for may not be when it comes back.
    /// With a name of the request that was used before, the change is not made again.
    ///
    /// # Errors
    /// It could not be written, so it is not made.
    pub async fn request_and_know(&self, change: Change, request: Option<String>) -> io::Result<Made> {
        let answer = {
            let mut state = self.state();
            let known = request.as_deref().is_some_and(|request| state.spool.requested(request).is_some());
            if state.out.is_none() && !known {
                return Ok(away("nothing is compared without it"));
            }
            state.make(change, request)?
        };
        self.known(answer).await
    }

    /// The same for a change whose value no disk of this machine may hold: after a crash of the agent it is as
    /// if it had never been asked for, and whoever did was never told otherwise.
    ///
    /// # Errors
    /// Its number could not be written, so it is not made.
    pub async fn change_secret(&self, change: Change) -> io::Result<Made> {
        let answer = {
            let mut state = self.state();
            if state.out.is_none() {
                return Ok(away("a secret is not kept on this machine's disk"));
            }
            state.make_unwritten(change)?
        };
        self.known(answer).await
    }

    async fn known(&self, answer: oneshot::Receiver<Option<RefusedChange>>) -> io::Result<Made> {
        let refused = |code, message: &str| Ok(Made::Refused(RefusedChange { code, message: message.to_owned() }));
        let gone = async {
            let _ = self.phase().wait_for(|phase| matches!(phase, Phase::Gone(_))).await;
        };
        tokio::select! {
            biased;
            answer = answer => match answer {
                Ok(None) => Ok(Made::Applied),
                Ok(Some(refused)) => Ok(Made::Refused(refused)),
                Err(_) => refused(RefusedCode::Unavailable, "the agent is stopping"),
            },
            () = gone => refused(RefusedCode::Gone, "the run has ended"),
        }
    }

    /// Names the file that holds the output of a step, and the one that lists what of it was sent.
    ///
    /// # Errors
    /// They can not be opened.
    pub fn open_log(&self, index: u32, log: &Path, list: &Path) -> io::Result<()> {
        let mut state = self.state();
        if let std::collections::btree_map::Entry::Vacant(free) = state.outlets.entry(index) {
            free.insert(Outlet::open(index, log, list)?);
        }
        Ok(())
    }

    /// Adds to the output of a step.
    ///
    /// # Errors
    /// The disk is full, or the log was never opened.
    pub fn log(&self, index: u32, err: bool, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let State { outlets, out, .. } = &mut *state;
        let outlet = outlets.get_mut(&index).ok_or_else(|| io::Error::other("the log was never opened"))?;
        outlet.append(err, bytes)?;
        outlet.pump(out.as_ref());
        Ok(())
    }

    /// A connection is ready to carry changes beyond `last_op`, questions and output. Of those up to there
    /// `refused` were refused.
    fn connected(&self, out: Sender, last_op: u64, refused: &[RefusedOp]) {
        let mut state = self.state();
        for (op, refused) in state.spool.settled(last_op, refused) {
            // Its answer was lost on the way; the coordinator says what it was.
            state.made(op, refused);
        }
        state.out = Some(out);
        (state.sent, state.held, state.asked) = (0, None, 0);
        state.pump();
        let State { outlets, out, .. } = &mut *state;
        outlets.values_mut().for_each(|outlet| outlet.pump(out.as_ref()));
        drop(state);
        self.phase.send_replace(Phase::Up);
    }

    /// The connection is no more.
    fn disconnected(&self, phase: Phase) {
        let mut state = self.state();
        state.out = None;
        state.outlets.values_mut().for_each(Outlet::disconnected);
        if let Phase::Gone(message) = &phase {
            for (_, question) in std::mem::take(&mut state.questions) {
                let refused = RefusedChange { code: RefusedCode::Gone, message: message.clone() };
                let _ = question.reply.send(Reply::Refused(refused));
            }
        }
        drop(state);
        self.phase.send_replace(phase);
    }

    /// Takes in one line of the coordinator, other than `Hello` and `Goodbye`.
    fn receive(&self, down: Down) {
        match down {
            Down::Plan(plan) => {
                self.set_abort(plan.abort.clone());
                self.plan.send_replace(Some(*plan));
            }
            Down::Answer { id, reply } => self.state().answered(id, reply),
            Down::Answers { ids, reply } => {
                let mut state = self.state();
                ids.into_iter().for_each(|id| state.answered(id, reply.clone()));
            }
            Down::Done { op, refused } => {
                let mut state = self.state();
                state.spool.answered(op, refused.as_ref());
                if state.held == Some(op) {
                    state.held = None;
                }
                state.pump();
                state.made(op, refused);
            }
            Down::LogAck { index, offset } => {
                let mut state = self.state();
                let State { outlets, out, .. } = &mut *state;
                if let Some(outlet) = outlets.get_mut(&index) {
                    outlet.acknowledged(offset);
                    outlet.pump(out.as_ref());
                }
            }
            Down::Abort { reason } => self.set_abort(Some(reason)),
            Down::AbortCancelled => self.set_abort(None),
            Down::Report => self.report.send_modify(|count| *count += 1),
            Down::Heartbeat | Down::Hello { .. } | Down::Goodbye { .. } => {}
        }
    }

    fn set_abort(&self, reason: Option<String>) {
        self.abort.send_if_modified(|old| {
            let news = *old != reason;
            *old = reason;
            news
        });
    }
}

fn away(why: &str) -> Made {
    let message = format!("the coordinator is away: {why}");
    Made::Refused(RefusedChange { code: RefusedCode::Unavailable, message })
}

impl State {
    /// A question has its answer. Without the question nobody waits for that any more.
    fn answered(&mut self, id: u64, reply: Reply) {
        if let Some(question) = self.questions.remove(&id) {
            let _ = question.reply.send(reply);
        }
    }

    fn send(&self, up: Up) {
        if let Some(out) = &self.out {
            // A connection that is about to be noticed as broken; everything is said again then.
            let _ = out.send(up);
        }
    }

    fn change(&mut self, change: Change, request: Option<String>) -> io::Result<u64> {
        let op = self.spool.append(&change, request)?;
        self.pump();
        Ok(op)
    }

    fn make_unwritten(&mut self, change: Change) -> io::Result<oneshot::Receiver<Option<RefusedChange>>> {
        let (maker, answer) = oneshot::channel();
        let op = self.spool.append_unwritten(change)?;
        self.makers.insert(op, maker);
        self.pump();
        Ok(answer)
    }

    /// Makes a change, unless the same request has made it before; what is given back hears what became of it.
    fn make(
        &mut self,
        change: Change,
        request: Option<String>,
    ) -> io::Result<oneshot::Receiver<Option<RefusedChange>>> {
        let (maker, answer) = oneshot::channel();
        match request.as_deref().and_then(|request| self.spool.requested(request)) {
            Some(Requested { answer: Some(Outcome { refused }), .. }) => drop(maker.send(refused.clone())),
            // Whoever has asked before has gone away.
            Some(Requested { op, .. }) => drop(self.makers.insert(*op, maker)),
            None => {
                let op = self.change(change, request)?;
                self.makers.insert(op, maker);
            }
        }
        Ok(answer)
    }

    /// Tells what became of a change.
    fn made(&mut self, op: u64, refused: Option<RefusedChange>) {
        match (self.makers.remove(&op), refused) {
            (Some(maker), refused) => drop(maker.send(refused)),
            (None, Some(refused)) => {
                crate::trouble::say(format_args!("change {op} was refused: {}", refused.message));
            }
            (None, None) => {}
        }
    }

    /// Sends what this connection has not carried yet, as far as that may be sent now: changes first, so that
    /// whoever asks sees what this machine has changed before.
    fn pump(&mut self) {
        if self.out.is_none() || !self.send_changes() {
            return;
        }
        let asked = self.asked;
        for question in self.questions.range(asked + 1..).map(|(_, question)| question.ask.clone()) {
            self.send(question);
        }
        self.asked = self.next_question - 1;
    }

    /// Sends changes up to one that has to be answered first; true if none is left.
    fn send_changes(&mut self) -> bool {
        let mut under_way = self.spool.unanswered().take_while(|(op, _)| *op <= self.sent).count();
        while let Some((op, change)) = self.spool.unanswered().nth(under_way).cloned() {
            if self.held.is_some() || under_way == CHANGES_UNDER_WAY {
                return false;
            }
            self.sent = op;
            if matches!(change, Change::SetIf { .. }) {
                self.held = Some(op);
            }
            self.send(Up::Do { op, change });
            under_way += 1;
        }
        true
    }
}

/// Takes a question back when nobody waits for its answer any more.
struct Withdraw<'a> {
    link: &'a Link,
    id: u64,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        let mut state = self.link.state();
        if state.questions.remove(&self.id).is_some() {
            state.send(Up::Forget { id: self.id });
        }
    }
}

#[cfg(test)]
mod tests;
