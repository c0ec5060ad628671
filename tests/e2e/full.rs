//! Full disks: said, with what to do, and nothing is lost. They are small file systems in memory, in a
//! mount namespace of the program alone.

use std::{fs, path::PathBuf, process::Command};

use slipstream_shared::state::RunState;
use slipstream_tests::{Coordinator, Options, cli, eventually};

use crate::{
    boot::{Agent, context},
    processes::{LIMIT, key, problem, put_single},
};

/// False, with the reason, where this user may not mount.
fn may_mount() -> bool {
    let mount = Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    match mount {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            eprintln!("skipped: cannot mount a small disk: {}", String::from_utf8_lossy(&output.stderr).trim());
            false
        }
        Err(e) => {
            eprintln!("skipped: cannot start unshare: {e}");
            false
        }
    }
}

#[tokio::test]
async fn a_full_disk_of_the_coordinator_is_named_and_reading_goes_on() {
    if !may_mount() {
        return;
    }
    let coordinator = Coordinator::start(Options { disk: Some(("store", "24m")), ..Options::default() }).await;
    put_single(&coordinator, "waits", "ss-get --timeout 0 answer").await;
    let run = coordinator.launch("tests/waits").await;
    let client = coordinator.client();
    let answer = key("machine.1:statecustom");
    eventually("the machine waits", || async {
        let detail = client.run(&run).await.ok()?;
        detail.nodes[0].waiting.first().map(|_| ())
    })
    .await;
    client.set_parameter(&run, &answer, "kept").await.expect("there is room");

    let filler = coordinator.seen_by_it(&coordinator.data().join("store/filler"));
    fill(&filler);
    let full = eventually("no room", || async {
        let result = client.set_parameter(&run, &answer, &"x".repeat(60_000)).await;
        result.is_err().then(|| problem(result))
    })
    .await;
    assert_eq!((full.status, full.code.as_str()), (507, "storage_full"), "{full:#?}");
    let says = "no space left for the coordinator's store, nothing was changed \
                (free some on its disk, its log names the folder; then try again)";
    assert_eq!(full.detail, says);
    let named = format!("no space left in {}; free some, then try again", coordinator.data().join("store").display());
    assert!(coordinator.log().contains(&named), "{}", coordinator.log());

    // Reads go on, and see what was acknowledged, nothing else.
    let value = client.parameter(&run, &answer).await.expect("read").value.expect("set");
    assert!(value == "kept" || value.len() == 60_000, "{} bytes", value.len());
    client.run(&run).await.expect("read");
    let show = cli(&coordinator.profile()).args(["run", "show", &run]).output().expect("it runs");
    assert!(show.status.success(), "{show:?}");
    let set =
        cli(&coordinator.profile()).args(["param", "set", &run, "machine.1:answer", "go"]).output().expect("runs");
    assert!(!set.status.success());
    let stderr = String::from_utf8_lossy(&set.stderr);
    assert!(stderr.contains(says), "{stderr}");

    // And with space again, everything does.
    fs::remove_file(&filler).expect("removed");
    client.set_parameter(&run, &answer, "again").await.expect("there is room again");
    client.terminate(&run).await.expect("accepted");
}

#[tokio::test]
async fn a_full_disk_of_a_machine_is_named_and_what_was_set_is_not_lost() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("context");
    fs::write(&file, context("https://127.0.0.1:1").to_user_data().expect("small")).expect("written");
    let small = "mount -t tmpfs -o size=1m none \"$0\" && exec \"$@\"";
    let agent = Agent::start(&["unshare", "--mount", "sh", "-c", small], &["--context".as_ref(), file.as_os_str()]);
    agent.says("cannot enrol").await;
    let set = |value: &str| agent.command().args(["set", "port", value]).output().expect("it runs");
    let before = set("80");
    assert!(before.status.success(), "{before:?}");

    let filler = PathBuf::from(format!("/proc/{}/root", agent.child.id()))
        .join(agent.folder.path().join("state/filler").strip_prefix("/").expect("absolute"));
    fill(&filler);
    let long = "x".repeat(10_000);
    let refused = set(&long);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let stderr = String::from_utf8_lossy(&refused.stderr);
    let state = agent.folder.path().join("state");
    assert!(stderr.starts_with(&format!("cannot record the change in {}", state.display())), "{stderr}");
    assert!(
        stderr.trim_end().ends_with("No space left on device (os error 28); free some space there, then try again")
    );
    let status = agent.command().arg("status").output().expect("it runs");
    assert!(status.status.success(), "{status:?}");

    fs::remove_file(&filler).expect("removed");
    let after = set(&long);
    assert!(after.status.success(), "{after:?}");
}

#[tokio::test]
async fn a_script_that_fills_its_disk_fails_the_run_with_its_last_words() {
    if !may_mount() {
        return;
    }
    let coordinator = Coordinator::start(Options { disk: Some(("clouds", "4m")), ..Options::default() }).await;
    let deploy = "cat /dev/zero >\"$HOME/filler\" || exit 3";
    put_single(&coordinator, "fills", deploy).await;
    let run = coordinator.launch("tests/fills").await;
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let abort = detail.summary.abort.expect("it failed");
    assert!(abort.starts_with("Failed running 'deploy' script on 'machine.1': exit code 3"), "{abort}");
    coordinator.client().terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Aborted, LIMIT).await;
}

/// Writes zeroes until there is no room.
fn fill(path: &std::path::Path) {
    let mut file = fs::File::create(path).expect("made");
    let error = std::io::copy(&mut std::io::repeat(0), &mut file).expect_err("it ends");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
}
