//! A coordinator without its network: runs on a fake cloud, a store that can fail, agents that do
//! what a test says.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use slipstream_shared::{
    api::{OperationInfo, RunDetail, RunSummary},
    context::Context,
    event::{Event, Record, StepResult},
    id::{AttemptKey, RunId},
    link::{AgentPlan, Change, Down, HEARTBEAT_SECONDS, Up},
    operation::Asked,
    plan::{Category, Network, NodePlan, OnSilent, ParamPlan, Plan, Policy, Script as Script_, Size, StepPlan},
    state::RunState,
};
use tokio::sync::{Notify, mpsc, watch};

use crate::{
    cloud::{
        LaunchRequest, UserData,
        fake::{Started, World as Cloud},
    },
    drive::{LaunchSecret, RunError, RunHandle, Runs, Trust, World},
    seam::Seam,
    store::{Backend, Batch, MemoryBackend, StoreError},
};

/// A store that can be full, or die with its coordinator after so many appends.
#[derive(Debug)]
struct Store {
    inner: Arc<MemoryBackend>,
    full: Arc<AtomicBool>,
    /// It writes, and says that it has failed.
    denying: AtomicBool,
    unreadable: AtomicBool,
    left: AtomicI64,
    /// It dies instead of recording what contains this.
    forbidden: Mutex<Option<&'static str>>,
    died: Notify,
}

#[async_trait]
impl Backend for Store {
    async fn append(&self, batch: Batch) -> Result<(), StoreError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::Full { path: "here".into() });
        }
        let forbidden = *self.forbidden.lock().expect("not poisoned");
        let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
        if forbidden.is_some_and(|text| batch.writes.iter().any(|(_, v)| v.as_ref().is_some_and(|v| holds(v, text)))) {
            self.left.store(0, Ordering::SeqCst);
            self.died.notify_one();
        }
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left < 1 {
            // The process is dead: nobody gets an answer any more.
            std::future::pending::<()>().await;
        }
        let result = self.inner.append(batch).await;
        if self.denying.load(Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        if left == 1 {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        result
    }
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.unreadable.load(Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        self.inner.get(key).await
    }
    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        self.inner.scan(prefix, after, limit).await
    }
    async fn delete_range(&self, prefix: &[u8]) -> Result<(), StoreError> {
        self.inner.delete_range(prefix).await
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

/// What the agents do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Succeed,
    Fail,
    WaitForGreeting,
    /// Succeeds; the first machine of web.1 is never heard again after that.
    FallSilentOnce,
    /// Succeeds; the first machine of web.2 begins its deployment and does not end it.
    HangInDeploy,
    /// Succeeds; the first machine of web.2 begins its first task and does not end it.
    HangInTask,
}

pub(super) struct Site {
    pub(super) seam: Seam,
    pub(super) cloud: Cloud,
    inner: Arc<MemoryBackend>,
    store: Arc<Store>,
    full: Arc<AtomicBool>,
    runs: watch::Sender<Runs>,
    starts: Option<mpsc::UnboundedReceiver<Started>>,
}

pub(super) fn plan(count: u32) -> Plan {
    let node = NodePlan {
        component: "test@1".into(),
        count,
        cloud: "fake".into(),
        image: "any".into(),
        platform: None,
        login: "root".into(),
        size: Size::default(),
        disks: vec![],
        network: Network::Public,
        params: [("greeting".to_owned(), ParamPlan::default())].into(),
        steps: vec![StepPlan {
            step: "deploy".into(),
            origin: "test".into(),
            script: Script_::Text("true".into()),
            within: None,
            env: BTreeMap::new(),
            needs: vec![],
        }],
        report: vec![],
        ready: None,
        tolerate: 0,
        on_silent: OnSilent::Wait,
        bounds: slipstream_shared::operation::Bounds::default(),
        hooks: BTreeMap::new(),
        instances: BTreeMap::new(),
        imported: false,
    };
    Plan {
        module: "test@1".into(),
        title: "test".into(),
        category: Category::Application,
        params: BTreeMap::new(),
        nodes: [("web".parse().expect("valid"), node)].into(),
        outputs: BTreeMap::new(),
        policy: Policy::default(),
    }
}

pub(super) fn token(started: &Started) -> String {
    Context::from_user_data(started.user_data.as_bytes()).expect("ours").token
}

async fn start(store: &Arc<Store>, cloud: &Cloud, seam: &Seam) -> Runs {
    Runs::start(World {
        backend: Arc::<Store>::clone(store),
        seam: seam.clone(),
        clouds: [("fake".to_owned(), cloud.connector())].into(),
        trust: Trust {
            secret: LaunchSecret::new(&[1; 32]),
            pin: "pin".into(),
            server_name: "coordinator.slipstream.internal".into(),
            port: 1,
            hosts: vec![],
        },
        launching: tokio::sync::Semaphore::new(8),
    })
    .await
    .expect("starts")
}

impl Site {
    pub(super) async fn new() -> Self {
        let seam = Seam::seeded(1);
        let cloud = Cloud::new(Seam::seeded(2));
        let inner = Arc::new(MemoryBackend::new());
        let full = Arc::new(AtomicBool::new(false));
        let left = AtomicI64::new(i64::MAX);
        let store = Arc::new(Store {
            inner: Arc::clone(&inner),
            full: Arc::clone(&full),
            denying: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            left,
            forbidden: Mutex::default(),
            died: Notify::new(),
        });
        let starts = Some(cloud.starts());
        let runs = watch::Sender::new(start(&store, &cloud, &seam).await);
        Site { seam, cloud, inner, store, full, runs, starts }
    }

    pub(super) fn die_after(&self, appends: i64) {
        self.store.left.store(appends, Ordering::SeqCst);
    }

    pub(super) fn die_before_launched(&self) {
        *self.store.forbidden.lock().expect("not poisoned") = Some("\"kind\":\"launched\"");
    }

    pub(super) fn break_reads(&self, broken: bool) {
        self.store.unreadable.store(broken, Ordering::SeqCst);
    }

    pub(super) fn deny_writes(&self, denying: bool) {
        self.store.denying.store(denying, Ordering::SeqCst);
    }

    pub(super) fn fill_disk(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    pub(super) async fn launch(&self, plan: Plan) -> RunId {
        self.try_launch(plan).await.expect("accepted")
    }

    pub(super) async fn try_launch(&self, plan: Plan) -> Result<RunId, RunError> {
        self.runs().launch("ann", plan, vec![], vec![]).await
    }

    pub(super) async fn list(&self) -> Vec<RunSummary> {
        self.runs().list(None, 100).await.expect("listed")
    }

    /// Launches, though the coordinator may die before it answers.
    pub(super) async fn launch_somehow(&self, plan: Plan) -> RunId {
        let runs = self.runs();
        tokio::select! {
            id = runs.launch("ann", plan, vec![], vec![]) => id.expect("accepted"),
            () = self.store.died.notified() => {
                self.store.died.notify_one();
                let found = start(&self.store, &self.cloud, &Seam::seeded(3)).await.list(None, 2).await.expect("listed");
                assert_eq!(found.len(), 1, "accepted, durably");
                found[0].id
            }
        }
    }

    /// Asks for the end of a run, though the coordinator may die before it answers.
    pub(super) fn terminate_somehow(&self, run: RunId) -> impl Future<Output = ()> + use<> {
        let runs = self.runs();
        async move {
            let handle = runs.find(&run.to_string()).await.expect("there");
            let ask = handle.terminate(crate::drive::tests::ann());
            // Not answered: it has died.
            let _ = tokio::time::timeout(Duration::from_secs(30), ask).await;
        }
    }

    /// Asks for an operation, though the coordinator may die before it answers.
    pub(super) fn operate_somehow(&self, run: RunId, asked: Asked) -> impl Future<Output = ()> + use<> {
        let runs = self.runs();
        async move {
            let handle = runs.find(&run.to_string()).await.expect("there");
            let ask = handle.operate(crate::drive::tests::ann(), asked, Some(7));
            // Not answered: it has died.
            let _ = tokio::time::timeout(Duration::from_secs(30), ask).await;
        }
    }

    fn runs(&self) -> Runs {
        self.runs.borrow().clone()
    }

    pub(super) async fn handle(&self, run: RunId) -> RunHandle {
        self.runs().find(&run.to_string()).await.expect("there")
    }

    pub(super) async fn next_start(&mut self) -> Started {
        self.starts.as_mut().expect("not playing").recv().await.expect("the cloud goes on")
    }

    /// The launch of a machine reaches the cloud once more.
    pub(super) async fn launch_again(&self, started: &Started) {
        let request = LaunchRequest {
            name: started.key.machine_name(),
            key: started.key.clone(),
            image: "any".into(),
            size: Size::default(),
            disks: vec![],
            network: Network::Public,
            ordinal: 1,
            user_data: UserData(Context::from_user_data(started.user_data.as_bytes()).expect("ours")),
        };
        self.cloud.connector().launch(&request).await.expect("launched again");
    }

    /// Plays all agents from now on, across restarts of the coordinator.
    pub(super) fn play_agents(&mut self, script: Script) {
        let mut starts = self.starts.take().expect("once");
        let runs = self.runs.subscribe();
        let tasks = Seam::seeded(4);
        let own = tasks.clone();
        tasks.spawn(async move {
            while let Some(started) = starts.recv().await {
                let (runs, heard, done) = (runs.clone(), VecDeque::new(), BTreeSet::new());
                let (reported, just_reported) = (false, false);
                let agent =
                    Agent { started, script, runs, op: 0, finished: false, reported, just_reported, heard, done };
                own.spawn(agent.live());
            }
        });
    }

    /// Waits until an operation is over and the run Ready again.
    pub(super) async fn over(&self, run: RunId, number: u32) -> OperationInfo {
        self.wait_until(run, |d| {
            let ended = d.operations.iter().any(|o| o.number == number && o.ended.is_some());
            ended && d.summary.state == RunState::Ready
        })
        .await;
        self.handle(run).await.operation(number).await.expect("remembered")
    }

    /// Starts another coordinator when this one has died. False: it does not within some minutes.
    pub(super) async fn restart_when_dead(&mut self) -> bool {
        if tokio::time::timeout(Duration::from_secs(600), self.store.died.notified()).await.is_err() {
            return false;
        }
        self.seam = Seam::seeded(9);
        let left = AtomicI64::new(i64::MAX);
        let (inner, full) = (Arc::clone(&self.inner), Arc::clone(&self.full));
        self.store = Arc::new(Store {
            inner,
            full,
            denying: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            left,
            forbidden: Mutex::default(),
            died: Notify::new(),
        });
        let runs = start(&self.store, &self.cloud, &self.seam).await;
        self.runs.send_replace(runs);
        true
    }

    pub(super) async fn wait_for(&self, run: RunId, state: RunState) {
        self.wait_until(run, move |d| d.summary.state == state).await;
    }

    pub(super) async fn wait_until(&self, run: RunId, holds: impl Fn(&RunDetail) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(3600);
        loop {
            let detail = self.handle(run).await.detail().await.expect("read");
            if holds(&detail) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "it never happened: {detail:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The run as the next coordinator would read it.
    pub(super) async fn load(&self, run: RunId) -> crate::run::Run {
        let journal = crate::drive::journal::Journal::new(Arc::<Store>::clone(&self.store), run);
        journal.load().await.expect("read").expect("there")
    }

    /// How many entries the store has of a run.
    pub(super) async fn entries(&self, run: RunId) -> usize {
        let found = self.store.scan(&crate::store::layout::run(run), None, usize::MAX).await;
        found.expect("read").len()
    }

    pub(super) async fn events(&self, run: RunId) -> Vec<Record> {
        let journal = crate::drive::journal::Journal::new(Arc::<Store>::clone(&self.store), run);
        journal.records(0, 10_000).await.expect("read")
    }

    pub(super) async fn attempts(&self, run: RunId) -> Vec<AttemptKey> {
        let key = |r: &Record| match &r.event {
            Event::LaunchIntended { instance, attempt, .. } => {
                Some(AttemptKey { run, instance: instance.clone(), attempt: *attempt })
            }
            _ => None,
        };
        self.events(run).await.iter().filter_map(key).collect()
    }
}

/// The next line for an agent, which says meanwhile that it is there.
async fn next(link: &mut crate::drive::AgentLink) -> Option<Down> {
    loop {
        tokio::select! {
            line = link.down.recv() => return line,
            () = tokio::time::sleep(Duration::from_secs(HEARTBEAT_SECONDS)) => link.up(Up::Heartbeat).await.ok()?,
        }
    }
}

/// What an agent of [`plan`] says when all goes well.
pub(super) fn all_steps() -> Vec<Change> {
    let result = StepResult { exit: Some(0), ..StepResult::default() };
    vec![Change::StepStarted { index: 0 }, Change::StepFinished { index: 0, result }, Change::Ready, Change::Reported]
}

/// One machine's agent.
struct Agent {
    started: Started,
    script: Script,
    runs: watch::Receiver<Runs>,
    op: u64,
    finished: bool,
    reported: bool,
    just_reported: bool,
    /// Lines that came while it waited for an answer.
    heard: VecDeque<Down>,
    /// Tasks it has run.
    done: BTreeSet<u32>,
}

impl Agent {
    async fn live(mut self) {
        while !self.started.ended.is_cancelled() {
            self.runs.borrow_and_update();
            let (ended, mut runs) = (self.started.ended.clone(), self.runs.clone());
            tokio::select! {
                () = self.session() => {}
                () = ended.cancelled() => {}
                changed = runs.changed() => if changed.is_err() { return },
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn session(&mut self) {
        let silent = self.script == Script::FallSilentOnce && self.reported;
        if silent && self.started.key.attempt == 1 && self.started.key.instance.index == 1 {
            return std::future::pending().await;
        }
        let (runs, key) = (self.runs.borrow().clone(), self.started.key.clone());
        let Ok(handle) = runs.find(&key.run.to_string()).await else { return };
        let secret = format!("key of {}", self.started.machine);
        let enrolled = handle.enrol(&key.instance, key.attempt, &token(&self.started), &secret, "1").await;
        if enrolled.is_err() {
            return;
        }
        let Ok(mut link) = handle.attach(&key.instance, key.attempt, &secret).await else { return };
        self.heard.clear();
        loop {
            let line = match self.heard.pop_front() {
                Some(line) => Some(line),
                None => next(&mut link).await,
            };
            let Some(line) = line else { return };
            match line {
                Down::Hello { last_op, .. } => self.op = last_op,
                Down::Plan(plan) => {
                    // After a start of its machine: only the ready check belongs to a boot.
                    if !self.finished && plan.finished.contains_key(&0) {
                        self.finished = true;
                        // A task leads to it otherwise.
                        if plan.held.is_none() && self.change(&mut link, Change::Ready).await.is_none() {
                            return;
                        }
                    }
                    if !self.finished && plan.abort.is_none() && self.deploy(&mut link).await.is_none() {
                        return;
                    }
                    if self.tasks(&mut link, &plan).await.is_none() {
                        return;
                    }
                }
                Down::Report if self.change(&mut link, Change::Reported).await.is_none() => {
                    return;
                }
                Down::Report => (self.reported, self.just_reported) = (true, true),
                _ => {}
            }
            // The next session decides whether it says anything more.
            if self.script == Script::FallSilentOnce && std::mem::take(&mut self.just_reported) {
                return;
            }
        }
    }

    /// Goes on for ever, and says only that it is there.
    async fn hang(&self, link: &mut crate::drive::AgentLink, script: Script) -> Option<()> {
        let key = &self.started.key;
        if self.script == script && key.attempt == 1 && key.instance.index == 2 {
            while next(link).await.is_some() {}
            return None;
        }
        Some(())
    }

    async fn deploy(&mut self, link: &mut crate::drive::AgentLink) -> Option<()> {
        self.change(link, Change::StepStarted { index: 0 }).await?;
        self.hang(link, Script::HangInDeploy).await?;
        if self.script == Script::WaitForGreeting {
            let key = "web.1:greeting".parse().expect("valid");
            link.up(Up::Get { id: 1, key, wait: true, ignore_abort: false }).await.ok()?;
            while !matches!(next(link).await?, Down::Answer { id: 1, .. }) {}
        }
        let fails = self.script == Script::Fail;
        let result = StepResult {
            exit: Some(i32::from(fails)),
            last_stderr: fails.then(|| "oh no".to_owned()),
            ..StepResult::default()
        };
        self.change(link, Change::StepFinished { index: 0, result }).await?;
        if !fails {
            self.change(link, Change::Ready).await?;
        }
        self.finished = true;
        Some(())
    }

    async fn tasks(&mut self, link: &mut crate::drive::AgentLink, plan: &AgentPlan) -> Option<()> {
        for task in &plan.tasks {
            if self.done.contains(&task.index) {
                if task.check {
                    self.change(link, Change::Ready).await?;
                }
                continue;
            }
            self.change(link, Change::StepStarted { index: task.index }).await?;
            self.hang(link, Script::HangInTask).await?;
            let fails = matches!(&task.step.script, Script_::Text(text) if text == "false");
            let result = StepResult { exit: Some(i32::from(fails)), ..StepResult::default() };
            self.change(link, Change::StepFinished { index: task.index, result }).await?;
            if task.check && (!fails || task.again.is_none()) {
                self.change(link, Change::Ready).await?;
            }
            self.done.insert(task.index);
        }
        Some(())
    }

    /// Makes a change and waits until it is acknowledged.
    async fn change(&mut self, link: &mut crate::drive::AgentLink, change: Change) -> Option<()> {
        self.op += 1;
        link.up(Up::Do { op: self.op, change }).await.ok()?;
        loop {
            match next(link).await? {
                Down::Done { op, .. } if op == self.op => return Some(()),
                other => self.heard.push_back(other),
            }
        }
    }
}
