//! What the API and the agent port can ask of a run.

use std::{fmt, sync::Arc};

use slipstream_shared::{
    api::{BarrierInfo, LeadInfo, Parameter, ParameterWrite, RunDetail, Why},
    condition::{Condition, Subject, Test},
    event::{Author, Event},
    id::{InstanceId, RunId},
    link::Up,
    meeting::{Leader, MeetingName, Parties},
    operation::Asked,
    parameter::{Key, MASK},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    AgentLink, EnrolError, EventFeed, RunError,
    actor::Answer,
    jobs::Outcome,
    journal::Journal,
    question::Met,
    waiters::{Numbers, WaiterId},
};
use crate::run::Run;

/// A change that a person or program makes.
#[derive(Debug, Clone)]
pub(super) enum UserChange {
    Set(Write),
    Abort { reason: String },
    CancelAbort,
    EndLead(MeetingName),
    Terminate,
    Abandon,
    Lease { seconds: Option<u64> },
}

/// A write of a parameter.
#[derive(Clone)]
pub struct Write {
    /// Which one.
    pub key: Key,
    /// None: its value is taken away.
    pub value: Option<String>,
    /// Only if it has this revision; 0: only if it was never written.
    pub if_revision: Option<u64>,
    /// The author's number of the request: with the same again it is not made again.
    pub request: Option<u64>,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value may be a secret.
        f.debug_struct("Write").field("key", &self.key).field("request", &self.request).finish_non_exhaustive()
    }
}

/// Looks at the state; it is also told which agents are connected.
pub(super) type Reader = Box<dyn FnOnce(&Run, &dyn Fn(&InstanceId) -> bool) + Send>;

/// What an actor is told.
pub(super) enum Message {
    /// Reads the state, everything before it durable.
    Read(Reader),
    Change {
        by: Author,
        change: UserChange,
        reply: oneshot::Sender<Result<(), RunError>>,
    },
    /// Answered with the parameter as it then is.
    Write {
        by: Author,
        write: Write,
        reply: oneshot::Sender<Result<Parameter, RunError>>,
    },
    Wait {
        conditions: Vec<Condition>,
        ignore_abort: bool,
        answer: Answer,
    },
    Operate {
        by: Author,
        asked: Box<Asked>,
        op: Option<u64>,
        reply: oneshot::Sender<Result<u32, RunError>>,
    },
    Meet {
        by: Author,
        name: MeetingName,
        parties: Option<Parties>,
        ignore_abort: bool,
        answer: Answer,
    },
    Lead {
        by: Leader,
        name: MeetingName,
        seconds: u64,
        ignore_abort: bool,
        answer: Answer,
    },
    Forget(WaiterId),
    Feed {
        after: u64,
        reply: oneshot::Sender<EventFeed>,
    },
    Enrol {
        claim: Claim,
        reply: oneshot::Sender<Result<(), EnrolError>>,
    },
    Attach {
        claim: Claim,
        reply: oneshot::Sender<Result<AgentLink, RunError>>,
    },
    Up {
        instance: InstanceId,
        generation: u64,
        line: Up,
    },
    Detach {
        instance: InstanceId,
        generation: u64,
    },
    ReportStored {
        instance: InstanceId,
        size: u64,
    },
    Outcome(Outcome),
    /// When what has failed is tried again, in the run's own time; none: nothing has.
    NextTry(oneshot::Sender<Option<jiff::Timestamp>>),
}

/// Who a machine says it is.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) instance: InstanceId,
    pub(super) attempt: u32,
    /// SHA-256 of its public key, hexadecimal.
    pub(super) key: String,
    /// Its token, when it enrols.
    pub(super) token: String,
    pub(super) agent: String,
}

/// A run, ended or not. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RunHandle {
    pub(super) id: RunId,
    pub(super) tx: mpsc::Sender<Message>,
    pub(super) journal: Journal,
    pub(super) numbers: Numbers,
}

impl RunHandle {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.id
    }

    pub(super) fn is_closed(&self) -> bool {
        self.tx.is_closed()
    }

    pub(super) async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, RunError> {
        let (reply, answer) = oneshot::channel();
        self.tx.send(message(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Run, &dyn Fn(&InstanceId) -> bool) -> T + Send + 'static,
    ) -> Result<T, RunError> {
        self.ask(|reply| Message::Read(Box::new(move |run, connected| drop(reply.send(what(run, connected)))))).await
    }

    /// Everything but the parameters.
    pub async fn detail(&self) -> Result<RunDetail, RunError> {
        let mut detail = self.read(|run, connected| run.detail(connected)).await?;
        if let Some(mut trouble) = detail.retrying.take() {
            let next_try = self.ask(Message::NextTry).await?;
            detail.retrying = next_try.map(|next_try| {
                trouble.next_try = next_try;
                trouble
            });
        }
        Ok(detail)
    }

    /// All parameters, by key.
    pub async fn parameters(&self) -> Result<Vec<Parameter>, RunError> {
        self.read(|run, _| run.parameters()).await
    }

    /// One parameter.
    pub async fn parameter(&self, key: &Key) -> Result<Parameter, RunError> {
        let key = key.clone();
        self.read(move |run, _| run.parameter(&key).ok_or_else(|| run.unknown(&key).into())).await?
    }

    /// The cloud and the machine of an instance, for its console.
    pub async fn machine(&self, instance: &InstanceId) -> Result<Option<(String, String)>, RunError> {
        let id = instance.clone();
        self.read(move |run, _| Some((run.node(&id)?.cloud.clone(), run.instances.get(&id)?.native.clone()?))).await
    }

    /// One parameter, once it is set; see [`RunHandle::wait`].
    pub async fn wait_parameter(&self, key: &Key, ignore_abort: bool) -> Result<Parameter, RunError> {
        let condition = Condition { subject: Subject::Key(key.clone()), test: Test::Set };
        let answer = self.wait(vec![condition], ignore_abort).await?;
        answer.answer.parameters.first().cloned().ok_or_else(stopping)
    }

    /// Waits until all conditions hold at the same time. Ends early when the run is aborted (unless
    /// `ignore_abort`), when it has ended, or when the coordinator stops. Dropping the future forgets
    /// the wait.
    pub async fn wait(&self, conditions: Vec<Condition>, ignore_abort: bool) -> Result<Arc<Met>, RunError> {
        self.await_answer(|answer| Message::Wait { conditions, ignore_abort, answer }).await
    }

    /// Asks what may take long to be answered. Who does not wait any more takes the question back.
    async fn await_answer(&self, question: impl FnOnce(Answer) -> Message) -> Result<Arc<Met>, RunError> {
        let (reply, answer) = oneshot::channel();
        let number = self.numbers.next();
        self.tx.send(question(Answer::User(number, reply))).await.map_err(|_| stopping())?;
        let mut forget = Forget { number, tx: &self.tx, over: false };
        let answer = answer.await;
        forget.over = true;
        answer.map_err(|_| stopping())?
    }

    /// Waits until a barrier opens; with `count` it also arrives there, once, as one of so many. Ends early as
    /// [`RunHandle::wait`] does. Dropping the future takes no arrival back.
    pub async fn meet(
        &self,
        by: Author,
        name: &MeetingName,
        count: Option<u32>,
        ignore_abort: bool,
    ) -> Result<BarrierInfo, RunError> {
        let (wanted, parties) = (name.clone(), count.map(Parties::Count));
        self.await_answer(|answer| Message::Meet { by, name: wanted, parties, ignore_abort, answer }).await?;
        self.barriers().await?.into_iter().find(|barrier| barrier.name == *name).ok_or_else(stopping)
    }

    /// All barriers, by name.
    pub async fn barriers(&self) -> Result<Vec<BarrierInfo>, RunError> {
        self.read(|run, _| run.barrier_infos()).await
    }

    /// All leads, by name.
    pub async fn leads(&self) -> Result<Vec<LeadInfo>, RunError> {
        self.read(|run, _| run.lead_infos()).await
    }

    /// Waits until a program leads, or keeps its lead, for so many seconds.
    pub async fn lead(
        &self,
        by: Leader,
        name: &MeetingName,
        seconds: u64,
        ignore_abort: bool,
    ) -> Result<LeadInfo, RunError> {
        let wanted = name.clone();
        self.await_answer(|answer| Message::Lead { by, name: wanted, seconds, ignore_abort, answer }).await?;
        self.leads().await?.into_iter().find(|lead| lead.name == *name).ok_or_else(stopping)
    }

    /// Takes a lead away from whoever has it; the next one that waits gets it.
    pub async fn end_lead(&self, by: Author, name: MeetingName) -> Result<(), RunError> {
        self.change(by, UserChange::EndLead(name)).await
    }

    /// Sets a parameter, or takes its value away. Durable when this returns.
    pub async fn set(&self, by: Author, key: Key, value: Option<String>) -> Result<Parameter, RunError> {
        self.write(by, Write { key, value, if_revision: None, request: None }).await
    }

    /// Writes a parameter, under conditions. Durable when this returns.
    pub async fn write(&self, by: Author, write: Write) -> Result<Parameter, RunError> {
        self.ask(|reply| Message::Write { by, write, reply }).await?
    }

    /// The last writes of a parameter, newest first.
    pub async fn history(&self, key: &Key) -> Result<Vec<ParameterWrite>, RunError> {
        let wanted = key.clone();
        let known = move |run: &Run, _: &dyn Fn(&InstanceId) -> bool| match run.kind_of(&wanted) {
            Some(_) => Ok(run.writes.get(&wanted).cloned().unwrap_or_default()),
            None => Err(run.unknown(&wanted)),
        };
        let mut history = Vec::new();
        for seq in self.read(known).await??.into_iter().rev() {
            let Some(record) = self.journal.record(seq).await? else { continue };
            let value = match record.event {
                Event::ParameterSet { value, .. } => Some(value),
                Event::SecretSet { .. } => Some(MASK.to_owned()),
                _ => None,
            };
            history.push(ParameterWrite { revision: record.seq, value, by: record.by, at: record.at });
        }
        Ok(history)
    }

    /// Aborts the run. The first reason wins; a later one changes nothing.
    pub async fn abort(&self, by: Author, reason: String) -> Result<(), RunError> {
        self.change(by, UserChange::Abort { reason }).await
    }

    /// Takes the abort back.
    pub async fn cancel_abort(&self, by: Author) -> Result<(), RunError> {
        self.change(by, UserChange::CancelAbort).await
    }

    /// Asks for the end of the run. Idempotent.
    pub async fn terminate(&self, by: Author) -> Result<(), RunError> {
        self.change(by, UserChange::Terminate).await
    }

    /// Gives up on machines that cannot be removed: the run ends, and says what it leaves.
    ///
    /// # Errors
    /// Its end was not asked for, or it has ended.
    pub async fn abandon(&self, by: Author) -> Result<(), RunError> {
        self.change(by, UserChange::Abandon).await
    }

    /// Gives the run another lease: it ends so many seconds from now, or never.
    ///
    /// # Errors
    /// The run is ending or has ended, or the lease is too long.
    pub async fn set_lease(&self, by: Author, seconds: Option<u64>) -> Result<(), RunError> {
        self.change(by, UserChange::Lease { seconds }).await
    }

    /// What each instance lacks.
    pub async fn why(&self) -> Result<Why, RunError> {
        self.read(|run, _| run.why()).await
    }

    async fn change(&self, by: Author, change: UserChange) -> Result<(), RunError> {
        self.ask(|reply| Message::Change { by, change, reply }).await?
    }

    /// The events after number `after`, as they come.
    pub async fn events(&self, after: u64) -> Result<EventFeed, RunError> {
        self.ask(|reply| Message::Feed { after, reply }).await
    }

    /// Enrols a machine. Durable when this returns `Ok`; the same token and key again give the same
    /// answer.
    pub async fn enrol(
        &self,
        instance: &InstanceId,
        attempt: u32,
        token: &str,
        key_sha256: &str,
        agent: &str,
    ) -> Result<(), EnrolError> {
        let claim = Claim {
            instance: instance.clone(),
            attempt,
            key: key_sha256.to_owned(),
            token: token.to_owned(),
            agent: agent.to_owned(),
        };
        self.ask(|reply| Message::Enrol { claim, reply }).await.map_err(EnrolError::Unavailable)?
    }

    /// Takes up the link of an enrolled machine. An older link of the same instance ends.
    pub async fn attach(&self, instance: &InstanceId, attempt: u32, key_sha256: &str) -> Result<AgentLink, RunError> {
        let (key, token, agent) = (key_sha256.to_owned(), String::new(), String::new());
        let claim = Claim { instance: instance.clone(), attempt, key, token, agent };
        self.ask(|reply| Message::Attach { claim, reply }).await?
    }

    /// The report of an instance is on disk.
    pub async fn report_stored(&self, instance: &InstanceId, size: u64) -> Result<(), RunError> {
        let message = Message::ReportStored { instance: instance.clone(), size };
        self.tx.send(message).await.map_err(|_| stopping())
    }
}

/// Forgets a wait when nobody waits for it any more.
struct Forget<'a> {
    number: WaiterId,
    tx: &'a mpsc::Sender<Message>,
    over: bool,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // A full queue only means that the wait is forgotten when it is over.
        let _ = self.tx.try_send(Message::Forget(self.number));
    }
}

pub(super) fn stopping() -> RunError {
    RunError::Unavailable("it is stopping".to_owned())
}
