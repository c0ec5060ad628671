//! Steps run again, on the fake cloud.

use slipstream_shared::{
    api::OperationStatus,
    event::Event,
    id::{InstanceId, RunId},
    operation::{Asked, FIRST_TASK, Work},
    plan::{Plan, Script as Text, StepPlan},
    state::RunState,
};

use super::{
    ann,
    site::{Script, Site, plan},
};

fn again(who: &str, from: &str, script: Option<&str>) -> Asked {
    Asked::Retry { instance: who.parse().expect("valid"), from: from.into(), script: script.map(str::to_owned) }
}

/// Deploys, then finishes.
fn two_steps(count: u32) -> Plan {
    let mut plan = plan(count);
    let web = plan.nodes.values_mut().next().expect("web");
    web.steps.push(StepPlan { step: "finish".into(), ..web.steps[0].clone() });
    plan
}

async fn failed(plan: Plan) -> (Site, RunId) {
    let mut site = Site::new().await;
    let run = site.launch(plan).await;
    site.play_agents(Script::Fail);
    site.wait_for(run, RunState::Ready).await;
    (site, run)
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_is_repaired_by_running_the_step_again() {
    let (site, run) = failed(two_steps(2)).await;
    let handle = site.handle(run).await;
    for (number, who) in (1..).zip(["web.1", "web.2"]) {
        handle.operate(ann(), again(who, "deploy", None), None).await.expect("accepted");
        let done = site.over(run, number).await;
        assert_eq!(done.status, OperationStatus::Succeeded, "{done:?}");
    }
    let detail = handle.detail().await.expect("read");
    assert_eq!((detail.summary.abort, detail.summary.ready), (None, 2));
    for node in &detail.nodes {
        let steps: Vec<_> = node.steps.iter().map(|s| (s.index, s.step.as_str(), s.status.as_str())).collect();
        let (deploy, finish) = ((0, "deploy", "succeeded"), (1, "finish", "succeeded"));
        let tasks = [(FIRST_TASK, "deploy", "succeeded"), (FIRST_TASK + 1, "finish", "succeeded")];
        assert_eq!(steps, [deploy, finish, tasks[0], tasks[1]], "each execution has its own number");
    }
}

#[tokio::test(start_paused = true)]
async fn an_edited_script_is_on_record_and_its_failure_is_that_of_the_operation() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    let handle = site.handle(run).await;
    handle.operate(ann(), again("web.1", "deploy", Some("false")), None).await.expect("accepted");
    let done = site.over(run, 1).await;
    let why = "Failed running 'deploy' script on 'web.1': exit code 1".to_owned();
    assert_eq!((done.status, done.failure), (OperationStatus::Failed, Some(why)));
    let detail = handle.detail().await.expect("read");
    assert_eq!((detail.summary.abort, detail.summary.ready), (None, 0), "it is in the health");
    let executed = site.events(run).await.into_iter().find_map(|record| match record.event {
        Event::OperationStarted { tasks, .. } => tasks.into_iter().next(),
        _ => None,
    });
    let Work::Step { script, .. } = executed.expect("recorded").work else { panic!("a step") };
    assert_eq!(script, Some(Text::Text("false".into())));

    handle.operate(ann(), again("web.1", "deploy", None), None).await.expect("accepted");
    assert_eq!(site.over(run, 2).await.status, OperationStatus::Succeeded);
    assert_eq!(handle.detail().await.expect("read").summary.ready, 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_run_again_is_refused_and_changes_nothing() {
    let mut failing = two_steps(2);
    let packages = Text::Packages(vec!["apache2".into()]);
    let web = failing.nodes.values_mut().next().expect("web");
    web.steps.push(StepPlan { step: "packages".into(), script: packages, ..web.steps[0].clone() });
    let (site, run) = failed(failing).await;
    let handle = site.handle(run).await;
    let before = handle.detail().await.expect("read").seq;
    for (asked, why) in [
        (again("web.1", "finish", None), "step `finish` of web.1 has never run: there is nothing to run again"),
        (
            again("web.1", "deplyo", None),
            "web.1 has no step `deplyo` (did you mean `deploy`?); it has: deploy, finish, packages",
        ),
        (again("web.7", "deploy", None), "this run has no instance web.7"),
        (again("web.1", "deploy", Some(" \n")), "the script is empty"),
        (again("web.1", "packages", Some("x")), "step `packages` installs packages: it has no script to replace"),
    ] {
        let error = handle.operate(ann(), asked, None).await.expect_err(why);
        assert_eq!(error.to_string(), why);
    }
    let detail = handle.detail().await.expect("read");
    assert_eq!(detail.seq, before);
    assert!(detail.summary.abort.is_some(), "not taken back either");
    handle.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Aborted).await;
    let error = handle.operate(ann(), again("web.1", "deploy", None), None).await.expect_err("ended");
    assert_eq!(error.to_string(), format!("run {} has ended (Aborted)", run.short()));
}

#[tokio::test(start_paused = true)]
async fn who_was_removed_cannot_be_repaired() {
    let mut site = Site::new().await;
    let run = site.launch(plan(2)).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    let handle = site.handle(run).await;
    let count = [("web".parse().expect("valid"), 1)].into();
    handle.operate(ann(), Asked::Scale { count, remove: vec![] }, None).await.expect("accepted");
    site.over(run, 1).await;
    let gone: InstanceId = "web.2".parse().expect("valid");
    let error = handle.operate(ann(), again("web.2", "deploy", None), None).await.expect_err("gone");
    assert_eq!(error.to_string(), format!("{gone} has no machine that runs: it is gone, or not there yet"));
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_record_a_retry_goes_on_and_runs_nothing_twice() {
    for point in 1.. {
        let (mut site, run) = failed(two_steps(1)).await;
        site.die_after(point);
        let asked = again("web.1", "deploy", None);
        let died = tokio::join!(site.operate_somehow(run, asked.clone()), site.restart_when_dead()).1;
        site.die_after(i64::MAX);
        site.handle(run).await.operate(ann(), asked, Some(7)).await.expect("the same");
        let done = site.over(run, 1).await;
        assert_eq!(done.status, OperationStatus::Succeeded, "killed after record {point}: {done:?}");
        let ended = |r: &slipstream_shared::event::Record| matches!(&r.event, Event::StepFinished { index, .. } if *index >= FIRST_TASK);
        assert_eq!(site.events(run).await.iter().filter(|r| ended(r)).count(), 2, "killed after record {point}");
        if !died {
            assert!(point > 5, "a retry has more records than {point}");
            return;
        }
    }
}
