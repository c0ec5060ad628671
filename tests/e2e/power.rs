//! Machines stopped and started, as plain processes.

use slipstream_shared::{
    api::OperationStatus,
    state::{Milestone, RunState},
};
use slipstream_tests::{Coordinator, Options, cli, processes_of};

use crate::processes::{LIMIT, key, put_single};

#[tokio::test]
async fn a_machine_is_stopped_and_started_and_is_the_same_and_nothing_runs_twice() {
    let coordinator = Coordinator::start(Options::default()).await;
    put_single(&coordinator, "sleeper", "ss-set answer once; echo ran; sleep 1000 &").await;
    let run = coordinator.launch("tests/sleeper").await;
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let client = coordinator.client();
    let power = |what: &str, more: &[&str]| {
        let line = ["run", what, run.as_str()].into_iter().chain(more.iter().copied());
        let output = cli(&coordinator.profile()).args(line).output().expect("runs");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code(), text.concat())
    };
    let before = client.run(&run).await.expect("shown").nodes.remove(0);
    client.set_parameter(&run, &key("machine.1:answer"), "by hand").await.expect("set");

    let (code, text) = power("stop", &["--wait"]);
    assert_eq!(code, Some(0), "{text}");
    let stopped = client.run(&run).await.expect("shown").nodes.remove(0);
    assert_eq!((stopped.milestone, stopped.connected), (Milestone::Stopped, false));
    assert_eq!(stopped.machine, before.machine);
    let folder = coordinator.machines().remove(0);
    assert_eq!(processes_of(&folder), [], "what it had left running has ended too");
    let (code, text) = power("stop", &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("change nothing"), "{text}");

    let (code, text) = power("start", &["machine.1", "--wait"]);
    assert_eq!(code, Some(0), "{text}");
    let after = client.run(&run).await.expect("shown").nodes.remove(0);
    assert_eq!((after.milestone, after.attempt, &after.machine), (Milestone::Ready, 1, &before.machine));
    let answer = client.parameter(&run, &key("machine.1:answer")).await.expect("there").value;
    assert_eq!(answer.as_deref(), Some("by hand"), "deploy was not run again");

    let (code, text) = power("reboot", &["--wait"]);
    assert_eq!(code, Some(0), "{text}");
    let operations = client.operations(&run).await.expect("listed");
    assert!(operations.iter().all(|o| o.status == OperationStatus::Succeeded), "{operations:#?}");
    let (code, text) = power("start", &["machine.9"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("this run has no instance machine.9"), "{text}");

    power("stop", &["--wait"]);
    client.terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}
