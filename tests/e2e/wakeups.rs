//! No wake-up is lost: each kind of wait, from machines and from outside, across each kind of disturbance.

use std::process::{Child, Command, Stdio};

use slipstream_shared::{meeting::MeetingName, state::RunState};
use slipstream_tests::{Coordinator, Machine, Options, cli, eventually};

use crate::processes::{LIMIT, key, put_single};

/// What happens while all wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    LinkCut,
    AgentKilled,
    CoordinatorKilled,
    CoordinatorStopped,
    AbortTakenBack,
}

use Disturbance::{AbortTakenBack, AgentKilled, CoordinatorKilled, CoordinatorStopped, LinkCut};

/// Where a wait is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Machine,
    Outside,
}

use Place::{Machine as Inside, Outside};

/// Each wait: where, its arguments, and what it prints when it ends well. `VALUE`, `REVISION`, `N`: of the round.
const WAITS: [(Place, &str, &str); 12] = [
    (Inside, "get answer", "VALUE\n"),
    (Inside, "wait answer", ""),
    (Inside, "wait answer=VALUE", ""),
    (Inside, "wait answer@REVISION", ""),
    (Inside, "wait machine[any]:answer~^VALUE$", ""),
    (Inside, "barrier bN --count 2", ""),
    (Inside, "lead lN", "2\n"),
    (Outside, "param get RUN machine.1:answer --wait 2m", "VALUE\n"),
    (Outside, "param wait RUN machine.1:answer=VALUE", ""),
    (Outside, "param wait RUN machine[any]:answer", ""),
    (Outside, "param wait RUN machine.1:answer@REVISION --timeout 2m", ""),
    (Outside, "barrier wait RUN bN", ""),
];

/// How a wait ends that was under way: as exit code. One that ignores the abort ends well after it was taken back.
fn expected(place: Place, disturbance: Disturbance, ignores_abort: bool) -> i32 {
    match (place, disturbance) {
        (_, LinkCut | AgentKilled | CoordinatorKilled | CoordinatorStopped) => 0,
        (_, AbortTakenBack) if ignores_abort => 0,
        (Inside | Outside, AbortTakenBack) => 5,
    }
}

struct Waiting {
    what: String,
    place: Place,
    prints: String,
    ignores_abort: bool,
    child: Child,
}

struct Stage {
    coordinator: Coordinator,
    run: String,
    machine: Machine,
    other: Machine,
}

impl Stage {
    async fn new() -> Self {
        let coordinator = Coordinator::start(Options::default()).await;
        put_single(&coordinator, "waits", "true").await;
        let two =
            "slipstream: 1\nkind: application\nname: tests/two\nnodes:\n  machine: { use: tests/waits, count: 2 }\n";
        coordinator.client().put_module(two).await.expect("fine");
        let run = coordinator.launch("tests/two").await;
        coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
        let machine = Machine::take_over(&coordinator, &run, "machine.1").await;
        let other = Machine::take_over(&coordinator, &run, "machine.2").await;
        Stage { coordinator, run, machine, other }
    }

    fn slipstream(&self, arguments: &str) -> Command {
        let mut command = cli(&self.coordinator.profile());
        command.args(arguments.split(' '));
        command
    }

    /// Begins all waits, and comes back when those of the machine are on record.
    async fn begin(&self, round: usize, ignores_abort: bool) -> Vec<Waiting> {
        let client = self.coordinator.client();
        let answer = key("machine.1:answer");
        client.unset_parameter(&self.run, &answer).await.expect("unset");
        let revision = client.parameter(&self.run, &answer).await.expect("read").revision.to_string();
        let led = self.other.command(&["lead", &format!("l{round}")]).output().expect("runs");
        assert_eq!(String::from_utf8_lossy(&led.stdout), "1\n");
        let fill = |text: &str| {
            let value = format!("value-{round}");
            let text = text.replace("VALUE", &value).replace("REVISION", &revision).replace("RUN", &self.run);
            text.replace("bN", &format!("b{round}")).replace("lN", &format!("l{round}"))
        };
        let mut all = Vec::new();
        for (place, arguments, prints) in WAITS {
            // It has no such option: it is a look at one value.
            if ignores_abort && arguments.starts_with("param get") {
                continue;
            }
            let mut what = fill(arguments);
            if ignores_abort {
                what.push_str(" --ignore-abort");
            }
            let mut command = match place {
                Inside => self.machine.command(&what.split(' ').collect::<Vec<_>>()),
                Outside => self.slipstream(&what),
            };
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
            all.push(Waiting { what, place, prints: fill(prints), ignores_abort, child });
        }
        eventually("all waits of the machine are on record", || async {
            let detail = client.run(&self.run).await.ok()?;
            let machine = detail.nodes.iter().find(|node| node.instance.index == 1)?;
            // Two of them wait for the same.
            (machine.waiting.len() == 6).then_some(())
        })
        .await;
        all
    }

    async fn disturb(&mut self, disturbance: Disturbance) {
        match disturbance {
            LinkCut => {
                self.machine.proxy.cut();
                eventually("the link is cut", || async { (self.machine.proxy.open() == 0).then_some(()) }).await;
                self.machine.proxy.mend();
            }
            AgentKilled => {
                self.machine.kill();
                self.machine.restart().await;
            }
            CoordinatorKilled => {
                self.coordinator.kill();
                self.coordinator.restart().await;
            }
            CoordinatorStopped => {
                let began = std::time::Instant::now();
                self.coordinator.stop();
                assert!(began.elapsed() < std::time::Duration::from_secs(5), "waits hold it up: {:?}", began.elapsed());
                self.coordinator.restart().await;
            }
            AbortTakenBack => {
                self.coordinator.client().abort(&self.run, "for a moment").await.expect("aborted");
            }
        }
    }

    /// Lets come what all wait for.
    async fn wake(&self, round: usize) {
        let client = self.coordinator.client();
        let answer = key("machine.1:answer");
        client.set_parameter(&self.run, &answer, &format!("value-{round}")).await.expect("set");
        let name: MeetingName = format!("b{round}").parse().expect("valid");
        client.meet(&self.run, &name, Some(2), true, LIMIT).await.expect("open");
        let resigned = self.other.command(&["lead", &format!("l{round}"), "--resign"]).status().expect("runs");
        assert!(resigned.success());
    }
}

/// Checks how waits have ended, all of them at last.
async fn check(waits: Vec<Waiting>, disturbance: Disturbance) {
    for Waiting { what, place, prints, ignores_abort, mut child } in waits {
        let end = eventually(&format!("{disturbance:?}: `{what}` ends"), || {
            let ended = child.try_wait().expect("ours");
            async move { ended }
        })
        .await;
        let output = child.wait_with_output().expect("ended");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let code = expected(place, disturbance, ignores_abort);
        assert_eq!(end.code(), Some(code), "{disturbance:?}: `{what}` printed {out:?} and {err:?}");
        if code == 0 {
            assert_eq!(out, prints, "{disturbance:?}: `{what}`: {err:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wait_survives_every_disturbance() {
    let mut stage = Stage::new().await;
    for (round, disturbance) in [LinkCut, AgentKilled, CoordinatorKilled, CoordinatorStopped].into_iter().enumerate() {
        let waits = stage.begin(round, false).await;
        stage.disturb(disturbance).await;
        stage.wake(round).await;
        check(waits, disturbance).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_ends_waits_at_once_and_those_that_ignore_it_go_on_when_it_is_taken_back() {
    let mut stage = Stage::new().await;
    let waits = stage.begin(0, false).await;
    stage.disturb(AbortTakenBack).await;
    check(waits, AbortTakenBack).await;
    stage.coordinator.client().cancel_abort(&stage.run).await.expect("taken back");
    stage.wake(0).await;

    let waits = stage.begin(1, true).await;
    stage.disturb(AbortTakenBack).await;
    stage.coordinator.client().cancel_abort(&stage.run).await.expect("taken back");
    stage.wake(1).await;
    check(waits, AbortTakenBack).await;
}
