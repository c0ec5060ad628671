//! Runs whose records are damaged.

use slipstream_shared::{event::Event, id::RunId, state::RunState};

use super::{
    ann, key,
    site::{Script, Site, plan},
};
use crate::{
    drive::RunError,
    store::{DAMAGED, layout},
};

/// A run that is Ready and one that was launched beside it.
async fn two(site: &mut Site) -> (RunId, RunId) {
    let run = site.launch(plan(2)).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    let other = site.launch(plan(1)).await;
    site.wait_for(other, RunState::Ready).await;
    (run, other)
}

async fn reason(site: &Site, run: RunId) -> Option<String> {
    let listed = site.list().await;
    assert_eq!(listed.len(), 2, "both are listed");
    listed.into_iter().find(|summary| summary.id == run).expect("listed").damaged
}

#[tokio::test(start_paused = true)]
async fn a_damaged_run_is_shown_and_keeps_no_other_from_going_on() {
    for (damage, told) in [(None, "its event 9 is missing"), (Some(DAMAGED), "its event 9 cannot be read")] {
        let mut site = Site::new().await;
        let (run, other) = two(&mut site).await;
        let whole = site.handle(run).await.detail().await.expect("read");
        site.damage(layout::event(run, 9), damage).await;
        site.restart().await;
        assert_eq!(reason(&site, run).await.as_deref(), Some(told));
        assert_eq!(reason(&site, other).await, None);
        let refused = site.runs().find(&run.to_string()).await.expect_err("nobody drives it").to_string();
        assert_eq!(refused, "cannot read or write the run");

        let shown = site.runs().detail(run).await.expect("as far as it can be read");
        assert_eq!(shown.summary.damaged.as_deref(), Some(told));
        assert_eq!((shown.seq, shown.nodes.len()), (whole.seq, 2));
        assert!(shown.nodes.iter().all(|node| node.machine.is_some()), "its machines are listed: {shown:#?}");
        let events = site.events(run).await;
        let note = events.iter().find(|record| record.seq == 9).expect("stands in its place");
        let Event::Noted { message } = &note.event else { panic!("{note:?}") };
        assert_eq!(message, "its event 9 is damaged and cannot be shown");

        // The other one goes on, and ends.
        let handle = site.handle(other).await;
        handle.set(ann(), key("web.1:statecustom"), Some("81".to_owned())).await.expect("set");
        handle.terminate(ann()).await.expect("accepted");
        site.wait_for(other, RunState::Done).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_run_is_abandoned_with_a_list_of_its_machines() {
    let mut site = Site::new().await;
    let (run, _) = two(&mut site).await;
    site.damage(layout::event(run, 9), None).await;
    site.restart().await;
    let ended = site.runs().abandon(run, ann()).await.expect("given up");
    assert_eq!((ended.summary.state, ended.left.len()), (RunState::Aborted, 2));
    assert!(ended.left.iter().all(|left| left.machine.is_some()), "{:?}", ended.left);
    let again = site.runs().abandon(run, ann()).await.expect_err("once");
    assert!(matches!(again, RunError::Refused(_)), "{again}");
    site.restart().await;
    let listed = site.list().await.into_iter().find(|summary| summary.id == run).expect("listed");
    assert_eq!((listed.state, listed.damaged.as_deref()), (RunState::Aborted, Some("its event 9 is missing")));
}

#[tokio::test(start_paused = true)]
async fn what_can_be_made_again_is_made_again() {
    let mut site = Site::new().await;
    let (run, other) = two(&mut site).await;
    let before = site.list().await;
    site.damage(layout::summary(run), Some(DAMAGED)).await;
    site.damage(layout::summary(other), None).await;
    site.damage(layout::snapshot(run), Some(DAMAGED)).await;
    site.restart().await;
    assert_eq!(site.list().await, before);
    site.handle(run).await.set(ann(), key("web.1:statecustom"), Some("81".to_owned())).await.expect("it is driven");
    site.handle(other).await.terminate(ann()).await.expect("this one as well");
    site.wait_for(other, RunState::Done).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_of_which_nothing_is_left_is_listed_until_it_is_given_up() {
    let mut site = Site::new().await;
    let (run, _) = two(&mut site).await;
    let last = site.handle(run).await.detail().await.expect("read").seq;
    for seq in 1..=last {
        site.damage(layout::event(run, seq), None).await;
    }
    site.damage(layout::snapshot(run), None).await;
    site.restart().await;
    assert_eq!(reason(&site, run).await.as_deref(), Some("all its events are missing"));
    let refused = site.runs().detail(run).await.expect_err("nothing is left");
    assert!(matches!(&refused, RunError::Store(_)), "{refused}");
}
