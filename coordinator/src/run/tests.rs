//! Rules of a run, tried without I/O: events in, decisions out.

mod condition;
mod life;
mod operation;
mod parameters;
mod permission;
mod secret;

use std::collections::BTreeMap;

use slipstream_shared::{
    event::{Author, Event, Record, StepResult},
    id::{InstanceId, RunId},
    link::Change,
    parameter::{Key, MAX_VALUE},
    plan::{Category, KeepRunning, Network, NodePlan, OnSilent, ParamPlan, Plan, Policy, Script, Size, StepPlan},
    state::RunState,
    template::Template,
};

use super::{
    Run,
    change::Refused,
    decide::{BOOT_DEADLINE, Command, REPORT_DEADLINE},
    value::Leaf,
    view::timestamp,
};
use crate::drive::LaunchSecret;

const T0: u64 = 1_700_000_000_000;

fn template(text: &str) -> Template {
    text.parse().expect("valid")
}

fn step(name: &str) -> StepPlan {
    StepPlan {
        step: name.into(),
        origin: "test".into(),
        script: Script::Text("true".into()),
        within: None,
        env: BTreeMap::new(),
        needs: vec![],
    }
}

fn node(count: u32, params: &[(&str, Option<&str>)]) -> NodePlan {
    let param = |(name, value): &(&str, Option<&str>)| {
        ((*name).to_owned(), ParamPlan { value: value.map(template), ..ParamPlan::default() })
    };
    NodePlan {
        component: "test@1".into(),
        count,
        cloud: "here".into(),
        image: "host".into(),
        platform: None,
        login: "root".into(),
        size: Size::default(),
        disks: vec![],
        network: Network::Public,
        params: params.iter().map(param).collect(),
        steps: vec![step("install"), step("deploy")],
        report: vec![],
        ready: None,
        tolerate: 0,
        on_silent: OnSilent::Wait,
        bounds: slipstream_shared::operation::Bounds::default(),
        hooks: BTreeMap::new(),
        instances: BTreeMap::new(),
        imported: false,
    }
}

fn plan() -> Plan {
    let web = node(2, &[("port", Some("80")), ("ready", None)]);
    let client = node(1, &[("all", Some("${web[*].ready}")), ("url", Some("http://${web.address}:${web.port}/"))]);
    Plan {
        module: "test@1".into(),
        title: "test".into(),
        category: Category::Application,
        params: BTreeMap::new(),
        nodes: [("web", web), ("client", client)].map(|(n, p)| (n.parse().expect("valid"), p)).into(),
        outputs: BTreeMap::new(),
        policy: Policy::default(),
    }
}

/// A run and the clock it lives by.
struct Bench {
    run: Run,
    now: u64,
}

impl Bench {
    fn new(plan: Plan) -> Self {
        let accepted =
            Event::Accepted { plan: Box::new(plan), owner: "ann".into(), tags: vec![], ssh_keys: vec!["key".into()] };
        let record = record(1, T0, accepted);
        let mut run = Run::begin(RunId::new(T0, [1; 10]), &record).expect("accepted");
        run.vault = Some(LaunchSecret::new(&[7; 32]).vault(run.id));
        Bench { run, now: T0 }
    }

    fn happen(&mut self, event: Event) -> Vec<Leaf> {
        self.run.apply(&record(self.run.seq + 1, self.now, event))
    }

    /// Applies decisions until there are no more events; gives the commands and the events.
    fn settle(&mut self) -> (Vec<Command>, Vec<Event>) {
        let mut all = Vec::new();
        loop {
            let decision = self.run.decide(self.now);
            if decision.events.is_empty() {
                return (decision.commands, all);
            }
            for event in decision.events {
                all.push(event.clone());
                self.happen(event);
            }
            assert!(all.len() < 100, "decisions never end: {all:?}");
        }
    }

    fn change(&mut self, who: &str, change: &Change) {
        for event in self.run.agent_change(&id(who), change).expect("allowed") {
            self.happen(event);
        }
    }

    fn boot(&mut self, who: &str) {
        let instance = id(who);
        self.happen(Event::Launched { instance: instance.clone(), attempt: 1, machine: format!("m-{who}") });
        self.happen(Event::MachineRunning { instance: instance.clone(), attempt: 1 });
        let address = Some(format!("10.0.0.{}", instance.index));
        self.happen(Event::AddressKnown { instance: instance.clone(), public: None, private: address, ssh: None });
        self.happen(Event::Enrolled { instance, attempt: 1, key: "k".into(), agent: "1".into() });
    }

    fn happen_by(&mut self, who: &str, event: Event) {
        let by = Author::Instance(id(who));
        self.run.apply(&Record { by, ..record(self.run.seq + 1, self.now, event) });
    }

    fn deploy(&mut self, who: &str) {
        self.deploy_without_ready(who);
        self.change(who, &Change::Ready);
    }

    fn deploy_without_ready(&mut self, who: &str) {
        for index in 0..2 {
            self.change(who, &Change::StepStarted { index });
            self.change(
                who,
                &Change::StepFinished { index, result: StepResult { exit: Some(0), ..StepResult::default() } },
            );
        }
    }

    fn all_ready(&mut self) {
        self.settle();
        for who in ["web.1", "web.2", "client.1"] {
            self.boot(who);
            self.deploy(who);
        }
        self.settle();
        for who in ["web.1", "web.2", "client.1"] {
            self.change(who, &Change::Reported);
        }
        self.settle();
    }
}

fn record(seq: u64, now: u64, event: Event) -> Record {
    Record { seq, at: timestamp(now), by: Author::System, op: None, event }
}

fn id(text: &str) -> InstanceId {
    text.parse().expect("valid")
}

fn key(text: &str) -> Key {
    text.parse().expect("valid")
}

#[test]
fn a_run_goes_through_its_states_and_back_to_nothing() {
    let mut bench = Bench::new(plan());
    assert_eq!(bench.run.state, RunState::Initializing);
    let (commands, _) = bench.settle();
    assert_eq!(bench.run.state, RunState::Provisioning);
    assert_eq!(commands.iter().filter(|c| matches!(c, Command::Launch(_))).count(), 3, "all at once: {commands:?}");

    for who in ["web.1", "web.2", "client.1"] {
        bench.boot(who);
    }
    bench.settle();
    assert_eq!(bench.run.state, RunState::Executing);
    for who in ["web.1", "web.2", "client.1"] {
        bench.deploy(who);
    }
    let (commands, _) = bench.settle();
    assert_eq!(bench.run.state, RunState::SendingReports);
    assert!(commands.contains(&Command::Report));
    for who in ["web.1", "web.2", "client.1"] {
        bench.change(who, &Change::Reported);
    }
    bench.settle();
    assert_eq!(bench.run.state, RunState::Ready);

    bench.happen(Event::TerminateRequested);
    let (commands, _) = bench.settle();
    assert_eq!(bench.run.state, RunState::Finalizing);
    assert_eq!(commands.iter().filter(|c| matches!(c, Command::Terminate(_))).count(), 3);
    assert!(!commands.contains(&Command::Release), "machines are still there");
    for who in ["web.1", "web.2", "client.1"] {
        bench.happen(Event::MachineGone { instance: id(who), attempt: 1, unexpected: false });
    }
    let (commands, _) = bench.settle();
    assert_eq!(commands, [Command::Release]);
    assert_eq!(bench.run.final_state(), RunState::Done);
}

#[test]
fn ready_is_latched() {
    let mut bench = Bench::new(plan());
    bench.all_ready();
    assert_eq!(bench.run.state, RunState::Ready);
    bench.happen(Event::MachineGone { instance: id("web.2"), attempt: 1, unexpected: true });
    bench.settle();
    assert_eq!(bench.run.state, RunState::Ready);
    assert_eq!(bench.run.summary().ready, 2, "health shows it");
}

#[test]
fn keep_running_decides_what_stays() {
    use KeepRunning::{Always, Never, OnError, OnSuccess};
    for (policy, aborted, state) in [
        (Always, false, RunState::Ready),
        (Always, true, RunState::Ready),
        (OnSuccess, false, RunState::Ready),
        (OnSuccess, true, RunState::Finalizing),
        (OnError, false, RunState::Finalizing),
        (OnError, true, RunState::Ready),
        (Never, false, RunState::Finalizing),
        (Never, true, RunState::Finalizing),
    ] {
        let mut bench = Bench::new(Plan { policy: Policy { keep_running: policy, ..Policy::default() }, ..plan() });
        if aborted {
            bench.settle();
            bench.happen(Event::AbortRaised { instance: None, reason: "x".into(), failure: None });
            bench.settle();
        } else {
            bench.all_ready();
        }
        assert_eq!(bench.run.state, state, "{policy:?}, aborted: {aborted}");
    }
}

#[test]
fn a_failed_step_aborts_the_run_with_its_last_words() {
    let mut bench = Bench::new(plan());
    bench.settle();
    bench.boot("web.1");
    bench.change("web.1", &Change::StepStarted { index: 0 });
    let result = StepResult { exit: Some(3), last_stderr: Some("no such package".into()), ..StepResult::default() };
    bench.change("web.1", &Change::StepFinished { index: 0, result });
    let abort = bench.run.abort.clone().expect("aborted");
    assert_eq!(abort.reason, "Failed running 'install' script on 'web.1': exit code 3: no such package");
    assert_eq!(abort.instance, Some(id("web.1")));
    let again = bench.run.raise_abort(None, "later");
    assert_eq!(again, [], "the first reason wins");
}

#[test]
fn an_aborted_run_waits_for_running_scripts_but_not_for_ever() {
    let mut bench = Bench::new(plan());
    bench.settle();
    bench.boot("web.1");
    bench.change("web.1", &Change::StepStarted { index: 0 });
    bench.happen(Event::AbortRaised { instance: None, reason: "enough".into(), failure: None });
    bench.settle();
    assert_eq!(bench.run.state, RunState::Provisioning);
    bench.now += REPORT_DEADLINE;
    bench.settle();
    assert_eq!(bench.run.state, RunState::SendingReports);
    bench.now += REPORT_DEADLINE;
    bench.settle();
    assert_eq!(bench.run.state, RunState::Ready);
    assert_eq!(bench.run.outcome(), slipstream_shared::state::Outcome::Failed);
}

#[test]
fn deadlines_name_what_is_missing() {
    let mut bench = Bench::new(plan());
    bench.settle();
    bench.boot("web.1");
    bench.now += BOOT_DEADLINE + 1;
    bench.settle();
    let reason = bench.run.abort.clone().expect("aborted").reason;
    assert_eq!(reason, "the cloud `here` has not accepted the launch of client.1 within 30 minutes");

    let mut bench = Bench::new(Plan { policy: Policy { timeout: 60, ..Policy::default() }, ..plan() });
    bench.settle();
    let wake = bench.run.decide(bench.now).wake.expect("there is a deadline");
    assert_eq!(wake, T0 + 60_000);
    bench.now = wake;
    bench.settle();
    assert_eq!(
        bench.run.abort.expect("aborted").reason,
        "not Ready within 60 s: the cloud `here` has not accepted the launch of client.1"
    );
}

#[test]
fn a_launch_that_failed_for_now_is_tried_again_under_a_new_attempt() {
    let mut bench = Bench::new(plan());
    bench.settle();
    let failed = |attempt, retry| Event::LaunchFailed { instance: id("web.1"), attempt, reason: "busy".into(), retry };
    bench.happen(failed(1, true));
    let (commands, _) = bench.settle();
    assert!(!commands.contains(&Command::Launch(id("web.1"))), "not at once");
    bench.now += 1000;
    let (commands, _) = bench.settle();
    assert!(commands.contains(&Command::Launch(id("web.1"))));
    assert_eq!(bench.run.instances[&id("web.1")].attempt, 2);
    bench.happen(failed(2, false));
    bench.settle();
    assert_eq!(bench.run.abort.expect("aborted").reason, "cannot launch web.1: busy");
}

#[test]
fn terminating_an_unfinished_run_cancels_it() {
    let mut bench = Bench::new(plan());
    bench.settle();
    bench.happen(Event::TerminateRequested);
    bench.settle();
    assert_eq!(bench.run.final_state(), RunState::Cancelled);
    assert_eq!(bench.run.request_termination(), [], "once is enough");
}

#[test]
fn a_run_is_the_fold_of_its_events() {
    let mut bench = Bench::new(plan());
    bench.all_ready();
    let json = serde_json::to_string(&bench.run).expect("serializes");
    let back: Run = serde_json::from_str(&json).expect("reads back");
    assert_eq!(serde_json::to_string(&back).expect("serializes"), json, "a snapshot loses nothing");
}
