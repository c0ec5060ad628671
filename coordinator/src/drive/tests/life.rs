//! Machines that are replaced, runs that cannot be ended, leases: driven for real on the fake cloud.

use std::time::Duration;

use slipstream_shared::{
    event::{Event, Record},
    id::RunId,
    plan::{OnSilent, Plan, Policy},
    state::{Failure, Milestone, RunState},
};

use super::{
    ann, key,
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

fn replacing() -> Plan {
    let mut plan = plan(2);
    plan.nodes.values_mut().for_each(|node| node.on_silent = OnSilent::Replace);
    plan
}

fn first(events: &[Record], what: impl Fn(&Event) -> bool) -> u64 {
    events.iter().find(|r| what(&r.event)).map(|r| r.seq).expect("it happened")
}

async fn replaced(site: &Site, run: RunId) {
    site.wait_until(run, |d| {
        let one = &d.nodes[0];
        one.attempt == 2 && one.milestone == Milestone::Ready && one.silent.is_none()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_machine_is_removed_before_another_takes_its_place() {
    let mut site = Site::new().await;
    site.cloud.set_habits(Habits { linger: Duration::from_secs(20), ..Habits::default() });
    let run = site.launch(replacing()).await;
    site.play_agents(Script::FallSilentOnce);
    site.wait_for(run, RunState::Ready).await;
    let web = "web.1".parse().expect("valid");
    let old = format!(
        "key of {}",
        site.handle(run).await.detail().await.expect("read").nodes[0].machine.clone().expect("known")
    );
    site.wait_until(run, |d| d.nodes[0].milestone == Milestone::Terminating).await;
    let refused = site
        .handle(run)
        .await
        .attach(&web, 1, &old, 0, &Default::default())
        .await
        .expect_err("its key is no longer good");
    assert!(matches!(refused, RunError::Refused(Refused::Gone(_))), "{refused}");
    replaced(&site, run).await;
    let summary = site.handle(run).await.detail().await.expect("read").summary;
    assert_eq!((summary.state, summary.abort, summary.health.as_str()), (RunState::Ready, None, "2 of 2 ready"));
    assert_eq!(site.cloud.machines(), 2);
    let events = site.events(run).await;
    let order = [
        first(&events, |e| matches!(e, Event::InstanceSilent { .. })),
        first(&events, |e| matches!(e, Event::ReplaceIntended { attempt: 1, .. })),
        first(&events, |e| matches!(e, Event::MachineGone { attempt: 1, unexpected: false, .. })),
        first(&events, |e| matches!(e, Event::LaunchIntended { attempt: 2, .. })),
    ];
    assert!(order.is_sorted(), "{order:?}");
    site.handle(run).await.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Done).await;
    assert_eq!(site.cloud.machines(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_vanishes_is_replaced_too() {
    let mut site = Site::new().await;
    let run = site.launch(replacing()).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    let machine = site.handle(run).await.detail().await.expect("read").nodes[0].machine.clone().expect("known");
    site.cloud.vanish(&machine);
    replaced(&site, run).await;
    assert_eq!(site.cloud.machines(), 2);
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_record_of_a_replacement_it_goes_on_where_it_was() {
    for point in 1.. {
        let mut site = Site::new().await;
        site.cloud.set_habits(Habits { idempotent: false, ..Habits::default() });
        let run = site.launch(replacing()).await;
        site.play_agents(Script::FallSilentOnce);
        site.wait_for(run, RunState::Ready).await;
        site.die_after(point);
        let died = site.restart_when_dead().await;
        site.die_after(i64::MAX);
        replaced(&site, run).await;
        assert_eq!(site.cloud.machines(), 2, "killed after record {point}");
        for key in site.attempts(run).await {
            assert_eq!(site.cloud.launches(&key), 1, "killed after record {point}: {key:?}");
            assert!(key.attempt <= 2, "killed after record {point}: {key:?}");
        }
        if !died {
            assert!(point > 4, "a replacement has more records than that");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_stays_away_leaves_a_run_unfinished_until_it_is_abandoned() {
    let mut site = Site::new().await;
    let run = site.launch(plan(2)).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    let handle = site.handle(run).await;
    let early = handle.abandon(ann()).await.expect_err("its end was not asked for");
    assert!(matches!(early, RunError::Refused(Refused::Busy(_))), "{early}");

    site.cloud.set_unreachable(Some(CloudError::Transient("no route to host".into())));
    handle.terminate(ann()).await.expect("accepted");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let detail = handle.detail().await.expect("read");
    assert_eq!(detail.summary.state, RunState::Finalizing, "an hour later, it is still tried");
    let retrying = detail.retrying.expect("shown");
    assert!(retrying.message.contains("no route to host"), "{retrying:?}");
    let now = crate::run::view::timestamp(site.seam.now());
    assert!(retrying.since < now && retrying.next_try >= now, "{retrying:?}");
    assert!(retrying.next_try.duration_since(now) < jiff::SignedDuration::from_secs(120), "{retrying:?}");

    handle.abandon(ann()).await.expect("given up");
    let detail = site.handle(run).await.detail().await.expect("read");
    assert_eq!((detail.summary.state, detail.left.len(), site.cloud.machines()), (RunState::Done, 2, 2));
    let again = site.handle(run).await.abandon(ann()).await.expect_err("once");
    assert!(matches!(again, RunError::Refused(Refused::Gone(_))), "{again}");
    let seq = detail.seq;
    assert!(seq < 100, "{seq} events: what is tried for an hour must not fill the log");
    site.cloud.set_unreachable(None);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(site.handle(run).await.detail().await.expect("read").seq, seq, "nothing more happens");
    assert_eq!(site.cloud.machines(), 2, "left, as it says");
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_comes_back_lets_the_run_end() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    site.cloud.set_unreachable(Some(CloudError::Auth("expired".into())));
    site.handle(run).await.terminate(ann()).await.expect("accepted");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    site.cloud.set_unreachable(None);
    site.wait_for(run, RunState::Done).await;
    assert_eq!(site.cloud.machines(), 0);
    let detail = site.handle(run).await.detail().await.expect("read");
    assert_eq!((detail.retrying, detail.left), (None, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_a_run_also_when_the_clock_is_set() {
    let mut site = Site::new().await;
    let policy = Policy { lease: Some(7200), ..Policy::default() };
    let run = site.launch(Plan { policy, ..plan(1) }).await;
    let began = tokio::time::Instant::now();
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    site.seam.set_clock_by(24 * 3600 * 1000);
    tokio::time::sleep(Duration::from_secs(7000)).await;
    let detail = site.handle(run).await.detail().await.expect("read");
    assert_eq!(detail.summary.state, RunState::Ready, "a day has not passed");
    let left = detail.lease_end.expect("shown").duration_since(crate::run::view::timestamp(site.seam.now()));
    assert!((190..210).contains(&left.as_secs()), "people see it by their clock: {left:?}");
    site.wait_for(run, RunState::Done).await;
    assert!(began.elapsed() >= Duration::from_secs(7200) && began.elapsed() < Duration::from_secs(7260));
    let events = site.events(run).await;
    let told = |e: &Event| matches!(e, Event::LeaseEnding { .. });
    assert_eq!(events.iter().filter(|r| told(&r.event)).count(), 1);
    let late = site.handle(run).await.set_lease(ann(), Some(60)).await.expect_err("it has ended");
    assert!(late.to_string().contains("it has no lease any more"), "{late}");
    assert_eq!(site.events(run).await.len(), events.len(), "nothing was changed");
}

#[tokio::test(start_paused = true)]
async fn a_tolerated_launch_that_fails_does_not_hold_up_the_others() {
    let mut site = Site::new().await;
    let mut tolerant = plan(3);
    tolerant.nodes.values_mut().for_each(|node| node.tolerate = 1);
    site.cloud.fail_launch(Fault::Refuse(CloudError::Quota("2 of 2 VMs used".into())));
    let run = site.launch(tolerant).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    let detail = site.handle(run).await.detail().await.expect("read");
    assert_eq!((detail.summary.abort, detail.summary.health.as_str()), (None, "2 of 2 ready"));
    let ids = site.handle(run).await.parameter(&key("web:ids")).await.expect("read").value.expect("set");
    assert_eq!(ids.split(',').count(), 2);

    let mut site = Site::new().await;
    site.cloud.fail_launch(Fault::Refuse(CloudError::Quota("none left".into())));
    let run = site.launch(plan(1)).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    let summary = site.handle(run).await.detail().await.expect("read").summary;
    assert_eq!(summary.failure, Some(Failure::LaunchFailed));
}
