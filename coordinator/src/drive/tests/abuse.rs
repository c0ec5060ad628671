//! Agents that ask for too much, or do not listen: stated bounds, and the others do not notice.

use slipstream_shared::{
    event::{Event, Record},
    id::InstanceId,
    link::{Change, Down, RefusedCode, Reply, Up},
};

use super::{
    ann, key,
    site::{Site, plan, token},
};
use crate::drive::{AgentLink, RunHandle, lines::MOST_BYTES};

/// A run of two machines with their links.
async fn two() -> (Site, RunHandle, [AgentLink; 2]) {
    let mut site = Site::new().await;
    let run = site.launch(plan(2)).await;
    let handle = site.handle(run).await;
    let mut links = Vec::new();
    for _ in 0..2 {
        let started = site.next_start().await;
        let id: InstanceId = started.key.instance.clone();
        handle.enrol(&id, 1, &token(&started), "k", "1").await.expect("enrolled");
        let mut link = handle.attach(&id, 1, "k").await.expect("attached");
        link.down.recv().await.expect("hello");
        link.down.recv().await.expect("plan");
        links.push((id, link));
    }
    links.sort_by(|a, b| a.0.cmp(&b.0));
    let links: Vec<AgentLink> = links.into_iter().map(|(_, link)| link).collect();
    (site, handle, links.try_into().expect("two"))
}

fn get(id: u64) -> Up {
    Up::Get { id, key: key("web.1:greeting"), wait: false, ignore_abort: false }
}

/// A machine that sets its own value and reads it is answered.
async fn serves(link: &mut AgentLink, op: u64) {
    let set = Change::Set { key: key("web.2:greeting"), value: Some("here".into()), ignore_abort: false };
    link.up(Up::Do { op, change: set }).await.expect("sent");
    assert_eq!(link.down.recv().await, Some(Down::Done { op, refused: None }));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_waits_of_one_machine_have_a_bound_and_leave_the_others_alone() {
    let (_site, handle, [mut greedy, mut other]) = two().await;
    let most = super::super::waiters::MOST as u64;
    let mut refused = 0;
    let mut hear = |line: Down| match line {
        Down::Answer { id, reply: Reply::Refused(why) } => {
            assert!(id >= most && why.code == RefusedCode::Denied, "{id}: {why:?}");
            refused += 1;
        }
        other => panic!("{other:?}"),
    };
    for id in 0..100_000 {
        let conditions = vec!["web.1:greeting".to_owned()];
        greedy.up(Up::Wait { id, conditions, ignore_abort: false }).await.expect("sent");
        while let Some(line) = greedy.down.try_recv() {
            hear(line);
        }
        if id % 10_000 == 0 {
            serves(&mut other, id / 10_000 + 1).await;
        }
    }
    handle.detail().await.expect("read");
    while let Some(line) = greedy.down.try_recv() {
        hear(line);
    }
    assert_eq!(refused, 100_000 - most);
    handle.set(ann(), key("web.1:greeting"), Some("now".into())).await.expect("set");
    assert_eq!(super::met(&mut greedy, most).await, most);
    serves(&mut other, 11).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_read_is_cut_off_before_it_costs_much() {
    let (_site, handle, [mut deaf, mut other]) = two().await;
    let large = "x".repeat(64 * 1024);
    handle.set(ann(), key("web.1:greeting"), Some(large.clone())).await.expect("set");
    for id in 0..1000 {
        deaf.up(get(id)).await.expect("sent");
    }
    let connected =
        |detail: slipstream_shared::api::RunDetail| detail.nodes.iter().map(|node| node.connected).collect::<Vec<_>>();
    assert_eq!(connected(handle.detail().await.expect("read")), [false, true]);
    serves(&mut other, 1).await;
    let mut bytes = 0;
    while let Some(line) = deaf.down.recv().await {
        let Down::Answer { reply: Reply::Value { value: Some(value), .. }, .. } = line else { panic!("{line:?}") };
        bytes += value.len();
    }
    assert!(bytes <= MOST_BYTES && bytes > MOST_BYTES - large.len(), "what is under way still arrives: {bytes}");
    // It may come back, and gets what it asks for.
    let mut again = handle.attach(&"web.1".parse().expect("valid"), 1, "k").await.expect("attached");
    again.down.recv().await.expect("hello");
    again.down.recv().await.expect("plan");
    for id in 0..1000 {
        again.up(get(id)).await.expect("sent");
        let answer = again.down.recv().await;
        assert!(
            matches!(&answer, Some(Down::Answer { reply: Reply::Value { value: Some(v), .. }, .. }) if *v == large)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_has_written_although_it_failed_is_told_to_agents_and_followers() {
    let (site, handle, [mut web1, _web2]) = two().await;
    let mut feed = handle.events(0).await.expect("it goes on");
    let last = site.events(handle.id()).await.len();
    for _ in 0..last {
        feed.next().await.expect("history");
    }
    site.deny_writes(true);
    handle.abort(ann(), "enough".into()).await.expect_err("nobody knows whether it is written");
    site.deny_writes(false);
    let within = std::time::Duration::from_secs(1);
    let told = async { while !matches!(web1.down.recv().await.expect("linked"), Down::Abort { .. }) {} };
    tokio::time::timeout(within, told).await.expect("the agent is told at once");
    let shown = tokio::time::timeout(within, feed.next()).await.expect("who follows is shown it at once");
    assert!(matches!(shown, Some(Record { event: Event::AbortRaised { .. }, .. })), "{shown:?}");
}
