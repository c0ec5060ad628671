//! Instances that wait for each other: barriers and leads.

use slipstream_shared::{
    event::Event,
    state::{Outcome, RunState},
};
use slipstream_tests::{Coordinator, Options, cli, next_record};

use crate::processes::LIMIT;

const IMAGE: &str = "slipstream: 1\nkind: image\nname: tests/image\nnative: { processes: host }\nplatform: other\n";

/// All meet; then each leads once and says with which number.
const MEMBER: &str = r"slipstream: 1
kind: component
name: tests/member
image: tests/image
publish:
  number: { type: integer }
deploy: |
  set -e
  slipstream-agent barrier begin --of web,db
  slipstream-agent barrier begin --of db,web
  slipstream-agent lead primary > number
  slipstream-agent lead primary | cmp - number
  slipstream-agent set number $(cat number)
  slipstream-agent lead primary --resign
  slipstream-agent barrier own-$(slipstream-agent get nodename)
  slipstream-agent barrier go --count 4
  set +e
  slipstream-agent barrier begin --count 7; echo differs: $?
  slipstream-agent barrier 'no name'; echo name: $?
  slipstream-agent barrier x --count 1 --of web; echo usage: $?
  slipstream-agent lead 'no name'; echo lead name: $?
  slipstream-agent barrier never --count 9 --timeout 1; echo timeout: $?
";

const APP: &str = r"slipstream: 1
kind: application
name: tests/meeting
nodes:
  web: { use: tests/member, count: 2 }
  db: { use: tests/member }
";

#[tokio::test]
async fn instances_meet_and_lead_one_after_the_other() {
    let coordinator = Coordinator::start(Options::default()).await;
    for module in [IMAGE, MEMBER, APP] {
        coordinator.client().put_module(module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
    }
    let run = coordinator.launch("tests/meeting").await;
    let slipstream = |args: &[&str]| {
        let output = cli(&coordinator.profile()).args(args).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    slipstream_tests::eventually("all wait for the fourth", || async {
        let barriers = coordinator.client().barriers(&run).await.ok()?;
        barriers.iter().any(|b| b.name.to_string() == "go" && b.arrived.len() == 3).then_some(())
    })
    .await;
    assert_eq!(
        slipstream(&["barrier", "wait", &run, "go", "--timeout", "1s"]).0,
        Some(8),
        "who looks on does not count"
    );
    assert_eq!(slipstream(&["barrier", "wait", &run, "go", "--count", "4", "--timeout", "1m"]).0, Some(0));
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    assert_eq!(detail.summary.outcome, Outcome::Succeeded, "{detail:#?}");

    let mut numbers = Vec::new();
    for instance in ["db.1", "web.1", "web.2"] {
        let key = format!("{instance}:number").parse().expect("valid");
        numbers.push(coordinator.client().parameter(&run, &key).await.expect("set").value.expect("set"));
        let logs = coordinator.client().log(&run, &instance.parse().expect("valid"), 0, 0).await;
        let text = String::from_utf8(logs.expect("kept").bytes().await.expect("read").to_vec()).expect("text");
        for line in ["differs: 7", "name: 7", "usage: 2", "lead name: 7", "timeout: 4"] {
            assert!(text.lines().any(|l| l == line), "no line `{line}` in:\n{text}");
        }
    }
    numbers.sort();
    assert_eq!(numbers, ["1", "2", "3"], "each has led, with a number of its own");
    let (mut events, mut leaders) = (coordinator.client().events(&run, 0), 0);
    loop {
        match next_record(&mut events).await.event {
            Event::LeadChanged { leader, .. } => leaders += usize::from(leader.is_some()),
            Event::StateChanged { state: RunState::Ready } => break,
            _ => {}
        }
    }
    assert_eq!(leaders, 3);

    let (code, text) = slipstream(&["barrier", "list", &run]);
    assert!(code == Some(0) && text.contains("all of db, web") && text.contains("(not open)"), "{text}");
    let (code, text) = slipstream(&["lead", "list", &run]);
    assert!(code == Some(0) && text.contains("primary") && text.contains("(nobody)"), "{text}");
    assert_eq!(slipstream(&["lead", "end", &run, "primary"]).0, Some(0));
    assert_eq!(slipstream(&["lead", "end", &run, "unheard-of"]).0, Some(2));
    coordinator.client().terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
}
