//! Updates to another version, on the fake cloud.

use slipstream_shared::{
    api::OperationStatus,
    event::Event,
    operation::{Asked, FIRST_TASK, Hook},
    plan::{Plan, Script as Text, StepPlan},
    state::RunState,
};

use super::{
    ann,
    ready::up,
    site::{Script, Site, plan},
};

fn to(plan: &Plan) -> Asked {
    Asked::Update { module: plan.module.clone(), plan: Some(Box::new(plan.clone())) }
}

/// The next version: another script, one instance more.
fn next(count: u32, script: &str) -> Plan {
    let mut next = plan(count);
    next.module = "test@2".into();
    next.nodes.values_mut().next().expect("web").steps[0].script = Text::Text(script.into());
    next
}

#[tokio::test(start_paused = true)]
async fn steps_that_are_the_same_are_left_alone_and_those_behind_a_new_one_are_not() {
    let (site, run) = up(plan(2)).await;
    let handle = site.handle(run).await;
    let same = Plan { module: "test@2".into(), ..plan(2) };
    handle.operate(ann(), to(&same), None).await.expect("accepted");
    let done = site.over(run, 1).await;
    assert_eq!((done.status, done.tasks.len(), done.touch.len()), (OperationStatus::Succeeded, 0, 0));
    assert_eq!(handle.detail().await.expect("read").summary.module, "test@2");

    let mut longer = plan(2);
    let web = longer.nodes.values_mut().next().expect("web");
    web.steps.push(StepPlan { step: "finish".into(), ..web.steps[0].clone() });
    let preview = handle.preview_operation(to(&longer)).await.expect("possible");
    assert_eq!(preview.notes, ["web: step `finish` is new"]);
    handle.operate(ann(), to(&longer), None).await.expect("accepted");
    let done = site.over(run, 2).await;
    let steps: Vec<&str> = done.tasks.iter().map(|t| t.step.as_str()).collect();
    assert_eq!((done.status, steps), (OperationStatus::Succeeded, vec!["finish", "finish"]));
    let detail = handle.detail().await.expect("read");
    assert_eq!(detail.summary.ready, 2);
    assert_eq!(detail.nodes[0].steps[1].status, "succeeded", "the step has the result of its task");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_no_longer_there_goes_and_its_hooks_run() {
    let mut two = plan(1);
    let mut db = two.nodes.values().next().expect("web").clone();
    let goodbye = StepPlan { step: "pre_remove".into(), ..db.steps[0].clone() };
    db.hooks.insert(Hook::PreRemove, vec![goodbye]);
    two.nodes.insert("db".parse().expect("valid"), db);
    let mut site = Site::new().await;
    let run = site.launch(two).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    let handle = site.handle(run).await;
    let one = Plan { module: "test@2".into(), ..plan(1) };
    let preview = handle.preview_operation(to(&one)).await.expect("possible");
    assert_eq!(preview.notes, ["db: the node is no longer there"]);
    handle.operate(ann(), to(&one), None).await.expect("accepted");
    let done = site.over(run, 1).await;
    assert_eq!(done.status, OperationStatus::Succeeded, "{done:?}");
    let ran: Vec<_> = done.tasks.iter().map(|t| (t.instance.to_string(), t.step.as_str(), t.status.as_str())).collect();
    assert_eq!(ran, [("db.1".into(), "pre_remove", "succeeded")]);
    assert_eq!(site.cloud.machines(), 1);
    handle.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Done).await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_in_its_new_form_fails_the_update_not_the_run() {
    let (site, run) = up(plan(1)).await;
    let handle = site.handle(run).await;
    handle.operate(ann(), to(&next(1, "false")), None).await.expect("accepted");
    let done = site.over(run, 1).await;
    assert_eq!(done.failure.as_deref(), Some("Failed running 'deploy' script on 'web.1': exit code 1"));
    assert_eq!(handle.detail().await.expect("read").summary.abort, None);
    handle.operate(ann(), to(&plan(1)), None).await.expect("back to what it was");
    assert_eq!(site.over(run, 2).await.status, OperationStatus::Succeeded);
    assert_eq!(handle.detail().await.expect("read").summary.ready, 1);
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_record_an_update_goes_on_where_it_was() {
    for point in 1.. {
        let (mut site, run) = up(plan(2)).await;
        site.die_after(point);
        let asked = to(&next(3, "other"));
        let died = tokio::join!(site.operate_somehow(run, asked.clone()), site.restart_when_dead()).1;
        site.die_after(i64::MAX);
        site.handle(run).await.operate(ann(), asked, Some(7)).await.expect("the same");
        let done = site.over(run, 1).await;
        assert_eq!(done.status, OperationStatus::Succeeded, "killed after record {point}: {done:?}");
        assert_eq!(site.cloud.machines(), 3, "killed after record {point}");
        let ended = |r: &slipstream_shared::event::Record| matches!(&r.event, Event::StepFinished { index, .. } if *index >= FIRST_TASK);
        assert_eq!(site.events(run).await.iter().filter(|r| ended(r)).count(), 2, "killed after record {point}");
        if !died {
            assert!(point > 8, "an update has more records than {point}");
            return;
        }
    }
}
