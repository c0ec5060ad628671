//! Scaling, on the fake cloud, with agents that run their tasks.

use std::collections::{BTreeMap, BTreeSet};

use slipstream_shared::{
    api::OperationStatus,
    event::Event,
    id::{InstanceId, RunId},
    operation::{Asked, FIRST_TASK, Hook, SCALING_ACTION, SCALING_NODE, SCALING_VMS},
    plan::Plan,
    state::RunState,
};

use super::{
    ann,
    ready::{break_hook, hook, up},
    site::{Script, Site, plan},
};
use crate::{
    cloud::{
        CloudError,
        fake::{Fault, Habits},
    },
    drive::RunError,
    run::change::Refused,
};

fn id(text: &str) -> InstanceId {
    text.parse().expect("valid")
}

fn ids(all: &[InstanceId]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn to(count: u32, remove: &[&str]) -> Asked {
    let count = [("web".parse().expect("valid"), count)].into();
    Asked::Scale { count, remove: remove.iter().map(|name| id(name)).collect() }
}

fn hooked(count: u32) -> Plan {
    let mut plan = plan(count);
    hook(&mut plan, &[Hook::OnVmAdd, Hook::OnVmRemove, Hook::PreRemove]);
    plan
}

async fn value(site: &Site, run: RunId, key: &str) -> String {
    let parameter = site.handle(run).await.parameter(&super::key(key)).await.expect("there");
    parameter.value.unwrap_or_default()
}

/// The tasks that were ordered: who, what, and the variables they had.
async fn ordered(site: &Site, run: RunId) -> Vec<(String, String, String)> {
    let told = |env: &BTreeMap<String, String>| {
        [SCALING_ACTION, SCALING_NODE, SCALING_VMS].map(|name| env[name].clone()).join("|")
    };
    let events = site.events(run).await.into_iter();
    let ordered = events.filter_map(|record| match record.event {
        Event::TaskOrdered { instance, step, env, .. } => Some((instance.to_string(), step, told(&env))),
        _ => None,
    });
    ordered.collect()
}

#[tokio::test(start_paused = true)]
async fn a_run_grows_and_shrinks_and_its_hooks_know_who_came_and_went() {
    let (site, run) = up(hooked(2)).await;
    let handle = site.handle(run).await;
    let begun = handle.operate(ann(), to(4, &[]), None).await.expect("accepted");
    assert_eq!((begun.number, ids(&begun.add)), (1, vec!["web.3".into(), "web.4".into()]));
    assert_eq!(site.over(run, 1).await.status, OperationStatus::Succeeded);
    assert_eq!(value(&site, run, "web:ids").await, "1,2,3,4");
    assert_eq!(value(&site, run, "web:multiplicity").await, "4");
    assert_eq!(site.cloud.machines(), 4);

    let begun = handle.operate(ann(), to(1, &["web.1"]), None).await.expect("accepted");
    assert_eq!(ids(&begun.remove), ["web.1", "web.3", "web.4"], "who is named, then the highest");
    let done = site.over(run, 2).await;
    assert_eq!(done.status, OperationStatus::Succeeded, "{done:?}");
    assert_eq!(value(&site, run, "web:ids").await, "2");
    assert_eq!(site.cloud.machines(), 1);

    let call = |who: &str, step: &str, env: &str| (who.to_owned(), step.to_owned(), env.to_owned());
    let (came, went) = ("vm_create|web|web.3 web.4", "vm_remove|web|web.1 web.3 web.4");
    let expected = BTreeSet::from([
        call("web.1", "on_vm_add", came),
        call("web.2", "on_vm_add", came),
        call("web.1", "pre_remove", went),
        call("web.3", "pre_remove", went),
        call("web.4", "pre_remove", went),
        call("web.2", "on_vm_remove", went),
    ]);
    let calls = ordered(&site, run).await;
    assert_eq!(calls.len(), expected.len(), "each once: {calls:?}");
    assert_eq!(calls.into_iter().collect::<BTreeSet<_>>(), expected);

    // A number is not used again, also from none.
    handle.operate(ann(), to(0, &[]), None).await.expect("accepted");
    site.over(run, 3).await;
    assert_eq!((site.cloud.machines(), value(&site, run, "web:ids").await), (0, String::new()));
    let begun = handle.operate(ann(), to(1, &[]), None).await.expect("accepted");
    assert_eq!(ids(&begun.add), ["web.5"]);
    assert_eq!(site.over(run, 4).await.status, OperationStatus::Succeeded);
    let summary = handle.detail().await.expect("read").summary;
    assert_eq!((summary.ready, summary.instances), (1, 1), "who went is not counted");
    handle.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Done).await;
    assert_eq!(site.cloud.machines(), 0);
}

#[tokio::test(start_paused = true)]
async fn several_operations_at_once_end_where_the_last_one_wants_and_each_machine_runs_their_hooks_in_order() {
    let (site, run) = up(hooked(2)).await;
    site.cloud.set_habits(Habits { boot: std::time::Duration::from_secs(20), ..Habits::default() });
    let handle = site.handle(run).await;
    for count in [3, 5, 2] {
        handle.operate(ann(), to(count, &[]), None).await.expect("accepted");
    }
    for number in 1..=3 {
        assert_eq!(site.over(run, number).await.status, OperationStatus::Succeeded);
    }
    assert_eq!(value(&site, run, "web:ids").await, "1,2");
    assert_eq!(site.cloud.machines(), 2);
    let mut under_way: BTreeMap<InstanceId, u32> = BTreeMap::new();
    let mut last: BTreeMap<InstanceId, u32> = BTreeMap::new();
    for record in site.events(run).await {
        match record.event {
            Event::TaskOrdered { instance, index, .. } => {
                assert_eq!(under_way.insert(instance.clone(), index), None, "one at a time on {instance}");
                assert!(last.insert(instance.clone(), index) < Some(index), "in order on {instance}");
            }
            Event::StepFinished { instance, index, .. } if index >= FIRST_TASK => {
                assert_eq!(under_way.remove(&instance), Some(index));
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_launch_fails_the_operation_and_leaves_the_healthy_part() {
    let (site, run) = up(hooked(1)).await;
    site.cloud.fail_launch(Fault::Refuse(CloudError::Quota("2 of 2 VMs used".into())));
    let handle = site.handle(run).await;
    handle.operate(ann(), to(3, &[]), None).await.expect("accepted");
    let done = site.over(run, 1).await;
    assert_eq!(done.status, OperationStatus::Failed);
    let why = done.failure.expect("said");
    assert!(why.starts_with("cannot launch web.") && why.ends_with("quota reached: 2 of 2 VMs used"), "{why}");
    let detail = handle.detail().await.expect("read");
    assert_eq!((detail.summary.abort.clone(), detail.summary.ready, detail.summary.instances), (None, 2, 2));
    assert_eq!(site.cloud.machines(), 2);
    let healthy = value(&site, run, "web:ids").await.replace(',', " web.");
    let healthy = format!("web.{healthy}").replacen("web.1 ", "", 1);
    assert_eq!(ordered(&site, run).await, [("web.1".into(), "on_vm_add".into(), format!("vm_create|web|{healthy}"))]);
    handle.operate(ann(), to(3, &[]), None).await.expect("accepted");
    let done = site.over(run, 2).await;
    assert_eq!((ids(&done.add), done.status), (vec!["web.4".into()], OperationStatus::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_failed_hook_fails_the_operation_not_the_run() {
    for (hook, count, machines) in [(Hook::OnVmAdd, 3, 3), (Hook::OnVmRemove, 1, 1), (Hook::PreRemove, 1, 1)] {
        let mut plan = hooked(2);
        break_hook(&mut plan, hook);
        let (site, run) = up(plan).await;
        let handle = site.handle(run).await;
        handle.operate(ann(), to(count, &[]), None).await.expect("accepted");
        let done = site.over(run, 1).await;
        let who = if hook == Hook::PreRemove { "web.2" } else { "web.1" };
        let why = format!("Failed running '{}' script on '{who}': exit code 1", hook.name());
        assert_eq!((done.status, done.failure), (OperationStatus::Failed, Some(why)));
        assert_eq!((site.cloud.machines(), handle.detail().await.expect("read").summary.abort), (machines, None));
    }
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_or_comes_at_the_wrong_time_changes_nothing() {
    let mut site = Site::new().await;
    let mut plan = hooked(2);
    plan.nodes.values_mut().next().expect("web").bounds = slipstream_shared::operation::Bounds { min: 1, max: 5 };
    let run = site.launch(plan).await;
    let handle = site.handle(run).await;
    let short = run.short();
    site.wait_until(run, |d| d.nodes.iter().all(|n| n.address.is_some())).await;
    let refused = async |asked: Asked| {
        let before = handle.detail().await.expect("read").seq;
        let error = handle.operate(ann(), asked, None).await.expect_err("refused").to_string();
        assert_eq!(handle.detail().await.expect("read").seq, before, "{error}");
        error
    };
    let early = refused(to(3, &[])).await;
    assert_eq!(early, format!("run {short} is Provisioning: wait until it is Ready"));
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    assert_eq!(refused(to(6, &[])).await, "the number of instances of `web` is 1 to 5, not 6");
    assert_eq!(refused(to(1_000_000_000, &[])).await, "the number of instances of `web` is 1 to 5, not 1000000000");
    assert_eq!(refused(to(0, &[])).await, "the number of instances of `web` is 1 to 5, not 0");
    assert_eq!(refused(to(2, &["web.9"])).await, "this run has no instance web.9");
    let elsewhere = Asked::Scale { count: [("wep".parse().expect("valid"), 1)].into(), remove: vec![] };
    assert_eq!(refused(elsewhere).await, "this run has no node `wep` (did you mean `web`?)");
    let nothing = Asked::Scale { count: BTreeMap::new(), remove: vec![] };
    assert_eq!(refused(nothing).await, "nothing is asked for: say NODE=COUNT, or who is to go");

    let preview = handle.preview_operation(to(3, &[])).await.expect("possible");
    assert_eq!((preview.status, ids(&preview.add)), (OperationStatus::Planned, vec!["web.3".into()]));
    assert_eq!(handle.operations().await.expect("read"), []);

    handle.abort(ann(), "enough".into()).await.expect("aborted");
    assert_eq!(refused(to(3, &[])).await, "the run is aborted: enough (take the abort back first)");
    handle.cancel_abort(ann()).await.expect("taken back");
    let begun = handle.operate(ann(), to(3, &[]), Some(1)).await.expect("accepted");
    let again = handle.operate(ann(), to(3, &[]), Some(1)).await.expect("the same");
    assert_eq!((begun.number, again.number), (1, 1));
    let reused = handle.operate(ann(), to(4, &[]), Some(1)).await.expect_err("another request");
    assert!(matches!(reused, RunError::Refused(Refused::Reused)), "{reused}");
    site.over(run, 1).await;
    handle.terminate(ann()).await.expect("accepted");
    assert!(refused(to(1, &[])).await.contains("is ending"), "while it ends");
    site.wait_for(run, RunState::Done).await;
    assert_eq!(refused(to(1, &[])).await, format!("run {short} has ended (Done)"));
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_an_operation_and_gives_up_what_has_not_come() {
    let (site, run) = up(hooked(1)).await;
    site.cloud.set_habits(Habits { boot: std::time::Duration::from_secs(60), ..Habits::default() });
    let handle = site.handle(run).await;
    handle.operate(ann(), to(2, &[]), None).await.expect("accepted");
    handle.abort(ann(), "enough".into()).await.expect("aborted");
    let done = site.over(run, 1).await;
    assert_eq!(done.failure.as_deref(), Some("the run was aborted: enough"));
    site.wait_until(run, |d| d.nodes.iter().any(|n| n.milestone == slipstream_shared::state::Milestone::Gone)).await;
    assert_eq!(site.cloud.machines(), 1);
    handle.cancel_abort(ann()).await.expect("taken back");
    handle.operate(ann(), to(2, &[]), None).await.expect("accepted");
    assert_eq!(site.over(run, 2).await.status, OperationStatus::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_record_an_operation_goes_on_where_it_was() {
    for point in 1.. {
        let (mut site, run) = up(hooked(2)).await;
        site.die_after(point);
        // Up and down at once: web.1 goes, two come.
        let asked = to(3, &["web.1"]);
        let died = tokio::join!(site.operate_somehow(run, asked.clone()), site.restart_when_dead()).1;
        site.die_after(i64::MAX);
        // Whoever got no answer asks again.
        site.handle(run).await.operate(ann(), asked, Some(7)).await.expect("the same");
        let done = site.over(run, 1).await;
        assert_eq!(done.status, OperationStatus::Succeeded, "killed after record {point}: {done:?}");
        assert_eq!(value(&site, run, "web:ids").await, "2,3,4", "killed after record {point}");
        assert_eq!(site.cloud.machines(), 3, "killed after record {point}");
        for key in site.attempts(run).await {
            assert_eq!(key.attempt, 1, "killed after record {point}: {} was launched again", key.instance);
        }
        let calls = ordered(&site, run).await;
        assert_eq!(calls.len(), 3, "killed after record {point}: {calls:?}");
        if !died {
            assert!(point > 10, "the operation has more records than {point}");
            return;
        }
    }
}
