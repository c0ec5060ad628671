//! Repairing an instance by running its steps again.

use slipstream_shared::{
    api::OperationStatus,
    id::InstanceId,
    state::{Milestone, RunState},
};
use slipstream_tests::{Coordinator, Options, cli};

use crate::processes::{LIMIT, put_single};

async fn output(coordinator: &Coordinator, run: &str, index: u32) -> String {
    let machine: InstanceId = "machine.1".parse().expect("valid");
    let mut body = coordinator.client().log(run, &machine, index, 0).await.expect("kept");
    String::from_utf8(body.bytes().await.expect("read").to_vec()).expect("text")
}

#[tokio::test]
async fn a_failed_deploy_is_repaired_with_another_script_and_each_execution_keeps_its_output() {
    let coordinator = Coordinator::start(Options::default()).await;
    put_single(&coordinator, "repaired", "echo first; exit 3").await;
    let run = coordinator.launch("tests/repaired").await;
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    assert!(detail.summary.abort.is_some(), "{detail:#?}");

    let retry = |more: &[&str]| {
        let line = ["run", "retry", run.as_str(), "machine.1"].into_iter().chain(more.iter().copied());
        let output = cli(&coordinator.profile()).args(line).output().expect("runs");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code(), text.concat())
    };
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("deploy.sh");
    std::fs::write(&script, "#!/bin/sh -e\necho second\nss-set answer 42\n").expect("written");
    let script = script.to_str().expect("text");
    let (code, text) = retry(&["--from", "deploy", "--script", script, "--wait"]);
    assert_eq!(code, Some(0), "{text}");
    let detail = coordinator.client().run(&run).await.expect("shown");
    assert_eq!((detail.summary.abort.clone(), detail.summary.state), (None, RunState::Ready));
    assert_eq!(detail.nodes[0].milestone, Milestone::Ready);
    assert_eq!(output(&coordinator, &run, 0).await, "first\n");
    assert_eq!(output(&coordinator, &run, 10_000).await, "second\n");

    let saved = cli(&coordinator.profile()).args(["run", "save", &run]).output().expect("runs");
    assert_eq!(String::from_utf8_lossy(&saved.stdout), "tests/repaired@2\n");
    let module = coordinator.client().module("tests/repaired").await.expect("there");
    let source = module.source.expect("with its source");
    assert!(source.ends_with("deploy: |\n  #!/bin/sh -e\n  echo second\n  ss-set answer 42\n"), "{source}");

    let (code, text) = retry(&["--from", "deploy", "--wait"]);
    assert_eq!(code, Some(1), "as it was, it fails again: {text}");
    assert!(text.contains("Failed running 'deploy' script on 'machine.1': exit code 3"), "{text}");
    assert_eq!(output(&coordinator, &run, 10_001).await, "first\n");
    let operations = coordinator.client().operations(&run).await.expect("listed");
    let stati: Vec<_> = operations.iter().map(|o| o.status).collect();
    assert_eq!(stati, [OperationStatus::Succeeded, OperationStatus::Failed]);
    assert_eq!(coordinator.client().run(&run).await.expect("shown").summary.abort, None, "the run goes on");

    for (args, why) in
        [(["--from", "install"], "machine.1 has no step `install`"), (["--from", "nonsense"], "it has: deploy")]
    {
        let (code, text) = retry(&args);
        assert_eq!(code, Some(2), "{args:?}: {text}");
        assert!(text.contains(why), "{args:?}: {text}");
    }
    coordinator.client().terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}
