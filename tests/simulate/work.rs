//! What a machine runs: the steps of the deployment, the tasks of operations, reports, and what scripts do.
//! In the order of the real agent (`agent/src/step`).

use std::{collections::BTreeSet, time::Duration};

use slipstream_shared::{
    event::StepResult,
    link::{AgentPlan, AgentTask, Change, RefusedCode, Reply, Up},
    meeting::{Leader, MeetingName, Parties},
    parameter::Key,
};

use crate::{
    machine::Machine,
    plan::{LEADS, PARAMETERS},
};

impl Machine {
    /// Runs everything, for as long as it is on.
    pub(crate) async fn work(&self) {
        self.plan.until(Option::is_some).await;
        let scripts = async {
            self.deploy().await;
            self.tasks().await;
        };
        tokio::join!(scripts, self.reports());
    }

    /// What it was told last; nothing, while it has not been.
    fn orders(&self) -> AgentPlan {
        self.plan.now().unwrap_or_default()
    }

    async fn deploy(&self) {
        let mut index = 0;
        while index < self.orders().deploy {
            let plan = self.orders();
            if plan.held.is_some_and(|held| index >= held) {
                return;
            }
            let gated = plan.steps.get(usize::try_from(index).unwrap_or(0)).is_some_and(|step| step.gated);
            let succeeded = match self.known(&plan, index) {
                Some(result) => result.succeeded(),
                None => {
                    let due = self.environment(index, gated).await;
                    self.abort.until(|aborted| !aborted).await;
                    self.run(index, due).await.succeeded()
                }
            };
            if !succeeded {
                return;
            }
            index += 1;
        }
        self.check().await;
    }

    /// How a script has ended, if it has.
    fn known(&self, plan: &AgentPlan, index: u32) -> Option<StepResult> {
        self.room().finished.get(&index).or_else(|| plan.finished.get(&index)).cloned()
    }

    async fn tasks(&self) {
        let mut over = BTreeSet::new();
        loop {
            let due = |plan: &Option<AgentPlan>| plan.iter().flat_map(|p| &p.tasks).any(|t| !over.contains(&t.index));
            let plan = self.plan.until(due).await.unwrap_or_default();
            let Some(task) = plan.tasks.iter().find(|task| !over.contains(&task.index)) else { continue };
            self.task(&plan, task).await;
            over.insert(task.index);
        }
    }

    async fn task(&self, plan: &AgentPlan, task: &AgentTask) {
        let result = match self.known(plan, task.index) {
            Some(result) => result,
            None => {
                let due = tokio::select! {
                    biased;
                    _ = self.abort.until(|aborted| *aborted) => return,
                    due = self.environment(task.index, task.step.gated) => due,
                };
                self.run(task.index, due).await
            }
        };
        let Some(step) = task.again else { return };
        self.room().finished.insert(step, result.clone());
        if result.succeeded() && task.check {
            self.room().ready = false;
            self.check().await;
        }
    }

    async fn reports(&self) {
        loop {
            self.report.until(|asked| *asked).await;
            self.report.show(false);
            tokio::time::sleep(self.sim.delay(3000, 100_000)).await;
            self.change(Change::Reported).await;
        }
    }

    /// The ready check. Once passed, not again before the next boot.
    async fn check(&self) {
        if self.room().ready {
            return;
        }
        if self.orders().ready.is_some() {
            tokio::time::sleep(self.sim.delay(5000, 30_000)).await;
            if self.sim.mishap(15) {
                return drop(self.change(Change::NotReady { reason: "it does not answer".to_owned() }).await);
            }
        }
        self.room().ready = true;
        self.change(Change::Ready).await;
    }

    /// Waits for what a script needs. False: it will never have that.
    async fn environment(&self, index: u32, gated: bool) -> bool {
        if !gated {
            return true;
        }
        loop {
            self.abort.until(|aborted| !aborted).await;
            match self.ask(86_400, |id| Up::Env { id, index }).await {
                Some(Reply::Env { .. }) => return true,
                Some(Reply::Refused(refused)) => match refused.code {
                    RefusedCode::Aborted | RefusedCode::Unavailable => tokio::time::sleep(Duration::from_secs(1)).await,
                    RefusedCode::Gone => std::future::pending().await,
                    _ => return false,
                },
                _ => {}
            }
        }
    }

    /// Runs one script, whose environment is there or will never be.
    async fn run(&self, index: u32, due: bool) -> StepResult {
        let ended = |exit: Option<i32>, cause: Option<&str>| StepResult {
            exit,
            cause: cause.map(str::to_owned),
            ..StepResult::default()
        };
        let result = if due {
            self.change(Change::StepStarted { index }).await;
            let aborted = tokio::select! {
                biased;
                _ = self.abort.until(|aborted| *aborted) => true,
                () = self.script() => false,
            };
            if aborted { ended(None, Some("aborted")) } else { ended(Some(i32::from(self.sim.mishap(15))), None) }
        } else {
            ended(None, Some("no environment"))
        };
        self.room().finished.insert(index, result.clone());
        self.change(Change::StepFinished { index, result: result.clone() }).await;
        result
    }

    /// What a script does.
    async fn script(&self) {
        let times = self.sim.dice().between(1, 4);
        for _ in 0..times {
            let pause = self.sim.delay(2000, 60_000);
            tokio::time::sleep(pause).await;
            let key = Key::instance(self.id(), self.sim.dice().one::<&str>(&PARAMETERS));
            let choice = self.sim.dice().below(13);
            match choice {
                0..5 => drop(self.change(Change::Set { key, value: Some(self.value()), ignore_abort: false }).await),
                5 => drop(self.change(Change::Set { key, value: None, ignore_abort: false }).await),
                6 | 7 => self.compare(key).await,
                8 | 9 => {
                    let wait = |id| Up::Get { id, key, wait: true, ignore_abort: choice == 9 };
                    let within = self.sim.dice().between(1, 90);
                    self.ask(within, wait).await;
                }
                10 => self.meet().await,
                _ => self.lead().await,
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
        self.sim.rules().told_value(self.key.run, &key, value.as_deref(), revision);
        let new = self.value();
        self.sim.rules().expect(&new, revision);
        self.change(Change::SetIf { key, value: Some(new), revision, ignore_abort: false }).await;
    }

    /// Meets the others of its node, or any two.
    async fn meet(&self) {
        let all = self.sim.dice().percent(60);
        let round = self.sim.dice().below(2);
        let (name, parties) = if all {
            (format!("{}-{round}", self.id().node), Parties::Nodes([self.id().node.clone()].into()))
        } else {
            (format!("pair-{round}"), Parties::Count(2))
        };
        let name: MeetingName = name.parse().expect("a name");
        let within = self.sim.dice().between(1, 300);
        let barrier = |id| Up::Barrier { id, name: name.clone(), parties, ignore_abort: false };
        if let Some(Reply::Met { .. }) = self.ask(within, barrier).await {
            self.sim.rules().told_open(self.key.run, &name);
        }
    }

    /// Leads for a while, and may forget to resign.
    async fn lead(&self) {
        let name: MeetingName = self.sim.dice().one::<&str>(&LEADS).parse().expect("a name");
        let within = self.sim.dice().between(1, 200);
        let wait = self.sim.dice().percent(70);
        let lead = |id| Up::Lead { id, name: name.clone(), wait, ignore_abort: false };
        let Some(Reply::Lead { number: Some(number), .. }) = self.ask(within, lead).await else { return };
        self.sim.rules().told_leads(self.key.run, &name, &Leader::Instance(self.id().clone()), number);
        tokio::time::sleep(self.sim.delay(5000, 60_000)).await;
        if self.sim.dice().percent(60) {
            self.change(Change::Resign { lead: name }).await;
        }
    }

    /// A value that nobody else writes.
    fn value(&self) -> String {
        format!("{}-{}-{:x}", self.id(), self.key.attempt, self.sim.dice().number())
    }
}
