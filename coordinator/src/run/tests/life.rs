//! What ends a run, what it tolerates, and what takes the place of a machine that was lost.

use slipstream_shared::{
    event::{Event, StepResult},
    link::Change,
    plan::{KeepRunning, OnFailure, OnSilent, Plan, Policy, Start},
    state::{Failure, Milestone, Outcome, RunState},
};

use super::{Bench, T0, id, key, plan, record};
use crate::run::{
    Machine, Run,
    change::Refused,
    deadline::{ADDRESS_DEADLINE, BOOT_DEADLINE, GRACE, LAUNCH_DEADLINE, REMOVAL_DEADLINE, RUNNING_DEADLINE},
    decide::Command,
    lease::LONGEST,
};

const ALL: [&str; 3] = ["web.1", "web.2", "client.1"];

fn with(policy: Policy) -> Plan {
    Plan { policy, ..plan() }
}

fn with_web(change: impl Fn(&mut slipstream_shared::plan::NodePlan)) -> Plan {
    let mut plan = plan();
    plan.nodes.iter_mut().filter(|(name, _)| name.as_str() == "web").for_each(|(_, node)| change(node));
    plan
}

fn failed() -> StepResult {
    StepResult { exit: Some(3), ..StepResult::default() }
}

fn abort(reason: &str) -> Event {
    Event::AbortRaised { instance: None, reason: reason.into(), failure: None }
}

/// What happens to an instance up to a milestone, which is then missing.
fn up_to(bench: &mut Bench, who: &str, milestone: Milestone) {
    let instance = id(who);
    let all = [
        (Milestone::Launched, Event::Launched { instance: instance.clone(), attempt: 1, machine: "m".into() }),
        (Milestone::Running, Event::MachineRunning { instance: instance.clone(), attempt: 1 }),
        (
            Milestone::Address,
            Event::AddressKnown {
                instance: instance.clone(),
                public: Some("192.0.2.1".into()),
                private: None,
                ssh: None,
            },
        ),
        (Milestone::Enrolled, Event::Enrolled { instance, attempt: 1, key: "k".into(), agent: "1".into(), boot: None }),
    ];
    for (_, event) in all.into_iter().take_while(|(reached, _)| *reached < milestone) {
        bench.happen(event);
    }
}

#[test]
fn each_milestone_has_its_deadline_and_its_own_name() {
    use Milestone::{Address, Deployed, Enrolled, Launched, Running};
    let table = [
        (
            Launched,
            LAUNCH_DEADLINE,
            Failure::LaunchLate,
            "the cloud `here` has not accepted the launch of web.1 within 30 minutes",
        ),
        (
            Running,
            RUNNING_DEADLINE,
            Failure::NotRunning,
            "the cloud `here` has not said that the machine of web.1 runs within 15 minutes",
        ),
        (
            Address,
            ADDRESS_DEADLINE,
            Failure::NoAddress,
            "the cloud `here` has not given the machine of web.1 an address within 10 minutes",
        ),
        (Enrolled, BOOT_DEADLINE, Failure::NotEnrolled, "the agent of web.1 has not enrolled within 30 minutes"),
    ];
    for (milestone, limit, failure, said) in table {
        let mut bench = Bench::new(with(Policy { timeout: 100_000, ..Policy::default() }));
        bench.settle();
        for who in ["web.2", "client.1"] {
            bench.boot(who);
        }
        up_to(&mut bench, "web.1", milestone);
        let why = bench.run.why();
        let lacks = why.instances.iter().find(|w| w.instance == id("web.1")).expect("it lacks something");
        assert_eq!((lacks.milestone, lacks.failure), (milestone, failure));
        assert_eq!(lacks.until, Some(bench.run.shown(T0 + limit)), "{milestone}");
        bench.now += limit - 1;
        bench.settle();
        assert_eq!(bench.run.abort, None, "{milestone}: not yet");
        bench.now += 1;
        bench.settle();
        let abort = bench.run.abort.clone().expect("aborted");
        assert_eq!((abort.failure, abort.reason.as_str(), abort.instance), (Some(failure), said, Some(id("web.1"))));
        assert_eq!(bench.run.summary().failure, Some(failure));
    }

    // Within the machine: a step that has a limit, and the ready check.
    let mut bench = Bench::new(with_web(|node| node.steps[0].within = Some(60)));
    bench.settle();
    bench.boot("web.1");
    assert_eq!(bench.run.why().instances[1].what, "web.1 has not begun `install`");
    bench.change("web.1", &Change::StepStarted { index: 0 });
    assert_eq!(bench.run.why().instances[1].milestone, Deployed);
    bench.now += 60_000 + GRACE;
    bench.settle();
    let abort = bench.run.abort.clone().expect("aborted");
    assert_eq!(
        (abort.failure, abort.reason.as_str()),
        (Some(Failure::StepLate), "`install` of web.1 has not ended within 2 minutes")
    );

    let mut bench = Bench::new(plan());
    bench.settle();
    bench.boot("web.1");
    bench.deploy_without_ready("web.1");
    bench.now += GRACE;
    bench.settle();
    let abort = bench.run.abort.clone().expect("aborted");
    assert_eq!(
        (abort.failure, abort.reason.as_str()),
        (Some(Failure::NotReady), "the ready check of web.1 has not passed within 60 s")
    );
}

#[test]
fn a_deadline_that_passed_while_no_coordinator_was_there_leaves_time_to_come_back() {
    let mut bench = Bench::new(with_web(|node| node.steps[0].within = Some(60)));
    bench.settle();
    bench.boot("web.1");
    bench.change("web.1", &Change::StepStarted { index: 0 });
    bench.now += 1_800_000 - 1;
    bench.run.listening_since = bench.now;
    bench.settle();
    assert_eq!(bench.run.abort, None, "its result may be on its way");
    bench.change("web.1", &Change::StepFinished { index: 0, result: StepResult { exit: Some(0), ..failed() } });
    bench.now += GRACE;
    bench.settle();
    assert_eq!(bench.run.abort.expect("the others did not come").failure, Some(Failure::LaunchLate));
}

#[test]
fn why_names_what_an_instance_waits_for() {
    let mut plan = plan();
    for (name, node) in &mut plan.nodes {
        if name.as_str() == "client" {
            node.steps[0].env.insert("URL".into(), super::template("${web[*].ready}"));
        }
    }
    let mut bench = Bench::new(plan);
    bench.settle();
    bench.boot("client.1");
    let why = bench.run.why();
    let lacks = why.instances.iter().find(|w| w.instance == id("client.1")).expect("it waits");
    assert_eq!(lacks.what, "client.1 has not begun `install`");
    assert_eq!(lacks.waits_for, ["web.1:ready", "web.2:ready"]);
    assert_eq!(why.summary, "Provisioning: client.1 has not begun `install`");
    bench.happen(Event::WaitBegan { instance: id("client.1"), on: "web.1:port".into() });
    assert_eq!(bench.run.why().instances[0].waits_for, ["web.1:port"]);
}

#[test]
fn together_means_that_no_first_step_begins_before_all_have_an_address_or_are_given_up() {
    let mut plan = with(Policy { start: Start::Together, ..Policy::default() });
    plan.nodes.values_mut().for_each(|node| node.tolerate = 1);
    let mut bench = Bench::new(plan);
    bench.settle();
    bench.boot("web.1");
    assert!(bench.run.agent_plan(&id("web.1"), false).expect("there").steps[0].gated, "the agent asks first");
    assert!(bench.run.agent_env(&id("web.1"), 0).is_err());
    bench.boot("web.2");
    assert!(bench.run.agent_env(&id("web.1"), 0).is_err(), "client.1 has none");
    bench.happen(Event::LaunchFailed { instance: id("client.1"), attempt: 1, reason: "no".into(), retry: false });
    let (_, events) = bench.settle();
    assert!(events.iter().any(|e| matches!(e, Event::InstanceGivenUp { .. })), "{events:?}");
    assert!(bench.run.agent_env(&id("web.1"), 0).is_ok());

    let mut eager = Bench::new(super::plan());
    eager.settle();
    eager.boot("web.1");
    assert!(eager.run.agent_env(&id("web.1"), 0).is_ok(), "eager does not wait");
}

#[test]
fn a_node_tolerates_so_many_machines_that_never_come() {
    let mut bench = Bench::new(with_web(|node| {
        node.tolerate = 1;
        node.count = 3;
    }));
    bench.settle();
    let max = bench.run.value(&key("web:max-provisioning-failures"));
    assert_eq!(max, Ok("1".into()));
    for who in ["web.1", "client.1"] {
        bench.boot(who);
    }
    bench.happen(Event::Launched { instance: id("web.2"), attempt: 1, machine: "m".into() });
    bench.now += RUNNING_DEADLINE;
    let (commands, _) = bench.settle();
    assert_eq!(bench.run.abort, None);
    assert_eq!(bench.run.instances[&id("web.2")].machine, Machine::Terminating, "what may be there is removed");
    assert!(commands.contains(&Command::Terminate(id("web.2"))));
    assert_eq!(bench.run.value(&key("web:ids")), Ok("1,3".into()), "nobody waits for it any more");
    let shown = bench.run.detail(|_| false).nodes.into_iter().find(|n| n.instance == id("web.2")).expect("shown");
    assert!(shown.failure.expect("said").starts_with("the cloud `here` has not said"));

    bench.happen(Event::LaunchFailed { instance: id("web.3"), attempt: 1, reason: "no room".into(), retry: false });
    bench.settle();
    let abort = bench.run.abort.clone().expect("one too many");
    assert_eq!((abort.failure, abort.reason.as_str()), (Some(Failure::LaunchFailed), "cannot launch web.3: no room"));
}

#[test]
fn a_failure_that_is_no_launch_is_not_tolerated() {
    let mut bench = Bench::new(with_web(|node| node.tolerate = 2));
    bench.settle();
    bench.boot("web.1");
    bench.change("web.1", &Change::StepStarted { index: 0 });
    bench.change("web.1", &Change::StepFinished { index: 0, result: failed() });
    assert_eq!(bench.run.abort.expect("aborted").failure, Some(Failure::StepFailed));
}

#[test]
fn the_first_reason_is_that_of_the_run_and_each_instance_keeps_its_own() {
    let mut bench = Bench::new(plan());
    bench.settle();
    for who in ["web.1", "web.2"] {
        bench.boot(who);
        bench.change(who, &Change::StepStarted { index: 0 });
    }
    bench.change("web.1", &Change::Abort { reason: "first".into() });
    bench.change("web.2", &Change::StepFinished { index: 0, result: failed() });
    bench.change("web.2", &Change::Abort { reason: "again".into() });
    let ended = StepResult { signal: Some(15), cause: Some("aborted".into()), ..StepResult::default() };
    bench.change("web.1", &Change::StepFinished { index: 0, result: ended });
    let value = |bench: &Bench, k: &str| bench.run.value(&key(k)).ok();
    assert_eq!(value(&bench, "ss:abort").as_deref(), Some("first"));
    assert_eq!(value(&bench, "web.1:abort").as_deref(), Some("first"));
    assert_eq!(
        value(&bench, "web.2:abort").as_deref(),
        Some("Failed running 'install' script on 'web.2': exit code 3")
    );
    bench.happen(Event::AbortCancelled);
    for k in ["ss:abort", "web.1:abort", "web.2:abort"] {
        assert_eq!(value(&bench, k), None, "{k}");
    }
}

#[test]
fn what_stays_is_decided_once_for_each_entry_into_ready() {
    // Aborted when it was Ready for long: reports are collected once more, then it is decided anew.
    let mut bench = Bench::new(with(Policy { keep_running: KeepRunning::OnSuccess, ..Policy::default() }));
    bench.all_ready();
    assert_eq!(bench.run.state, RunState::Ready);
    bench.happen(abort("broken"));
    let (commands, _) = bench.settle();
    assert_eq!(bench.run.state, RunState::SendingReports);
    assert!(commands.contains(&Command::Report));
    for who in ALL {
        bench.change(who, &Change::Reported);
    }
    let (_, events) = bench.settle();
    assert_eq!(bench.run.state, RunState::Finalizing, "{events:?}");
    assert_eq!(bench.run.outcome(), Outcome::Failed);

    // Taken back in time: nothing has happened.
    let mut bench = Bench::new(with(Policy { keep_running: KeepRunning::OnSuccess, ..Policy::default() }));
    bench.all_ready();
    bench.happen(abort("broken"));
    bench.happen(Event::AbortCancelled);
    bench.settle();
    assert_eq!(bench.run.state, RunState::Ready);
    assert_eq!(bench.run.outcome(), Outcome::Succeeded);

    // A failure that is taken back when the run is Ready was no success, and nothing is launched by it.
    let mut bench = Bench::new(plan());
    bench.settle();
    bench.happen(abort("no"));
    bench.settle();
    assert_eq!(bench.run.state, RunState::Ready);
    bench.happen(Event::AbortCancelled);
    bench.settle();
    assert_eq!((bench.run.state, bench.run.outcome()), (RunState::Ready, Outcome::Pending));
}

#[test]
fn rollback_removes_what_a_failed_deployment_has_launched_but_no_run_that_was_ready() {
    let policy = Policy { on_failure: OnFailure::Rollback, ..Policy::default() };
    let mut bench = Bench::new(with(policy.clone()));
    bench.settle();
    bench.happen(abort("no"));
    bench.settle();
    assert_eq!(bench.run.state, RunState::Finalizing);

    let mut bench = Bench::new(with(policy));
    bench.all_ready();
    bench.happen(abort("later"));
    bench.settle();
    for who in ALL {
        bench.change(who, &Change::Reported);
    }
    bench.settle();
    assert_eq!(bench.run.state, RunState::Ready, "keep-running says always");
}

#[test]
fn a_lease_warns_ends_and_can_be_moved() {
    let mut bench = Bench::new(with(Policy { lease: Some(10_000), ..Policy::default() }));
    bench.all_ready();
    assert_eq!(bench.run.detail(|_| true).lease_end, Some(bench.run.shown(T0 + 10_000_000)));
    bench.now = T0 + 9_000_000;
    let (_, events) = bench.settle();
    assert_eq!(events, [Event::LeaseEnding { seconds: 1000 }]);
    assert_eq!(bench.settle().1, [], "said once");
    for event in bench.run.set_lease(Some(5_000)).expect("allowed") {
        bench.happen(event);
    }
    bench.now = T0 + 10_000_000;
    assert_eq!(bench.settle().1, [], "it was moved");
    assert_eq!(bench.run.decide(bench.now).wake, Some(T0 + 9_000_000 + 4_500_000), "the next warning");
    bench.now = T0 + 14_000_000;
    let (_, events) = bench.settle();
    assert_eq!(events[..2], [Event::LeaseEnded, Event::TerminateRequested]);
    assert_eq!(bench.run.state, RunState::Finalizing);
    let refused = bench.run.set_lease(Some(60)).expect_err("too late");
    assert!(matches!(refused, Refused::Gone(_)), "{refused}");

    let mut bench = Bench::new(with(Policy { lease: Some(10_000), ..Policy::default() }));
    bench.all_ready();
    bench.run.set_lease(Some(LONGEST + 1)).expect_err("too long");
    bench.happen(Event::LeaseSet { seconds: None });
    bench.now = T0 + 1_000_000_000;
    bench.settle();
    assert_eq!(bench.run.state, RunState::Ready, "it has none any more");
    bench.happen(Event::LeaseSet { seconds: Some(0) });
    bench.settle();
    assert_eq!(bench.run.state, RunState::Finalizing, "now");
}

fn silent(who: &str) -> Event {
    Event::InstanceSilent { instance: id(who), attempt: 1 }
}

#[test]
fn silence_is_shown_fails_the_run_or_has_the_machine_replaced() {
    let mut bench = Bench::new(plan());
    bench.all_ready();
    bench.happen(silent("web.1"));
    assert_eq!(bench.settle().1, [], "wait: nothing follows");
    assert_eq!(bench.run.summary().health, "2 of 3 ready, 1 silent");

    let mut bench = Bench::new(with_web(|node| node.on_silent = OnSilent::Fail));
    bench.all_ready();
    bench.happen(silent("web.1"));
    bench.settle();
    let abort = bench.run.abort.clone().expect("aborted");
    assert_eq!(abort.failure, Some(Failure::Silent));
    assert_eq!(abort.reason, "web.1 is silent: nothing is heard of its agent (its node says on_silent: fail)");
}

#[test]
fn a_replaced_instance_keeps_its_id_and_loses_its_key_and_what_it_had_published() {
    let mut bench = Bench::new(with_web(|node| node.on_silent = OnSilent::Replace));
    bench.all_ready();
    bench.change("web.1", &Change::Set { key: key("web.1:ready"), value: Some("true".into()), ignore_abort: false });
    let seq = bench.run.seq + 1;
    let ann = slipstream_shared::event::Author::User("ann".into());
    let by_ann = Event::ParameterSet { key: key("web.1:port"), value: "81".into() };
    bench.run.apply(&slipstream_shared::event::Record { by: ann, ..record(seq, bench.now, by_ann) });
    bench.happen_by("web.1", Event::ParameterSet { key: key("web.1:ready"), value: "true".into() });
    bench.happen(silent("web.1"));
    let (commands, _) = bench.settle();
    assert_eq!(bench.run.state, RunState::Ready, "latched");
    assert!(commands.contains(&Command::Terminate(id("web.1"))), "{commands:?}");
    let instance = bench.run.instances[&id("web.1")].clone();
    assert_eq!((instance.key.as_deref(), &instance.machine), (None, &Machine::Terminating));
    assert!(!commands.contains(&Command::Launch(id("web.1"))), "not before the other is gone");
    assert_eq!(bench.run.value(&key("web.1:ready")).ok(), None, "whoever waits, waits for the new one");
    assert_eq!(bench.run.value(&key("web.1:port")).ok().as_deref(), Some("81"), "what a person has set stays");
    assert_eq!(bench.run.value(&key("web:ids")), Ok("1,2".into()), "it is still a member");

    bench.happen(Event::MachineGone { instance: id("web.1"), attempt: 1, unexpected: false });
    bench.settle();
    bench.now += 1000;
    let (commands, events) = bench.settle();
    assert!(matches!(&events[..], [Event::LaunchIntended { attempt: 2, .. }]), "{events:?}");
    assert!(commands.contains(&Command::Launch(id("web.1"))));
    let instance = id("web.1");
    bench.happen(Event::Launched { instance: instance.clone(), attempt: 2, machine: "m2".into() });
    bench.happen(Event::MachineRunning { instance: instance.clone(), attempt: 2 });
    bench.happen(Event::Enrolled { instance, attempt: 2, key: "k2".into(), agent: "1".into(), boot: None });
    bench.settle();
    assert_eq!(bench.run.agent_plan(&id("web.1"), false).expect("there").finished.len(), 0, "all steps run again");
    bench.deploy("web.1");
    bench.settle();
    assert_eq!(bench.run.summary().health, "3 of 3 ready");
    assert_eq!(bench.run.abort, None);
}

#[test]
fn a_replacement_that_never_comes_is_given_up_and_the_run_stays() {
    let mut bench = Bench::new(with_web(|node| node.on_silent = OnSilent::Replace));
    bench.all_ready();
    for event in bench.run.lose(&id("web.1"), "its machine is gone", bench.now) {
        bench.happen(event);
    }
    bench.happen(Event::MachineGone { instance: id("web.1"), attempt: 1, unexpected: true });
    bench.settle();
    bench.now += 1000;
    bench.settle();
    bench.happen(Event::LaunchFailed { instance: id("web.1"), attempt: 2, reason: "no room".into(), retry: false });
    bench.settle();
    assert_eq!((bench.run.state, &bench.run.abort), (RunState::Ready, &None));
    let shown = bench.run.detail(|_| true).nodes.into_iter().find(|n| n.instance == id("web.1")).expect("there");
    assert_eq!((shown.milestone, shown.failure.as_deref()), (Milestone::Gone, Some("cannot launch web.1: no room")));
    assert_eq!(bench.run.value(&key("web:ids")), Ok("2".into()));
}

/// A run brought to each state there is.
fn in_state(state: RunState) -> Run {
    let mut bench = Bench::new(plan());
    if state == RunState::Initializing {
        return bench.run;
    }
    bench.settle();
    if state >= RunState::Executing {
        for who in ALL {
            bench.boot(who);
        }
        bench.settle();
    }
    if state >= RunState::SendingReports {
        for who in ALL {
            bench.deploy(who);
        }
        bench.settle();
    }
    if state >= RunState::Ready {
        for who in ALL {
            bench.change(who, &Change::Reported);
        }
        bench.settle();
    }
    if state >= RunState::Finalizing {
        bench.happen(Event::TerminateRequested);
        bench.settle();
    }
    if state.is_final() {
        bench.happen(Event::StateChanged { state });
    }
    assert_eq!(bench.run.state, state);
    bench.run
}

#[test]
fn a_run_can_be_ended_in_every_state_and_once_is_enough() {
    use RunState::{
        Aborted, Cancelled, Done, Executing, Finalizing, Initializing, Provisioning, Ready, SendingReports,
    };
    for state in [Initializing, Provisioning, Executing, SendingReports, Ready, Finalizing, Done, Aborted, Cancelled] {
        let mut bench = Bench { run: in_state(state), now: T0 };
        let events = bench.run.request_termination();
        let expected = usize::from(state < Finalizing);
        assert_eq!(events.len(), expected, "{state}");
        for event in events {
            bench.happen(event);
        }
        assert_eq!(bench.run.request_termination(), [], "{state}: once more");
        bench.settle();
        if state.is_final() {
            assert_eq!(bench.run.state, state, "nothing changes");
            assert!(matches!(bench.run.abandon(), Err(Refused::Gone(_))));
            assert!(matches!(bench.run.set_lease(Some(1)), Err(Refused::Gone(_))));
            continue;
        }
        assert_eq!(bench.run.state, Finalizing, "{state}");
        for who in ALL {
            // One that is gone already counts as done.
            bench.happen(Event::MachineGone { instance: id(who), attempt: 1, unexpected: false });
        }
        let (commands, _) = bench.settle();
        assert_eq!(commands, [Command::Release], "{state}: what is left is looked for");
        let end = if state < Ready { Cancelled } else { Done };
        assert_eq!(bench.run.final_state(), end, "{state}");
    }
}

#[test]
fn abandoning_ends_a_run_and_lists_what_it_leaves() {
    let refused = in_state(RunState::Ready).abandon().expect_err("its end was not asked for");
    assert!(matches!(&refused, Refused::Busy(text) if text.contains("terminate it first")), "{refused}");
    let mut bench = Bench { run: in_state(RunState::Finalizing), now: T0 };
    bench.happen(Event::MachineGone { instance: id("web.2"), attempt: 1, unexpected: false });
    for event in bench.run.abandon().expect("allowed") {
        bench.happen(event);
    }
    assert_eq!(bench.run.state, RunState::Done);
    let detail = bench.run.detail(|_| false);
    let left: Vec<_> = detail.left.iter().map(|l| (l.instance.to_string(), l.machine.clone())).collect();
    let machine = |name: &str| Some(format!("m-{name}"));
    assert_eq!(left, [("client.1".to_owned(), machine("client.1")), ("web.1".to_owned(), machine("web.1"))]);
    assert!(detail.left[0].name.starts_with("ss-"), "{detail:?}");
    assert_eq!(bench.run.why().summary, "Done, but 2 machines were left behind");
    assert_eq!(bench.run.decide(bench.now).commands, [], "nobody looks after them any more");
}

#[test]
fn people_are_told_once_of_a_machine_that_does_not_go() {
    let mut bench = Bench { run: in_state(RunState::Finalizing), now: T0 };
    bench.now += REMOVAL_DEADLINE;
    let (commands, events) = bench.settle();
    let told = |e: &Event| matches!(e, Event::Noted { message } if message.starts_with("not_removed: cloud `here` still shows ss-"));
    assert_eq!(events.iter().filter(|e| told(e)).count(), 3, "{events:?}");
    assert_eq!(commands.iter().filter(|c| matches!(c, Command::Terminate(_))).count(), 3, "it is still tried");
    bench.now += REMOVAL_DEADLINE;
    assert_eq!(bench.settle().1, [], "once");
}
