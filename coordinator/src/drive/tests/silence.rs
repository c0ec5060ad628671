//! Agents that fall silent, and clocks that are set.

use std::time::Duration;

use slipstream_shared::{
    event::{Event, Record},
    id::RunId,
    link::Up,
    state::{Outcome, RunState},
};

use super::{
    ann,
    site::{self, Script, Site, plan},
};
use crate::{drive::SILENT_AFTER, run::decide::BOOT_DEADLINE};

const DAY: i64 = 24 * 3600 * 1000;

async fn count(site: &Site, run: RunId, what: fn(&Event) -> bool) -> usize {
    site.events(run).await.iter().filter(|r: &&Record| what(&r.event)).count()
}

/// The coordinator dies with its next record, and another one takes over.
async fn crash(site: &mut Site, run: RunId) {
    site.die_after(1);
    let handle = site.handle(run).await;
    let write = handle.set(ann(), super::key("web.1:greeting"), Some("x".into()));
    let (answer, died) = tokio::join!(tokio::time::timeout(Duration::from_secs(1), write), site.restart_when_dead());
    assert!(answer.is_err() && died, "nobody answers: {answer:?}");
}

fn silent(event: &Event) -> bool {
    matches!(event, Event::InstanceSilent { .. })
}

fn heard(event: &Event) -> bool {
    matches!(event, Event::InstanceHeard { .. })
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_says_nothing_is_silent_after_30_seconds_and_heard_again() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    let started = site.next_start().await;
    let (handle, web) = (site.handle(run).await, started.key.instance.clone());
    handle.enrol(&web, 1, &site::token(&started), "k", "1", &Default::default()).await.expect("enrolled");
    let link = handle.attach(&web, 1, "k", 0, &Default::default()).await.expect("attached");
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        link.up(Up::Heartbeat).await.expect("sent");
    }
    assert_eq!(count(&site, run, silent).await, 0, "it is there");
    let last = tokio::time::Instant::now();
    site.wait_until(run, |d| d.nodes[0].silent.is_some()).await;
    let noticed = last.elapsed();
    assert!(noticed >= Duration::from_millis(SILENT_AFTER) && noticed < Duration::from_secs(31), "{noticed:?}");
    let detail = handle.detail().await.expect("read");
    assert_eq!(detail.summary.health, "0 of 1 ready, 1 silent");
    assert_eq!(detail.summary.state, RunState::Executing, "that is not the state");

    link.up(Up::Heartbeat).await.expect("sent");
    site.wait_until(run, |d| d.nodes[0].silent.is_none()).await;
    drop(link);
    site.wait_until(run, |d| d.nodes[0].silent.is_some()).await;
    let link = handle.attach(&web, 1, "k", 0, &Default::default()).await.expect("attached");
    site.wait_until(run, |d| d.nodes[0].silent.is_none()).await;
    drop(link);
    assert_eq!((count(&site, run, silent).await, count(&site, run, heard).await), (2, 2), "each on record once");
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_agents_have_the_whole_time_to_come_back() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    let started = site.next_start().await;
    let (handle, web) = (site.handle(run).await, started.key.instance.clone());
    handle.enrol(&web, 1, &site::token(&started), "k", "1", &Default::default()).await.expect("enrolled");
    let link = handle.attach(&web, 1, "k", 0, &Default::default()).await.expect("attached");
    tokio::time::sleep(Duration::from_secs(25)).await;
    drop(link);
    crash(&mut site, run).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let handle = site.handle(run).await;
    let _link = handle.attach(&web, 1, "k", 0, &Default::default()).await.expect("attached");
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(count(&site, run, silent).await, 0, "45 s without a word, but it could not have been heard");
}

#[tokio::test(start_paused = true)]
async fn a_silent_machine_does_not_change_the_state() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    let started = site.next_start().await;
    let (handle, web) = (site.handle(run).await, started.key.instance.clone());
    handle.enrol(&web, 1, &site::token(&started), "k", "1", &Default::default()).await.expect("enrolled");
    let link = handle.attach(&web, 1, "k", 0, &Default::default()).await.expect("attached");
    for (op, change) in site::all_steps().into_iter().enumerate() {
        link.up(Up::Do { op: op as u64 + 1, change }).await.expect("sent");
    }
    site.wait_for(run, RunState::Ready).await;
    drop(link);
    site.wait_until(run, |d| d.summary.health == "0 of 1 ready, 1 silent").await;
    let summary = handle.detail().await.expect("read").summary;
    assert_eq!((summary.state, summary.outcome), (RunState::Ready, Outcome::Succeeded));
    handle.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Done).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_by_a_day_fires_no_deadline_and_delays_none() {
    for days in [1, -1] {
        let mut site = Site::new().await;
        let run = site.launch(plan(1)).await;
        let _started = site.next_start().await;
        let began = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_secs(60)).await;
        site.seam.set_clock_by(days * DAY);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let detail = site.handle(run).await.detail().await.expect("read");
        assert_eq!(detail.summary.abort, None, "{days}: nothing was late");
        site.wait_until(run, |d| d.summary.abort.is_some()).await;
        let due = Duration::from_millis(BOOT_DEADLINE);
        let late = began.elapsed().saturating_sub(due);
        assert!(began.elapsed() >= due && late < Duration::from_secs(1), "{days}: {late:?} late");
        let told = |e: &Event| matches!(e, Event::ClockChanged { millis } if millis.abs_diff(0) / 1000 == 86_400);
        assert_eq!(count(&site, run, told).await, 1, "{days}");
        let abort = site.events(run).await.into_iter().find(|r| matches!(r.event, Event::AbortRaised { .. }));
        let at = abort.expect("recorded").at;
        let shown = crate::run::view::timestamp(site.seam.now());
        assert!(at.duration_until(shown).abs() < jiff::SignedDuration::from_secs(2), "{days}: people see their clock");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_behind_after_a_restart_does_not_stop_a_run() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    tokio::time::sleep(Duration::from_secs(7200)).await;
    // The next coordinator begins where every seeded world does.
    crash(&mut site, run).await;
    let handle = site.handle(run).await;
    handle.terminate(ann()).await.expect("accepted");
    let began = tokio::time::Instant::now();
    site.wait_for(run, RunState::Done).await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
