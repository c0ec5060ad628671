//! Machines stopped and started, on the fake cloud.

use std::time::Duration;

use slipstream_shared::{
    api::OperationStatus,
    event::Event,
    id::{InstanceId, RunId},
    operation::Asked,
    state::{Milestone, RunState},
};

use super::{
    ann,
    ready::up,
    site::{Script, Site, plan},
};
use crate::cloud::{CloudError, MachineState, fake::Habits};

fn named(names: &[&str]) -> Vec<InstanceId> {
    names.iter().map(|name| name.parse().expect("valid")).collect()
}

fn stop(names: &[&str]) -> Asked {
    Asked::Stop { instances: named(names) }
}

fn start(names: &[&str]) -> Asked {
    Asked::Start { instances: named(names) }
}

async fn milestones(site: &Site, run: RunId) -> Vec<Milestone> {
    site.handle(run).await.detail().await.expect("read").nodes.iter().map(|n| n.milestone).collect()
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_is_neither_silent_nor_gone_and_starts_with_all_it_had() {
    let (site, run) = up(plan(2)).await;
    let handle = site.handle(run).await;
    handle.set(ann(), super::key("web.1:greeting"), Some("kept".into())).await.expect("set");
    handle.operate(ann(), stop(&[]), None).await.expect("accepted");
    assert_eq!(site.over(run, 1).await.status, OperationStatus::Succeeded);
    assert_eq!(milestones(&site, run).await, [Milestone::Stopped, Milestone::Stopped]);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let detail = handle.detail().await.expect("read");
    assert_eq!(detail.summary.health, "0 of 2 ready", "neither silent nor lost");
    assert_eq!((detail.summary.state, detail.summary.abort), (RunState::Ready, None));
    assert_eq!(site.cloud.machines(), 2);

    handle.operate(ann(), start(&["web.1"]), None).await.expect("accepted");
    assert_eq!(site.over(run, 2).await.status, OperationStatus::Succeeded);
    assert_eq!(milestones(&site, run).await, [Milestone::Ready, Milestone::Stopped]);
    handle.operate(ann(), start(&[]), None).await.expect("accepted");
    assert_eq!(site.over(run, 3).await.touch, named(&["web.2"]), "the other one runs already");
    let greeting = handle.parameter(&super::key("web.1:greeting")).await.expect("there").value;
    assert_eq!(greeting.as_deref(), Some("kept"));
    let events = site.events(run).await;
    let count = |what: fn(&Event) -> bool| events.iter().filter(|r| what(&r.event)).count();
    assert_eq!(count(|e| matches!(e, Event::Enrolled { .. })), 2, "with the same key");
    assert_eq!(count(|e| matches!(e, Event::StepStarted { .. })), 2, "nothing is run again");
    assert_eq!(count(|e| matches!(e, Event::InstanceReady { .. })), 4, "but ready is checked again");
    assert_eq!(count(|e| matches!(e, Event::InstanceSilent { .. })), 0);

    handle.operate(ann(), Asked::Reboot { instances: named(&["web.2"]) }, None).await.expect("accepted");
    let done = site.over(run, 4).await;
    assert_eq!((done.status, done.touch), (OperationStatus::Succeeded, named(&["web.2"])));
    handle.operate(ann(), stop(&[]), None).await.expect("accepted");
    site.over(run, 5).await;
    handle.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Done).await;
    assert_eq!(site.cloud.machines(), 0, "stopped ones too");
}

#[tokio::test(start_paused = true)]
async fn who_stops_machines_is_alone_and_a_cloud_that_refuses_is_told() {
    let (site, run) = up(plan(2)).await;
    let handle = site.handle(run).await;
    let short = run.short();
    // So that it takes a while.
    site.cloud.fail_power(CloudError::Transient("try later".into()));
    handle.operate(ann(), stop(&[]), None).await.expect("accepted");
    let count = [("web".parse().expect("valid"), 3)].into();
    let error = handle.operate(ann(), Asked::Scale { count, remove: vec![] }, None).await.expect_err("busy");
    assert_eq!(error.to_string(), format!("operation 1 of run {short} is under way: wait until it is over"));
    site.over(run, 1).await;
    let error = handle.operate(ann(), start(&["web.7"]), None).await.expect_err("unknown");
    assert_eq!(error.to_string(), "this run has no instance web.7");
    site.cloud.fail_power(CloudError::Permanent("its account is closed".into()));
    handle.operate(ann(), start(&["web.1"]), None).await.expect("accepted");
    let done = site.over(run, 2).await;
    assert_eq!(done.failure.as_deref(), Some("web.1: its account is closed"));
    assert_eq!(milestones(&site, run).await, [Milestone::Stopped, Milestone::Stopped]);
    site.cloud.fail_power(CloudError::Transient("try later".into()));
    handle.operate(ann(), start(&[]), None).await.expect("accepted");
    assert_eq!(site.over(run, 3).await.status, OperationStatus::Succeeded, "tried again");
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_record_a_reboot_goes_on_where_it_was() {
    for point in 1.. {
        let (mut site, run) = up(plan(2)).await;
        site.die_after(point);
        let asked = Asked::Reboot { instances: vec![] };
        let died = tokio::join!(site.operate_somehow(run, asked.clone()), site.restart_when_dead()).1;
        site.die_after(i64::MAX);
        site.handle(run).await.operate(ann(), asked, Some(7)).await.expect("the same");
        let done = site.over(run, 1).await;
        assert_eq!(done.status, OperationStatus::Succeeded, "killed after record {point}: {done:?}");
        assert_eq!(milestones(&site, run).await, [Milestone::Ready; 2], "killed after record {point}");
        assert_eq!(site.cloud.machines(), 2, "killed after record {point}");
        if !died {
            assert!(point > 3, "a reboot has more records than {point}");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn both_machines_of_a_launch_that_has_reached_the_cloud_twice_are_switched() {
    let mut site = Site::new().await;
    site.cloud.set_habits(Habits { idempotent: false, ..Habits::default() });
    let run = site.launch(plan(1)).await;
    // The agent lives on the second one, the launch is answered with the first.
    let started = site.next_start().await;
    site.launch_again(&started).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    let handle = site.handle(run).await;
    handle.operate(ann(), stop(&[]), None).await.expect("accepted");
    assert_eq!(site.over(run, 1).await.status, OperationStatus::Succeeded);
    let machines = site.cloud.connector().find(run).await.expect("found");
    let states: Vec<_> = machines.iter().map(|machine| machine.state.clone()).collect();
    assert_eq!(states, [MachineState::Stopped, MachineState::Stopped]);
    handle.operate(ann(), start(&[]), None).await.expect("accepted");
    assert_eq!(site.over(run, 2).await.status, OperationStatus::Succeeded, "the agent is back");
    assert_eq!(milestones(&site, run).await, [Milestone::Ready]);
}
