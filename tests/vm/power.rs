//! A Debian machine, stopped and started on its disk.

use std::time::Duration;

use slipstream_shared::{
    api::{LaunchRequest, OperationStatus, PowerRequest},
    state::{Milestone, RunState},
};
use slipstream_tests::{Coordinator, Options, eventually_within, repository, test_images};

/// Without KVM, machines boot slowly.
const LIMIT: Duration = Duration::from_secs(600);

const BOX: &str = r#"slipstream: 1
kind: component
name: tests/box
image: examples/service-testing/debian-12
publish: { answer: {} }
deploy: |
  echo "ran in $(cat /proc/sys/kernel/random/boot_id)" >>/root/ran
  ss-set answer "$(wc -l </root/ran)"
ready: { exec: "test -s /root/ran", within: 5m }
"#;

async fn switch(coordinator: &Coordinator, run: &str, what: &str) {
    let client = coordinator.client();
    let begun = client.power(run, what, &PowerRequest::default(), what).await.expect("accepted");
    let over = eventually_within(LIMIT, "the operation is over", || async {
        let all = client.operations(run).await.ok()?;
        all.into_iter().find(|o| o.number == begun.number && o.ended.is_some())
    });
    let over = over.await;
    assert_eq!(over.status, OperationStatus::Succeeded, "{over:#?}\n{}", coordinator.log());
}

#[tokio::test]
async fn a_debian_machine_is_stopped_and_started_on_its_disk() {
    let images = test_images("debian-12").expect("the Debian image: run `make test-vm`, which makes it");
    let coordinator = Coordinator::start(Options { images: Some(images), ..Options::default() }).await;
    let client = coordinator.client();
    let image = repository().join("examples/service-testing/debian-12.yaml");
    let image = std::fs::read_to_string(image).expect("readable");
    for module in [image.as_str(), BOX] {
        client.put_module(module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
    }
    let cloud = [("*".to_owned(), "local".to_owned())].into();
    let request = LaunchRequest { module: "tests/box".to_owned(), cloud, ..LaunchRequest::default() };
    let run = client.launch(&request, "box").await.expect("accepted").summary.id.to_string();
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;

    switch(&coordinator, &run, "stop").await;
    assert_eq!(client.run(&run).await.expect("shown").nodes[0].milestone, Milestone::Stopped);
    switch(&coordinator, &run, "start").await;
    let machine = client.run(&run).await.expect("shown").nodes.remove(0);
    assert_eq!((machine.milestone, machine.attempt), (Milestone::Ready, 1));
    let answer = client.parameter(&run, &"machine.1:answer".parse().expect("valid")).await.expect("there").value;
    assert_eq!(answer.as_deref(), Some("1"), "deploy was not run again");

    client.terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}
