//! Machines that are replaced while something else is done with them: operations, powering off, the end.

use std::{collections::BTreeSet, time::Duration};

use slipstream_shared::{
    api::OperationStatus,
    event::Event,
    id::{InstanceId, RunId},
    link::Up,
    operation::{Asked, Hook},
    parameter::ParamType,
    plan::{KeepRunning, OnSilent, ParamPlan, Plan},
    state::{Milestone, RunState},
};

use super::{
    ann, key,
    ready::{hook, up_with},
    site::{self, Script, Site, plan},
};
use crate::{
    cloud::{
        CloudError,
        fake::{Fault, Habits},
    },
    run::Machine,
};

/// All that are lost are replaced; each hook has a script.
fn replacing(count: u32) -> Plan {
    let mut plan = plan(count);
    let web = plan.nodes.values_mut().next().expect("web");
    web.on_silent = OnSilent::Replace;
    hook(&mut plan, &[Hook::OnVmAdd, Hook::PreRemove]);
    plan
}

fn to(count: u32, remove: &[&str]) -> Asked {
    let count = [("web".parse().expect("valid"), count)].into();
    Asked::Scale { count, remove: remove.iter().map(|name| name.parse().expect("valid")).collect() }
}

fn web(index: u32) -> InstanceId {
    format!("web.{index}").parse().expect("valid")
}

/// Takes the machine of an instance away once the instance has begun the script of that number.
async fn lose(site: &Site, run: RunId, index: u32, script: fn(u32) -> bool) {
    let id = web(index);
    loop {
        let begun = |r: &slipstream_shared::event::Record| matches!(&r.event, Event::StepStarted { instance, index, .. } if *instance == id && script(*index));
        if site.events(run).await.iter().any(begun) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    vanish(site, run, index).await;
}

async fn vanish(site: &Site, run: RunId, index: u32) {
    let detail = site.handle(run).await.detail().await.expect("read");
    let node = detail.nodes.iter().find(|n| n.instance == web(index)).expect("there");
    site.cloud.vanish(node.machine.as_ref().expect("known"));
}

/// Waits for the moment between two launches of an instance.
async fn until_gone(site: &Site, run: RunId, index: u32) {
    while site.load(run).await.instances[&web(index)].machine != Machine::Gone {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn attempts(site: &Site, run: RunId, index: u32) -> usize {
    site.attempts(run).await.iter().filter(|key| key.instance == web(index)).count()
}

async fn ended(site: &Site, run: RunId, state: RunState) {
    site.wait_for(run, state).await;
    assert_eq!(site.cloud.machines(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_lost_while_it_comes_is_replaced_and_the_operation_succeeds() {
    let (site, run) = up_with(replacing(1), Script::HangInDeploy).await;
    let handle = site.handle(run).await;
    handle.operate(ann(), to(2, &[]), None).await.expect("accepted");
    lose(&site, run, 2, |_| true).await;
    let done = site.over(run, 1).await;
    assert_eq!(done.status, OperationStatus::Succeeded, "{done:?}");
    assert_eq!((attempts(&site, run, 2).await, site.cloud.machines()), (2, 2));
    let hooks: Vec<_> = done.tasks.iter().map(|t| (t.instance.to_string(), t.status.as_str())).collect();
    assert_eq!(hooks, [("web.1".to_owned(), "succeeded")], "it came: who was there is told");
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_record_one_that_is_lost_while_it_comes_is_replaced() {
    for point in 1.. {
        let (mut site, run) = up_with(replacing(1), Script::HangInDeploy).await;
        site.die_after(point);
        let work = async {
            site.operate_somehow(run, to(2, &[])).await;
        };
        work.await;
        let died = site.restart_when_dead().await;
        site.die_after(i64::MAX);
        site.handle(run).await.operate(ann(), to(2, &[]), Some(7)).await.expect("the same");
        lose(&site, run, 2, |_| true).await;
        let done = site.over(run, 1).await;
        assert_eq!(done.status, OperationStatus::Succeeded, "killed after record {point}: {done:?}");
        assert_eq!((attempts(&site, run, 2).await, site.cloud.machines()), (2, 2), "killed after record {point}");
        if !died {
            assert!(point > 4, "it has more records than {point}");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_leaves_is_not_replaced() {
    let (site, run) = up_with(replacing(2), Script::HangInTask).await;
    let handle = site.handle(run).await;
    handle.operate(ann(), to(1, &["web.2"]), None).await.expect("accepted");
    lose(&site, run, 2, |index| index > 0).await;
    site.over(run, 1).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!((attempts(&site, run, 2).await, site.cloud.machines()), (1, 1));
    let detail = handle.detail().await.expect("read");
    assert_eq!((detail.summary.instances, detail.summary.abort), (1, None));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_being_replaced_can_be_removed_and_keeps_its_address_to_itself() {
    let (site, run) = up_with(replacing(2), Script::Succeed).await;
    let handle = site.handle(run).await;
    vanish(&site, run, 1).await;
    until_gone(&site, run, 1).await;
    handle.operate(ann(), to(4, &[]), None).await.expect("accepted");
    assert_eq!(site.over(run, 1).await.status, OperationStatus::Succeeded);
    site.wait_until(run, |d| d.summary.ready == 4).await;
    let loaded = site.load(run).await;
    let ordinals: BTreeSet<u32> = loaded.instances.values().map(|i| i.ordinal).collect();
    assert_eq!(ordinals.len(), 4, "no two have the same address");

    vanish(&site, run, 2).await;
    until_gone(&site, run, 2).await;
    handle.operate(ann(), to(3, &["web.2"]), None).await.expect("accepted");
    assert_eq!(site.over(run, 2).await.status, OperationStatus::Succeeded);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(site.cloud.machines(), 3, "it does not come back");
    handle.terminate(ann()).await.expect("accepted");
    ended(&site, run, RunState::Done).await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_of_a_machine_that_is_replaced_has_failed_and_holds_nothing_up() {
    let (site, run) = up_with(replacing(2), Script::HangInTask).await;
    let handle = site.handle(run).await;
    handle.operate(ann(), to(3, &[]), None).await.expect("accepted");
    lose(&site, run, 2, |index| index > 0).await;
    let done = site.over(run, 1).await;
    let why = "Failed running 'on_vm_add' script on 'web.2': its machine was lost and is replaced";
    assert_eq!(done.failure.as_deref(), Some(why));
    site.wait_until(run, |d| d.summary.ready == 3).await;
    assert_eq!((attempts(&site, run, 2).await, site.cloud.machines()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn steps_that_are_run_again_do_not_hold_up_the_machine_that_replaces_theirs() {
    let (site, run) = up_with(replacing(2), Script::HangInTask).await;
    let handle = site.handle(run).await;
    let mut next = replacing(2);
    next.module = "test@2".into();
    next.nodes.values_mut().next().expect("web").steps[0].script =
        slipstream_shared::plan::Script::Text("other".into());
    let asked = Asked::Update { module: next.module.clone(), plan: Some(Box::new(next)) };
    handle.operate(ann(), asked, None).await.expect("accepted");
    lose(&site, run, 2, |index| index > 0).await;
    let done = site.over(run, 1).await;
    let why = "Failed running 'deploy' script on 'web.2': its machine was lost and is replaced";
    assert_eq!(done.failure.as_deref(), Some(why));
    site.wait_until(run, |d| d.summary.ready == 2).await;
    assert_eq!(attempts(&site, run, 2).await, 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_stopped_is_not_replaced_when_it_vanishes() {
    let (site, run) = up_with(replacing(2), Script::Succeed).await;
    let handle = site.handle(run).await;
    handle.operate(ann(), Asked::Stop { instances: vec![web(1)] }, None).await.expect("accepted");
    assert_eq!(site.over(run, 1).await.status, OperationStatus::Succeeded);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((attempts(&site, run, 1).await, site.cloud.machines()), (1, 2), "nor is it silent");
    vanish(&site, run, 1).await;
    site.wait_until(run, |d| d.nodes[0].milestone == Milestone::Gone).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((attempts(&site, run, 1).await, site.cloud.machines()), (1, 1));
    assert_eq!(handle.detail().await.expect("read").summary.abort, None);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_boots_slowly_after_a_reboot_is_not_replaced_unless_it_never_comes() {
    let mut site = Site::new().await;
    let run = site.launch(replacing(1)).await;
    let started = site.next_start().await;
    let handle = site.handle(run).await;
    handle.enrol(&web(1), 1, &site::token(&started), "k", "1").await.expect("enrolled");
    let link = handle.attach(&web(1), 1, "k").await.expect("attached");
    for (op, change) in site::all_steps().into_iter().enumerate() {
        link.up(Up::Do { op: op as u64 + 1, change }).await.expect("sent");
    }
    site.wait_for(run, RunState::Ready).await;
    let reboot = Asked::Reboot { instances: vec![] };
    handle.operate(ann(), reboot.clone(), None).await.expect("accepted");
    drop(link);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(attempts(&site, run, 1).await, 1, "five minutes are not too long for a boot");
    let link = handle.attach(&web(1), 1, "k").await.expect("attached");
    link.up(Up::Do { op: 9, change: slipstream_shared::link::Change::Ready }).await.expect("sent");
    assert_eq!(site.over(run, 1).await.status, OperationStatus::Succeeded);

    handle.operate(ann(), reboot, None).await.expect("accepted");
    drop(link);
    assert_eq!(site.over(run, 2).await.status, OperationStatus::Failed);
    site.wait_until(run, |d| d.nodes[0].attempt == 2).await;
}

#[tokio::test(start_paused = true)]
async fn made_up_secrets_stay_with_an_instance_and_later_ones_have_their_own() {
    let mut plan = replacing(1);
    let secret = ParamPlan { kind: ParamType::Secret, generate: Some(24), ..ParamPlan::default() };
    plan.nodes.values_mut().next().expect("web").params.insert("token".into(), secret);
    let (site, run) = up_with(plan, Script::Succeed).await;
    let handle = site.handle(run).await;
    let token = async |index: u32| {
        let key = key(&format!("web.{index}:token"));
        handle.reveal(&ann(), &key).await.expect("shown").expect("made up")
    };
    let first = token(1).await;
    vanish(&site, run, 1).await;
    site.wait_until(run, |d| d.summary.ready == 1 && d.nodes[0].attempt == 2).await;
    assert_eq!(token(1).await, first, "what others were told of it is still true");
    handle.operate(ann(), to(2, &[]), None).await.expect("accepted");
    let second = token(2).await;
    assert!(second.len() == 24 && second != first);
    assert_eq!(site.over(run, 1).await.status, OperationStatus::Succeeded);
    let events = site.events(run).await;
    let place = |what: &dyn Fn(&Event) -> bool| events.iter().position(|r| what(&r.event)).expect("it happened");
    let (own, two) = (key("web.2:token"), web(2));
    let made = place(&|e| matches!(e, Event::SecretSet { key, .. } if *key == own));
    assert!(made < place(&|e| matches!(e, Event::LaunchIntended { instance, .. } if *instance == two)));
    assert_eq!(events.iter().filter(|r| matches!(r.event, Event::SecretSet { .. })).count(), 2, "each once");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_the_end_cuts_short_leaves_nothing_behind() {
    for (end, state) in [("terminate", RunState::Done), ("lease", RunState::Done), ("abort", RunState::Aborted)] {
        let mut plan = replacing(2);
        plan.policy.keep_running = if end == "abort" { KeepRunning::OnSuccess } else { KeepRunning::Always };
        let (site, run) = up_with(plan, Script::Succeed).await;
        let handle = site.handle(run).await;
        site.cloud.set_habits(Habits { boot: Duration::from_secs(60), ..Habits::default() });
        handle.operate(ann(), to(3, &["web.1"]), None).await.expect("accepted");
        match end {
            "terminate" => handle.terminate(ann()).await.expect("accepted"),
            "lease" => handle.set_lease(ann(), Some(5)).await.expect("accepted"),
            _ => handle.abort(ann(), "enough".into()).await.expect("accepted"),
        }
        ended(&site, run, state).await;
        let done = handle.operation(1).await.expect("remembered");
        assert_eq!((done.status, done.failure.is_some()), (OperationStatus::Failed, true), "{end}: {done:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_means_another_one_when_a_machine_is_replaced_and_all_waits_for_the_new_one() {
    let mut plan = replacing(2);
    for (name, text) in [("any", "${web[any].address}"), ("all", "${web[*].address}")] {
        plan.outputs.insert(name.into(), text.parse().expect("valid"));
    }
    let (site, run) = up_with(plan, Script::Succeed).await;
    let outputs = async || site.handle(run).await.detail().await.expect("read").outputs;
    let before = outputs().await;
    let (first, others) = before["all"].as_deref().expect("known").split_once(',').expect("two");
    assert_eq!(before["any"].as_deref(), Some(first));
    site.cloud.set_habits(Habits { boot: Duration::from_secs(20), ..Habits::default() });
    vanish(&site, run, 1).await;
    until_gone(&site, run, 1).await;
    let meanwhile = outputs().await;
    assert_eq!((meanwhile["any"].as_deref(), &meanwhile["all"]), (Some(others), &None));
    let ids = site.handle(run).await.parameter(&key("web:ids")).await.expect("there").value;
    assert_eq!(ids.as_deref(), Some("1,2"), "it is still a member");
    site.wait_until(run, |d| d.summary.ready == 2).await;
    let after = outputs().await;
    assert_eq!(after["any"].as_deref(), Some(others), "and stays with that one");
    let (new, same) = after["all"].as_deref().expect("known").split_once(',').expect("two");
    assert!(new != first && same == others, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_record_a_launch_that_fails_leaves_as_many_machines_as_are_ready() {
    for point in 1.. {
        let mut plan = replacing(1);
        plan.nodes.values_mut().for_each(|node| node.tolerate = 1);
        let (mut site, run) = up_with(plan, Script::Succeed).await;
        site.cloud.fail_launch(Fault::Refuse(CloudError::Quota("2 of 2 VMs used".into())));
        site.die_after(point);
        let asked = to(3, &[]);
        let died = tokio::join!(site.operate_somehow(run, asked.clone()), site.restart_when_dead()).1;
        site.die_after(i64::MAX);
        let handle = site.handle(run).await;
        handle.operate(ann(), asked, Some(7)).await.expect("the same");
        let done = site.over(run, 1).await;
        // Where the refusal was not recorded the launch was tried again, and the cloud had room then.
        let expected = if done.status == OperationStatus::Succeeded { 3 } else { 2 };
        let summary = handle.detail().await.expect("read").summary;
        assert_eq!((summary.ready, summary.instances), (expected, expected), "killed after record {point}: {done:?}");
        assert_eq!(site.cloud.machines(), expected as usize, "killed after record {point}");
        assert_eq!(summary.abort, None, "killed after record {point}");
        if !died {
            assert!(point > 6 && expected == 2, "it has more records than {point}");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_during_an_operation_collects_reports_once_more() {
    let (site, run) = up_with(replacing(2), Script::Succeed).await;
    let handle = site.handle(run).await;
    site.cloud.set_habits(Habits { boot: Duration::from_secs(60), ..Habits::default() });
    handle.operate(ann(), to(3, &[]), None).await.expect("accepted");
    site.wait_for(run, RunState::Provisioning).await;
    handle.abort(ann(), "enough".into()).await.expect("aborted");
    site.over(run, 1).await;
    let events = site.events(run).await;
    let aborted = events.iter().position(|r| matches!(r.event, Event::AbortRaised { .. })).expect("on record");
    let reports = |part: &[slipstream_shared::event::Record]| {
        part.iter().filter(|r| matches!(r.event, Event::ReportFinished { .. })).count()
    };
    assert_eq!((reports(&events[..aborted]), reports(&events[aborted..])), (2, 2), "of both, before and after");
}
