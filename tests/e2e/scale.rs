//! Scaling a run that is up, with agents as plain processes.

use slipstream_shared::{
    api::{OperationStatus, ScaleRequest},
    id::InstanceId,
    parameter::Key,
    state::{Milestone, RunState},
};
use slipstream_tests::{Coordinator, Options, cli};

use crate::processes::{LIMIT, key, problem};

const IMAGE: &str = "slipstream: 1\nkind: image\nname: tests/image\nnative: { processes: host }\nplatform: other\n";

/// Every script says what it was told: for good where the instance stays, in its output where it goes.
const APPLICATION: &str = r#"slipstream: 1
kind: application
name: tests/scales
nodes:
  db:
    image: tests/image
    cloud: processes
    publish: { seen: {}, peers: { default: "${web[*].name}" } }
    deploy: "true"
    on_vm_add: ss-set seen "$SLIPSTREAM_SCALING_ACTION $SLIPSTREAM_SCALING_NODE $SLIPSTREAM_SCALING_VMS"
    on_vm_remove: ss-set seen "$SLIPSTREAM_SCALING_ACTION $SLIPSTREAM_SCALING_NODE $SLIPSTREAM_SCALING_VMS"
  web:
    image: tests/image
    cloud: processes
    count: { default: 3, min: 0, max: 8 }
    publish: { seen: {}, name: {} }
    env: { FIRST: "${db.address}" }
    deploy: ss-set name "$SLIPSTREAM_NODE_INSTANCE_NAME at $FIRST"
    on_vm_add: |
      test -n "$FIRST"
      ss-set seen "$SLIPSTREAM_SCALING_ACTION $SLIPSTREAM_SCALING_NODE $SLIPSTREAM_SCALING_VMS"
    pre_remove:
      run: echo "going, $SLIPSTREAM_SCALING_ACTION $SLIPSTREAM_SCALING_NODE $SLIPSTREAM_SCALING_VMS"
      within: 20s
    report: echo bye >"$SLIPSTREAM_REPORT_DIR/bye"
"#;

async fn up() -> (Coordinator, String) {
    let coordinator = Coordinator::start(Options::default()).await;
    for module in [IMAGE, APPLICATION] {
        coordinator.client().put_module(module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
    }
    let run = coordinator.launch("tests/scales").await;
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    (coordinator, run)
}

fn scale(coordinator: &Coordinator, run: &str, more: &[&str]) -> (Option<i32>, String) {
    let args = ["run", "scale", run].into_iter().chain(more.iter().copied());
    let output = cli(&coordinator.profile()).args(args).output().expect("runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), text.concat())
}

async fn value(coordinator: &Coordinator, run: &str, name: &str) -> String {
    let parameter = coordinator.client().parameter(run, &key(name)).await.expect("there");
    parameter.value.unwrap_or_default()
}

async fn output(coordinator: &Coordinator, run: &str, instance: &str, step: &str) -> String {
    let instance: InstanceId = instance.parse().expect("valid");
    let logs = coordinator.client().logs(run, &instance).await.expect("kept");
    let log = logs.iter().rfind(|log| log.step == step).unwrap_or_else(|| panic!("no {step} in {logs:?}"));
    let mut body = coordinator.client().log(run, &instance, log.index, 0).await.expect("kept");
    String::from_utf8(body.bytes().await.expect("read").to_vec()).expect("text")
}

#[tokio::test]
async fn three_become_five_and_then_one_and_every_hook_knows_what_happened() {
    let (coordinator, run) = up().await;
    let (code, text) = scale(&coordinator, &run, &["web=5", "--dry-run"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Nothing was changed. It would add web.4 web.5."), "{text}");

    let (code, text) = scale(&coordinator, &run, &["web=5", "--wait"]);
    assert_eq!(code, Some(0), "{text}");
    for who in ["db.1", "web.1", "web.2", "web.3"] {
        assert_eq!(value(&coordinator, &run, &format!("{who}:seen")).await, "vm_create web web.4 web.5", "{who}");
    }
    assert_eq!(value(&coordinator, &run, "web.4:seen").await, "", "the new ones are no audience");
    let address = value(&coordinator, &run, "db.1:address").await;
    let peers: Vec<String> = (1..=5).map(|i| format!("web.{i} at {address}")).collect();
    assert_eq!(value(&coordinator, &run, "db.1:peers").await, peers.join(","), "references follow");

    let (code, text) = scale(&coordinator, &run, &["web=1", "--remove", "web.1", "--wait"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(value(&coordinator, &run, "web:ids").await, "2");
    assert_eq!(value(&coordinator, &run, "db.1:seen").await, "vm_remove web web.1 web.3 web.4 web.5");
    let client = coordinator.client();
    let reports: Vec<String> =
        client.reports(&run).await.expect("listed").iter().map(|r| r.instance.to_string()).collect();
    for who in ["web.1", "web.3", "web.4", "web.5"] {
        let said = output(&coordinator, &run, who, "pre_remove").await;
        assert_eq!(said, "going, vm_remove web web.1 web.3 web.4 web.5\n", "{who}");
        assert!(reports.iter().any(|r| r == who), "the report of {who} is kept: {reports:?}");
    }
    let detail = client.run(&run).await.expect("shown");
    let gone = detail.nodes.iter().filter(|n| n.milestone == Milestone::Gone).count();
    assert_eq!((gone, detail.summary.instances, detail.summary.ready), (4, 2, 2));
    assert_eq!(coordinator.machines().len(), 2, "machines that went leave nothing");
    let operations = client.operations(&run).await.expect("listed");
    assert!(operations.iter().all(|o| o.status == OperationStatus::Succeeded), "{operations:#?}");
    let shown = cli(&coordinator.profile()).args(["run", "show", &run]).output().expect("runs");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("remove web.1 web.3 web.4 web.5"), "{shown}");

    client.terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}

#[tokio::test]
async fn bad_numbers_are_refused_and_change_nothing() {
    let (coordinator, run) = up().await;
    for (args, code, why) in [
        (["web=-1"].as_slice(), 2, "`-1` is not a number of instances"),
        (&["web=1000000000"], 2, "the number of instances of `web` is 0 to 8, not 1000000000"),
        (&["wbe=1"], 2, "this run has no node `wbe` (did you mean `web`?)"),
        (&["--remove", "web.7"], 2, "this run has no instance web.7"),
        (&["web=3", "--dry-run"], 0, "change nothing"),
    ] {
        let (exit, text) = scale(&coordinator, &run, args);
        assert_eq!(exit, Some(code), "{args:?}: {text}");
        assert!(text.contains(why), "{args:?}: {text}");
    }
    let mut request = ScaleRequest::default();
    request.count.insert("web".parse().expect("valid"), 9);
    let refused = problem(coordinator.client().scale(&run, &request, "k1").await);
    assert_eq!((refused.code.as_str(), refused.status), ("invalid_value", 422));
    assert_eq!(coordinator.client().operations(&run).await.expect("listed"), [], "nothing has begun");
    assert_eq!(value(&coordinator, &run, "web:ids").await, "1,2,3");
    coordinator.client().abort(&run, "enough").await.expect("accepted");
    let refused = problem(coordinator.client().scale(&run, &request, "k2").await);
    assert_eq!(refused.code, "aborted", "{}", refused.detail);
}

#[tokio::test]
async fn an_agent_that_is_killed_in_a_hook_goes_on_with_it() {
    let slow = APPLICATION.replace(
        "      test -n \"$FIRST\"\n",
        "      ss-set name \"hook\"\n      until slipstream-agent get --noblock db.1:seen; do sleep 0.1; done\n",
    );
    let coordinator = Coordinator::start(Options::default()).await;
    for module in [IMAGE, &slow.replace("    on_vm_add: ss-set seen \"$SLIPSTREAM_SCALING_ACTION $SLIPSTREAM_SCALING_NODE $SLIPSTREAM_SCALING_VMS\"\n", "")] {
        coordinator.client().put_module(module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
    }
    let run = coordinator.launch("tests/scales").await;
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let (code, text) = scale(&coordinator, &run, &["web=4"]);
    assert_eq!(code, Some(0), "{text}");
    let client = coordinator.client();
    let name: Key = key("web.2:name");
    slipstream_tests::eventually("the hook of web.2 runs", || async {
        let value = client.parameter(&run, &name).await.ok()?.value;
        (value.as_deref() == Some("hook")).then_some(())
    })
    .await;
    let folder = coordinator.machines().into_iter().find(|m| m.to_string_lossy().contains("-web-2-")).expect("web.2");
    let mut agent = slipstream_tests::restart_agent(&folder).await;
    client.set_parameter(&run, &key("db.1:seen"), "go").await.expect("set");
    slipstream_tests::eventually("the operation is over", || async {
        let operations = client.operations(&run).await.ok()?;
        operations.iter().all(|o| o.status == OperationStatus::Succeeded).then_some(())
    })
    .await;
    assert_eq!(value(&coordinator, &run, "web.2:seen").await, "vm_create web web.4");
    agent.kill().expect("it runs");
    agent.wait().expect("it ends");
}
