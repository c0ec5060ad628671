//! Machines stopped and started, as plain processes.

use std::path::{Path, PathBuf};

use slipstream_shared::{
    api::OperationStatus,
    state::{Milestone, RunState},
};
use slipstream_tests::{Coordinator, Options, cli, eventually, processes_of};

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

#[tokio::test]
async fn certificates_are_renewed_while_machines_run_and_when_they_come_back_after_theirs_has_expired() {
    let life = std::time::Duration::from_secs(4);
    let options = Options { certificate_life: Some("4s"), ..Options::default() };
    let mut coordinator = Coordinator::start(options).await;
    put_single(&coordinator, "sleeper", "echo ran").await;
    let run = coordinator.launch("tests/sleeper").await;
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let connected = async |coordinator: &Coordinator| {
        let client = coordinator.client();
        eventually("the agent is connected", || async {
            let machine = client.run(&run).await.ok()?.nodes.remove(0);
            (machine.connected && machine.milestone == Milestone::Ready).then_some(())
        })
        .await;
    };
    let certificate = || {
        let folder = coordinator.machines().remove(0);
        let file = walk(&folder).into_iter().find(|path| path.ends_with("certificate.pem")).expect("kept");
        std::fs::read_to_string(file).expect("readable")
    };
    let first = certificate();
    eventually("a second certificate", || async { (certificate() != first).then_some(()) }).await;
    // The link was made with the first one. By now that has expired: another link needs the second.
    tokio::time::sleep(life).await;
    coordinator.kill();
    coordinator.restart().await;
    connected(&coordinator).await;

    let power = |what: &str| {
        let output = cli(&coordinator.profile()).args(["run", what, run.as_str(), "--wait"]).output().expect("runs");
        assert!(output.status.success(), "{output:?}");
    };
    power("stop");
    tokio::time::sleep(life * 2).await;
    power("start");
    connected(&coordinator).await;
    coordinator.client().terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}
