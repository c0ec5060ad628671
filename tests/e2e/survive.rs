//! kill -9 of the coordinator, at every milestone.

use slipstream_shared::{
    event::{Event, Record},
    state::{Outcome, RunState},
};
use slipstream_tests::{Coordinator, Options, next_record, repository};

use crate::processes::{EXAMPLE, LIMIT, SYSTEM, key};

/// The name of the milestone an event is, if it is one.
fn milestone(record: &Record) -> Option<String> {
    let json = serde_json::to_value(&record.event).ok()?;
    let kind = json.get("kind")?.as_str()?.to_owned();
    match &record.event {
        Event::StateChanged { state } => Some(format!("{kind} {state}")),
        Event::ParameterSet { .. } | Event::WaitEnded { .. } | Event::WaitBegan { .. } | Event::Trouble { .. } => None,
        Event::StepStarted { step, .. } | Event::StepFinished { step, .. } => Some(format!("{kind} {step}")),
        _ => Some(kind),
    }
}

#[tokio::test]
async fn a_run_survives_kill_9_at_every_milestone() {
    let mut killed = Vec::new();
    let mut coordinator = Coordinator::start(Options::default()).await;
    coordinator.put_example(&repository().join(EXAMPLE)).await;
    let run = coordinator.launch(SYSTEM).await;
    let mut after = 0;
    // One run, killed at each kind of milestone the first time it is seen.
    loop {
        let mut events = coordinator.client().events(&run, after);
        let kill = loop {
            let record = next_record(&mut events).await;
            after = record.seq;
            match milestone(&record) {
                Some(name) if name == "state_changed Ready" => break None,
                Some(name) if !killed.contains(&name) => break Some(name),
                _ => {}
            }
        };
        let Some(name) = kill else { break };
        coordinator.kill();
        killed.push(name);
        coordinator.restart().await;
    }
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    assert_eq!(detail.summary.outcome, Outcome::Succeeded, "{detail:#?}");
    assert!(killed.len() >= 8, "{killed:?}");
    check_not_doubled(&coordinator, &run).await;

    for name in ["terminate_requested", "terminate_intended", "machine_gone"] {
        if name == "terminate_requested" {
            coordinator.client().terminate(&run).await.expect("accepted");
        }
        coordinator.kill();
        coordinator.restart().await;
    }
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}

/// Nothing was launched, enrolled or run twice, and nothing acknowledged is lost.
async fn check_not_doubled(coordinator: &Coordinator, run: &str) {
    let detail = coordinator.client().run(run).await.expect("there");
    assert!(detail.nodes.iter().all(|n| n.attempt == 1), "{detail:#?}");
    let mut events = coordinator.client().events(run, 0);
    let mut seen = Vec::new();
    loop {
        let record = next_record(&mut events).await;
        let ready = matches!(record.event, Event::StateChanged { state: RunState::Ready });
        seen.push(record);
        if ready {
            break;
        }
    }
    let count = |what: fn(&Event) -> bool| seen.iter().filter(|r| what(&r.event)).count();
    assert_eq!(count(|e| matches!(e, Event::Enrolled { .. })), 2);
    assert_eq!(count(|e| matches!(e, Event::StepStarted { step, .. } if step == "deploy")), 2, "{seen:#?}");
    assert_eq!(count(|e| matches!(e, Event::StepFinished { step, .. } if step == "deploy")), 2);
    let shown = coordinator.client().parameter(run, &key("testclient.1:statecustom")).await.expect("there");
    assert_eq!(shown.value.as_deref(), Some("OK: Hello from Apache deployed by SlipStream!"));
}
