//! The tutorial as plain processes.

use std::time::Duration;

use slipstream_shared::{
    api::Problem,
    parameter::Key,
    state::{Milestone, Outcome, RunState},
};
use slipstream_tests::{Coordinator, Options, cli, repository};

pub(crate) const LIMIT: Duration = Duration::from_secs(90);
pub(crate) const EXAMPLE: &str = "examples/service-testing-processes";
pub(crate) const SYSTEM: &str = "examples/service-testing-processes/system";

pub(crate) fn key(text: &str) -> Key {
    text.parse().expect("valid")
}

#[tokio::test]
async fn the_tutorial_comes_up_shows_its_page_and_goes() {
    let coordinator = Coordinator::start(Options::default()).await;
    coordinator.put_example(&repository().join(EXAMPLE)).await;
    let run = coordinator.launch(SYSTEM).await;
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    assert_eq!(detail.summary.outcome, Outcome::Succeeded, "{detail:#?}");
    assert!(detail.nodes.iter().all(|n| n.milestone == Milestone::Ready), "{detail:#?}");

    assert!(detail.nodes.iter().all(|n| n.ssh.is_none()), "a process has no ssh server: {detail:#?}");

    let client = coordinator.client();
    let shown = client.parameter(&run, &key("testclient.1:statecustom")).await.expect("displayed");
    assert_eq!(shown.value.as_deref(), Some("OK: Hello from Apache deployed by SlipStream!"));
    let url = client.parameter(&run, &key("ss:url.service")).await.expect("published").value;
    assert_eq!(detail.outputs["url"], url);

    let logs = client.logs(&run, &"apache.1".parse().expect("valid")).await.expect("kept");
    assert!(logs.iter().any(|l| l.step == "deploy"), "{logs:?}");
    let reports = client.reports(&run).await.expect("listed");
    assert_eq!(reports.len(), 2, "one of each instance");

    client.terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}

#[tokio::test]
async fn an_unknown_parameter_is_said_and_the_run_goes_on() {
    let coordinator = Coordinator::start(Options::default()).await;
    let deploy = r#"
      set +e
      slipstream-agent get nonsense; echo "agent: $?"
      ss-get nonsense; echo "original: $?"
      ss-get --noblock statecustom; echo "unset: $?"
      slipstream-agent get --noblock statecustom; echo "unset now: $?"
      ss-get --timeout 1 statecustom; echo "timeout: $?"
      ss-set id 7; echo "denied: $?"
      ss-set answer -42 && ss-get answer
      ss-display "all tried"
"#;
    put_single(&coordinator, "exits", deploy).await;
    let run = coordinator.launch("tests/exits").await;
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    assert_eq!(detail.summary.outcome, Outcome::Succeeded, "{detail:#?}");
    let machine = "machine.1".parse().expect("valid");
    let logs = coordinator.client().logs(&run, &machine).await.expect("kept");
    let mut body = coordinator.client().log(&run, &machine, logs[0].index, 0).await.expect("kept");
    let text = String::from_utf8(body.bytes().await.expect("read").to_vec()).expect("text");
    for line in ["agent: 7", "original: 7", "unset: 0", "unset now: 3", "timeout: 9", "denied: 7", "-42"] {
        assert!(text.lines().any(|l| l == line), "no line `{line}` in:\n{text}");
    }
    coordinator.client().terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
}

#[tokio::test]
async fn a_failed_script_names_its_exit_code_and_last_words() {
    let coordinator = Coordinator::start(Options::default()).await;
    put_single(&coordinator, "fails", "echo working; echo 'no such thing as a free lunch' >&2; exit 9").await;
    let run = coordinator.launch("tests/fails").await;
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    assert_eq!(detail.summary.outcome, Outcome::Failed);
    let said = "Failed running 'deploy' script on 'machine.1': exit code 9: no such thing as a free lunch";
    assert_eq!(detail.summary.abort.as_deref(), Some(said));
    let output = cli(&coordinator.profile()).args(["run", "launch", "tests/fails", "--wait"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn an_abort_ends_waits_in_all_machines() {
    let coordinator = Coordinator::start(Options::default()).await;
    put_single(&coordinator, "waits", "ss-get --timeout 0 answer").await;
    let run = coordinator.launch("tests/waits").await;
    let client = coordinator.client();
    slipstream_tests::eventually("the wait is on record", || async {
        let detail = client.run(&run).await.ok()?;
        detail.nodes[0].waiting.iter().any(|w| w.on == "machine.1:answer").then_some(())
    })
    .await;
    client.abort(&run, "enough").await.expect("accepted");
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    assert_eq!(detail.summary.abort.as_deref(), Some("enough"));
    client.terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Aborted, LIMIT).await;
    coordinator.assert_nothing_left().await;
}

pub(crate) async fn put_single(coordinator: &Coordinator, name: &str, deploy: &str) {
    let image = "slipstream: 1\nkind: image\nname: tests/image\nnative: { processes: host }\nplatform: other\n";
    let script = deploy.trim_matches('\n').lines().map(|l| format!("  {}\n", l.trim_start())).collect::<String>();
    let component = format!(
        "slipstream: 1\nkind: component\nname: tests/{name}\nimage: tests/image\npublish:\n  answer: {{}}\ndeploy: |\n{script}"
    );
    for module in [image, &component] {
        coordinator.client().put_module(module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
    }
}

/// The problem a refused request carries.
pub(crate) fn problem<T: std::fmt::Debug>(result: Result<T, slipstream_shared::client::ClientError>) -> Problem {
    match result.expect_err("refused") {
        slipstream_shared::client::ClientError::Problem(problem) => *problem,
        other => panic!("no problem: {other}"),
    }
}
