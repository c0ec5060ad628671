//! Drives runs: one actor per run owns its state, records what happens, and carries out what
//! [`crate::run::Run::decide`] says. The only caller of connectors.
//!
//! ```text
//!  API, agents ──message──▶ actor ──events──▶ journal (durable) ──▶ answers, waits, feeds, agents
//!                             ▲ │
//!                    outcomes │ └─commands──▶ jobs ──▶ connectors
//! ```
//!
//! Invariants: nobody is told of an event before it is durable; an intent is durable before its
//! effect begins; a run has one writer.

mod actor;
mod agents;
mod announce;
mod clock;
mod commit;
mod feed;
mod handle;
mod jobs;
mod journal;
mod lines;
mod meeting;
mod operate;
mod power;
mod question;
mod secrets;
mod silence;
mod snapshot;
mod token;
mod vertical;
mod waiters;
mod watch;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use slipstream_shared::{
    api::RunSummary,
    event::{Author, Event, Record},
    id::RunId,
    plan::Plan,
};
use tokio::sync::Mutex;

pub use self::{
    agents::{AgentLink, AgentUp},
    feed::EventFeed,
    handle::{RunHandle, Write},
    lines::Lines,
    question::Met,
    silence::SILENT_AFTER,
    token::LaunchSecret,
};
use crate::{
    cloud::{CloudError, Connector},
    run::{Run, change::Refused, secret::Secrets, view::timestamp},
    seam::Seam,
    store::{Backend, StoreError, layout},
};

/// How long a cloud may take to say whether it could launch something.
const VALIDATION: Duration = Duration::from_secs(10);

/// Why a run did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is no such run, or the asker may not know of it.
    #[error("there is no run `{0}`")]
    NotFound(String),
    /// More than one run ends with these digits.
    #[error("more than one run is called `{0}`: give more digits")]
    Ambiguous(String),
    /// The change or question is refused; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A cloud that the plan names is not configured.
    #[error("no cloud `{name}` is configured (there are: {known})")]
    UnknownCloud {
        /// What the plan says.
        name: String,
        /// What there is.
        known: String,
    },
    /// A cloud that the plan names could not launch its machines. Nothing was started.
    #[error("cloud `{cloud}` cannot launch this: {reason}")]
    Cloud {
        /// Which one.
        cloud: String,
        /// Why.
        #[source]
        reason: CloudError,
    },
    /// The coordinator is stopping, or cannot write; the same request may succeed later.
    #[error("the coordinator cannot do this now: {0}")]
    Unavailable(String),
    /// The store failed.
    #[error("cannot read or write the run")]
    Store(#[source] Arc<StoreError>),
}

impl From<StoreError> for RunError {
    fn from(e: StoreError) -> Self {
        RunError::Store(Arc::new(e))
    }
}

/// Why a machine was not enrolled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnrolError {
    /// The token is not that of the attempt, or is no longer good.
    #[error("the token is not valid for this machine")]
    Token,
    /// The token was used with another key before.
    #[error("this machine has enrolled with another key already")]
    OtherKey,
    /// The run or the instance has ended.
    #[error("the run has ended, or this machine is no longer part of it")]
    Ended,
    /// It can be tried again.
    #[error(transparent)]
    Unavailable(RunError),
}

/// What the actors of all runs share.
#[derive(Debug)]
pub struct World {
    /// Where events are kept.
    pub backend: Arc<dyn Backend>,
    /// Clock, randomness, tasks.
    pub seam: Seam,
    /// Configured clouds by name.
    pub clouds: BTreeMap<String, Arc<dyn Connector>>,
    /// What machines are told, so that they find and trust the coordinator.
    pub trust: Trust,
    /// How many launches may be under way at once, over all runs.
    pub launching: tokio::sync::Semaphore,
}

/// What machines are told, so that they find and trust the coordinator.
#[derive(Debug)]
pub struct Trust {
    /// From which launch tokens are derived.
    pub secret: LaunchSecret,
    /// SHA-256 of the authority's public key, base64url.
    pub pin: String,
    /// The name in the certificate of the agent port.
    pub server_name: String,
    /// The agent port.
    pub port: u16,
    /// Hosts at which any machine may reach it, after those its cloud knows.
    pub hosts: Vec<String>,
}

/// All runs.
#[derive(Debug, Clone)]
pub struct Runs {
    world: Arc<World>,
    /// Those that have an actor; who looks for one of them waits for nobody.
    active: Arc<RwLock<BTreeMap<RunId, RunHandle>>>,
    /// Held by who starts an actor, so that a run never has two.
    starting: Arc<Mutex<()>>,
}

impl Runs {
    /// Takes up all runs that have not ended.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn start(world: World) -> Result<Self, StoreError> {
        let runs = Runs { world: Arc::new(world), active: Arc::default(), starting: Arc::default() };
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = runs.world.backend.scan(layout::SUMMARIES, after.as_deref(), 500).await?;
            let Some((last, _)) = page.last() else { return Ok(runs) };
            after = Some(last.clone());
            for (_, bytes) in &page {
                let summary = parse_summary(bytes)?;
                if !summary.state.is_final() {
                    runs.open(summary.id).await?;
                }
            }
        }
    }

    /// Starts a run. It exists, durably, when this returns.
    ///
    /// # Errors
    /// A cloud of the plan is not configured or cannot launch its machines, or the store fails.
    pub async fn launch(
        &self,
        owner: &str,
        plan: Plan,
        tags: Vec<String>,
        ssh_keys: Vec<String>,
    ) -> Result<RunId, RunError> {
        self.launch_as(self.world.seam.run_id(), owner, plan, tags, ssh_keys).await
    }

    /// The same, with an id that was chosen before. If there is a run with it already, this is it.
    ///
    /// # Errors
    /// A cloud of the plan is not configured or cannot launch its machines, or the store fails.
    pub async fn launch_as(
        &self,
        id: RunId,
        owner: &str,
        plan: Plan,
        tags: Vec<String>,
        ssh_keys: Vec<String>,
    ) -> Result<RunId, RunError> {
        self.launch_with(id, owner, plan, Secrets::default(), tags, ssh_keys).await
    }

    /// The same, with values of secrets that were chosen for it.
    ///
    /// # Errors
    /// A cloud of the plan is not configured or cannot launch its machines, or the store fails.
    pub async fn launch_with(
        &self,
        id: RunId,
        owner: &str,
        plan: Plan,
        chosen: Secrets,
        tags: Vec<String>,
        ssh_keys: Vec<String>,
    ) -> Result<RunId, RunError> {
        for node in plan.nodes.values() {
            if !self.world.clouds.contains_key(&node.cloud) {
                let known: Vec<&str> = self.world.clouds.keys().map(String::as_str).collect();
                return Err(RunError::UnknownCloud { name: node.cloud.clone(), known: known.join(", ") });
            }
        }
        vertical::disks_are_possible(&self.world, &plan)?;
        self.validate(&plan).await?;
        let record = Record {
            seq: 1,
            at: timestamp(self.world.seam.now()),
            by: Author::User(owner.to_owned()),
            op: None,
            event: Event::Accepted { plan: Box::new(plan), owner: owner.to_owned(), tags, ssh_keys },
        };
        let mut run = Run::begin(id, &record).expect("the first event is an Accepted");
        secrets::unlock(&self.world, &mut run);
        let (at, by) = (record.at, record.by.clone());
        let mut records = vec![record];
        for event in secrets::chosen(&run, &chosen) {
            let record = Record { seq: run.seq + 1, at, by: by.clone(), op: None, event };
            run.apply(&record);
            records.push(record);
        }
        let journal = journal::Journal::new(Arc::clone(&self.world.backend), id);
        // Held over the write, so that nobody who finds the run there starts a second actor for it.
        let _starting = self.starting.lock().await;
        match journal.append(&records, Some(&run.summary())).await {
            Err(StoreError::Conflict { .. }) => return Ok(id),
            written => written?,
        }
        self.start_actor(journal, run);
        Ok(id)
    }

    /// Asks the clouds whether they could launch the machines of a plan. One that does not answer in time,
    /// or only not now, is left for the launch itself to find out, which tries again.
    async fn validate(&self, plan: &Plan) -> Result<(), RunError> {
        let used: BTreeSet<(&String, &String)> = plan.nodes.values().map(|n| (&n.cloud, &n.image)).collect();
        let asked = used.into_iter().filter_map(|(cloud, image)| Some((cloud, image, self.world.clouds.get(cloud)?)));
        let ask = async |(cloud, image, connector): (&String, &String, &Arc<dyn Connector>)| match tokio::time::timeout(
            VALIDATION,
            connector.validate(Some(image)),
        )
        .await
        {
            Ok(Err(reason)) if !reason.is_transient() => Err(RunError::Cloud { cloud: cloud.clone(), reason }),
            _ => Ok(()),
        };
        futures_util::future::try_join_all(asked.map(ask)).await.map(drop)
    }

    /// Up to `limit` runs, newest first, those older than `after` if given.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self, after: Option<RunId>, limit: usize) -> Result<Vec<RunSummary>, RunError> {
        let mut all = self.summaries().await?;
        all.sort_by_key(|s| std::cmp::Reverse(s.id));
        Ok(all.into_iter().filter(|s| after.is_none_or(|after| s.id < after)).take(limit).collect())
    }

    async fn summaries(&self) -> Result<Vec<RunSummary>, RunError> {
        let mut all = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.world.backend.scan(layout::SUMMARIES, after.as_deref(), 500).await?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = Some(last.clone());
            for (_, bytes) in &page {
                all.push(parse_summary(bytes)?);
            }
        }
    }

    /// The run with this id, or with these last digits of it.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub async fn find(&self, text: &str) -> Result<RunHandle, RunError> {
        let id = match text.parse() {
            Ok(id) => id,
            Err(_) if text.len() >= 4 => {
                let matching = |s: &RunSummary| s.id.to_string().replace('-', "").ends_with(&text.to_lowercase());
                let found: Vec<RunId> = self.summaries().await?.iter().filter(|s| matching(s)).map(|s| s.id).collect();
                match found.as_slice() {
                    [id] => *id,
                    [] => return Err(RunError::NotFound(text.to_owned())),
                    _ => return Err(RunError::Ambiguous(text.to_owned())),
                }
            }
            Err(_) => return Err(RunError::NotFound(text.to_owned())),
        };
        self.open(id).await?.ok_or_else(|| RunError::NotFound(text.to_owned()))
    }

    /// The handle of a run, its actor started if there is none.
    async fn open(&self, id: RunId) -> Result<Option<RunHandle>, StoreError> {
        if let Some(handle) = self.active(id) {
            return Ok(Some(handle));
        }
        let _starting = self.starting.lock().await;
        if let Some(handle) = self.active(id) {
            return Ok(Some(handle));
        }
        let journal = journal::Journal::new(Arc::clone(&self.world.backend), id);
        let Some(run) = journal.load().await? else { return Ok(None) };
        Ok(Some(self.start_actor(journal, run)))
    }

    fn active(&self, id: RunId) -> Option<RunHandle> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        active.get(&id).filter(|handle| !handle.is_closed()).cloned()
    }

    /// Whoever calls this holds `starting`.
    fn start_actor(&self, journal: journal::Journal, run: Run) -> RunHandle {
        let id = run.id;
        let handle = actor::start(Arc::clone(&self.world), journal, run);
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        active.retain(|_, handle| !handle.is_closed());
        active.insert(id, handle.clone());
        handle
    }
}

fn parse_summary(bytes: &[u8]) -> Result<RunSummary, StoreError> {
    serde_json::from_slice(bytes).map_err(|e| StoreError::Damaged {
        path: "the list of runs".to_owned(),
        reason: format!("a summary is unreadable: {e}"),
    })
}
