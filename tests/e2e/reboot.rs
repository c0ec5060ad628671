//! Small virtual machines that are stopped, started and rebooted, from outside and from inside.

use std::time::Duration;

use slipstream_shared::{
    api::{LaunchRequest, OperationStatus, PowerRequest, RunDetail},
    state::{Milestone, RunState},
};
use slipstream_tests::{Coordinator, Options, eventually_within, repository, test_images};

use crate::processes::key;

const LIMIT: Duration = Duration::from_secs(180);

/// Counts in which boots its steps and its ready check have run. Reboots in the middle of a step, and when somebody
/// sets `go`.
const BOX: &str = r#"slipstream: 1
kind: component
name: tests/box
image: examples/service-testing-busybox/image
publish: { deployed: {}, checked: {}, go: {}, booted: {} }
pre_install:
  per: boot
  run: |
    echo booted >>/root/booted
    ss-set booted "$(wc -l </root/booted)"
install: |
  echo "$SLIPSTREAM_TRY" >>/root/tries
  if [ "$SLIPSTREAM_TRY" = 1 ]; then
    reboot
    sleep 1000
  fi
deploy: |
  echo ran >>/root/ran
  ss-set deployed "$(wc -l </root/ran) after tries $(tr '\n' ' ' </root/tries)"
  (slipstream-agent wait go && reboot) >/dev/null 2>&1 &
ready:
  exec: |
    cat /proc/sys/kernel/random/boot_id >>/root/boots
    ss-set checked "$(sort -u /root/boots | wc -l)"
"#;

/// A coordinator with a run of one small machine that is Ready. None where there is no image.
async fn ready(module: &str, name: &str) -> Option<(Coordinator, String)> {
    let Some(images) = test_images("busybox") else {
        eprintln!("skipped: no busybox image (run `make test`, which makes it and sets SLIPSTREAM_TEST_IMAGES)");
        return None;
    };
    let coordinator = Coordinator::start(Options { images: Some(images), ..Options::default() }).await;
    let image = repository().join("examples/service-testing-busybox/image.yaml");
    let image = std::fs::read_to_string(image).expect("readable");
    let client = coordinator.client();
    for module in [image.as_str(), module] {
        client.put_module(module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
    }
    let cloud = [("*".to_owned(), "local".to_owned())].into();
    let request = LaunchRequest { module: name.to_owned(), cloud, ..LaunchRequest::default() };
    let run = client.launch(&request, "box").await.expect("accepted").summary.id.to_string();
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    Some((coordinator, run))
}

async fn value(coordinator: &Coordinator, run: &str, name: &str) -> Option<String> {
    coordinator.client().parameter(run, &key(&format!("machine.1:{name}"))).await.expect("there").value
}

async fn is(coordinator: &Coordinator, run: &str, name: &str, expected: &str) {
    let what = format!("{name} is {expected}");
    let look = || async { value(coordinator, run, name).await.filter(|v| v == expected) };
    eventually_within(LIMIT, &what, look).await;
}

async fn switch(coordinator: &Coordinator, run: &str, what: &str) -> RunDetail {
    let client = coordinator.client();
    let begun = client.power(run, what, &PowerRequest::default(), what).await.expect("accepted");
    let over = eventually_within(LIMIT, "the operation is over", || async {
        let all = client.operations(run).await.ok()?;
        all.into_iter().find(|o| o.number == begun.number && o.ended.is_some())
    });
    let over = over.await;
    assert_eq!(over.status, OperationStatus::Succeeded, "{over:#?}\n{}", coordinator.log());
    client.run(run).await.expect("shown")
}

#[tokio::test]
async fn a_small_machine_keeps_its_disk_over_stops_and_reboots_and_runs_nothing_twice() {
    let Some((coordinator, run)) = ready(BOX, "tests/box").await else { return };
    let client = coordinator.client();
    let first = client.run(&run).await.expect("shown").nodes.remove(0);
    assert_eq!(value(&coordinator, &run, "checked").await.as_deref(), Some("1"));

    client.set_parameter(&run, &key("machine.1:go"), "now").await.expect("set");
    is(&coordinator, &run, "checked", "2").await;

    let stopped = switch(&coordinator, &run, "stop").await.nodes.remove(0);
    assert_eq!((stopped.milestone, stopped.connected), (Milestone::Stopped, false));
    let started = switch(&coordinator, &run, "start").await.nodes.remove(0);
    assert_eq!((started.milestone, started.connected), (Milestone::Ready, true));
    assert_eq!(value(&coordinator, &run, "checked").await.as_deref(), Some("3"));
    let rebooted = switch(&coordinator, &run, "reboot").await.nodes.remove(0);
    assert_eq!(value(&coordinator, &run, "checked").await.as_deref(), Some("4"));

    assert_eq!((rebooted.attempt, &rebooted.machine), (1, &first.machine), "the same machine");
    assert_eq!(rebooted.address, first.address);
    assert_eq!(
        value(&coordinator, &run, "deployed").await.as_deref(),
        Some("1 after tries 1 2 "),
        "nothing was run twice"
    );
    assert_eq!(value(&coordinator, &run, "booted").await.as_deref(), Some("5"), "in each boot");
    client.terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}
