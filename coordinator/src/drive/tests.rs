//! Runs driven for real on the fake cloud, with agents played by the test, on paused time.

mod abuse;
mod damaged;
mod large;
mod life;
mod meeting;
mod mix;
mod power;
mod ready;
mod retry;
mod scale;
mod silence;
mod site;
mod update;
mod vertical;

use std::time::Duration;

use slipstream_shared::{
    api::RunDetail,
    event::{Author, Event},
    link::{Change, Down, RefusedCode, Reply, Up},
    parameter::Key,
    state::RunState,
};

use self::site::{Script, Site, plan};
use super::{AgentLink, EnrolError, RunError};
use crate::{
    cloud::{
        CloudError,
        fake::{Fault, Habits},
    },
    run::{change::Refused, decide::BOOT_DEADLINE},
};

fn key(text: &str) -> Key {
    text.parse().expect("valid")
}

fn ann() -> Author {
    Author::User("ann".into())
}

/// Hears how waits end until so many have; gives how many, for one line may be the end of several.
async fn met(link: &mut AgentLink, most: u64) -> u64 {
    let mut ended = 0;
    while ended < most {
        ended += match link.down.recv().await.expect("all are woken at once") {
            Down::Answer { reply: Reply::Met { .. }, .. } => 1,
            Down::Answers { ids, reply: Reply::Met { .. } } => ids.len() as u64,
            other => panic!("{other:?}"),
        };
    }
    ended
}

#[tokio::test(start_paused = true)]
async fn a_run_comes_up_and_goes_back_to_nothing() {
    let mut site = Site::new().await;
    let run = site.launch(plan(2)).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    let handle = site.handle(run).await;
    assert_eq!(handle.detail().await.expect("read").summary.ready, 2);
    handle.terminate(ann()).await.expect("accepted");
    handle.terminate(ann()).await.expect("idempotent");
    site.wait_for(run, RunState::Done).await;
    assert_eq!(site.cloud.machines(), 0);
    let events = site.events(run).await;
    let seqs: Vec<u64> = events.iter().map(|r| r.seq).collect();
    assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<_>>(), "numbered without gaps");
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_record_it_goes_on_where_it_was() {
    for point in 1.. {
        let mut site = Site::new().await;
        // What was launched before is adopted, also where the cloud itself does not see to that.
        site.cloud.set_habits(Habits { idempotent: false, ..Habits::default() });
        site.die_after(point);
        let run = site.launch_somehow(plan(2)).await;
        site.play_agents(Script::Succeed);
        let died = site.restart_when_dead().await;
        site.die_after(i64::MAX);
        site.wait_for(run, RunState::Ready).await;
        site.handle(run).await.terminate(ann()).await.expect("accepted");
        site.wait_for(run, RunState::Done).await;
        nothing_doubled_or_left(&site, run, point).await;
        if !died {
            assert!(point > 5, "the run has more records than {point}");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_record_of_its_end_it_still_ends() {
    for point in 1.. {
        let mut site = Site::new().await;
        let run = site.launch(plan(2)).await;
        site.play_agents(Script::Succeed);
        site.wait_for(run, RunState::Ready).await;
        site.die_after(point);
        let died = tokio::join!(site.terminate_somehow(run), site.restart_when_dead()).1;
        site.die_after(i64::MAX);
        site.wait_for(run, RunState::Done).await;
        nothing_doubled_or_left(&site, run, point).await;
        if !died {
            assert!(point > 2, "the end has more records than that");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_launch_was_not_recorded_is_adopted() {
    let mut site = Site::new().await;
    site.cloud.set_habits(Habits { idempotent: false, ..Habits::default() });
    let run = site.launch(plan(2)).await;
    site.play_agents(Script::Succeed);
    // The coordinator dies between the launch and its record: the intent is durable, the outcome is not.
    site.die_before_launched();
    assert!(site.restart_when_dead().await, "it has launched");
    assert_eq!(site.cloud.machines(), 2);
    site.wait_for(run, RunState::Ready).await;
    assert_eq!(site.cloud.machines(), 2);
    for key in site.attempts(run).await {
        assert_eq!((key.attempt, site.cloud.launches(&key)), (1, 1), "{}", key.instance);
    }
}

async fn nothing_doubled_or_left(site: &Site, run: slipstream_shared::id::RunId, point: i64) {
    assert_eq!(site.cloud.machines(), 0, "killed after record {point}: a machine is left");
    for key in site.attempts(run).await {
        assert_eq!(key.attempt, 1, "killed after record {point}: {} was launched again", key.instance);
        assert!(site.cloud.launches(&key) >= 1);
    }
    let enrolled = site.events(run).await.iter().filter(|r| matches!(r.event, Event::Enrolled { .. })).count();
    assert_eq!(enrolled, 2, "killed after record {point}: an instance was doubled");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_does_not_double_a_machine() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
        let mut site = Site::new().await;
        site.cloud.set_habits(Habits { idempotent: false, ..Habits::default() });
        site.cloud.fail_launch(fault.clone());
        let run = site.launch(plan(2)).await;
        site.play_agents(Script::Succeed);
        site.wait_for(run, RunState::Ready).await;
        assert_eq!(site.cloud.machines(), 2, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cloud_is_not_asked_what_there_is_for_each_machine() {
    let mut site = Site::new().await;
    let run = site.launch(plan(200)).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    assert_eq!(site.cloud.machines(), 200);
    assert!(site.cloud.finds() < 50, "asked {} times", site.cloud.finds());
}

#[tokio::test(start_paused = true)]
async fn what_a_cloud_can_never_launch_is_refused_and_no_run_begins() {
    let mut site = Site::new().await;
    let invalid = CloudError::Invalid { what: "qemu is not installed".into(), remedy: "apt install it".into() };
    site.cloud.fail_validate(invalid);
    let error = site.try_launch(plan(2)).await.expect_err("refused");
    assert_eq!(error.to_string(), "cloud `fake` cannot launch this: qemu is not installed (apt install it)");
    assert_eq!(site.list().await, [], "no run");

    site.cloud.fail_validate(CloudError::Transient("no route to host".into()));
    let run = site.launch(plan(2)).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_cloud_without_room_is_tried_again_and_one_that_refuses_is_not() {
    let mut site = Site::new().await;
    site.cloud.fail_launch(Fault::Refuse(CloudError::Capacity("full".into())));
    let run = site.launch(plan(1)).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    assert_eq!(site.attempts(run).await.len(), 2);

    let site = Site::new().await;
    site.cloud.fail_launch(Fault::Refuse(CloudError::Quota("0 of 0 VMs left".into())));
    let run = site.launch(plan(1)).await;
    site.wait_for(run, RunState::Ready).await;
    let summary = site.handle(run).await.detail().await.expect("read").summary;
    assert_eq!(summary.abort.as_deref(), Some("cannot launch web.1: quota reached: 0 of 0 VMs left"));
    site.handle(run).await.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Aborted).await;
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_cannot_be_reached_leaves_the_run_unfinished_and_visible() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    for _ in 0..3 {
        site.cloud.fail_terminate(CloudError::Transient("no route to host".into()));
    }
    site.handle(run).await.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Done).await;
    let told = |r: &slipstream_shared::event::Record| matches!(&r.event, Event::Trouble { message } if message.contains("no route"));
    assert_eq!(site.events(run).await.iter().filter(|r| told(r)).count(), 1, "told once, not at each try");
    assert_eq!(site.cloud.machines(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_dies_before_ready_aborts_the_run() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    let started = site.next_start().await;
    site.cloud.vanish(&started.machine);
    site.wait_for(run, RunState::Ready).await;
    let abort = site.handle(run).await.detail().await.expect("read").summary.abort.expect("aborted");
    assert!(abort.starts_with("web.1 is lost: its machine is gone"), "{abort}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_value_the_abort_or_the_coordinator() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    let handle = site.handle(run).await;
    let wait = |handle: super::RunHandle| {
        tokio::task::spawn_local(async move { handle.wait_parameter(&key("web.1:greeting"), false).await })
    };
    tokio::task::LocalSet::new()
        .run_until(async {
            let waiting = wait(handle.clone());
            tokio::time::sleep(Duration::from_secs(5)).await;
            handle.set(ann(), key("web.1:greeting"), Some("hello".into())).await.expect("set");
            let parameter = waiting.await.expect("no panic").expect("came");
            assert_eq!(parameter.value.as_deref(), Some("hello"));

            handle.set(ann(), key("web.1:greeting"), None).await.expect("unset");
            let waiting = wait(handle.clone());
            tokio::time::sleep(Duration::from_secs(5)).await;
            handle.abort(ann(), "enough".into()).await.expect("aborted");
            let error = waiting.await.expect("no panic").expect_err("aborted");
            assert!(matches!(error, RunError::Refused(Refused::Aborted { reason }) if reason == "enough"));

            handle.cancel_abort(ann()).await.expect("taken back");
            let waiting = wait(handle.clone());
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(site.seam.stop(Duration::from_secs(5)).await);
            assert!(matches!(waiting.await.expect("no panic"), Err(RunError::Unavailable(_))));
        })
        .await;
    let _ = &mut site;
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_are_refused_and_change_nothing() {
    let site = Site::new().await;
    let run = site.launch(plan(1)).await;
    let handle = site.handle(run).await;
    for result in [
        handle.parameter(&key("web.1:greting")).await.map(drop),
        handle.wait_parameter(&key("web.1:greting"), false).await.map(drop),
        handle.set(ann(), key("web.1:greting"), Some("x".into())).await.map(drop),
    ] {
        let error = result.expect_err("unknown").to_string();
        assert_eq!(error, "this run has no parameter `web.1:greting` (did you mean `web.1:greeting`?)");
    }
    assert_eq!(handle.detail().await.expect("read").summary.abort, None);
}

#[tokio::test(start_paused = true)]
async fn a_token_enrols_one_key() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    let started = site.next_start().await;
    let (handle, web, token) = (site.handle(run).await, started.key.instance.clone(), site::token(&started));
    assert!(matches!(handle.enrol(&web, 1, "wrong", "key-a", "1").await, Err(EnrolError::Token)));
    assert!(matches!(handle.enrol(&web, 2, &token, "key-a", "1").await, Err(EnrolError::Token)));
    handle.enrol(&web, 1, &token, "key-a", "1").await.expect("enrolled");
    handle.enrol(&web, 1, &token, "key-a", "1").await.expect("the answer was lost: the same again");
    for _ in 0..3 {
        assert!(matches!(handle.enrol(&web, 1, &token, "key-b", "1").await, Err(EnrolError::OtherKey)));
    }
    let told = |reason: &str| {
        let reason = reason.to_owned();
        move |r: &slipstream_shared::event::Record| matches!(&r.event, Event::EnrolmentRefused { reason: r, .. } if *r == reason)
    };
    let events = site.events(run).await;
    assert_eq!(events.iter().filter(|r| told("its token was used before, with another key")(r)).count(), 1);
    assert!(handle.attach(&web, 1, "key-b").await.is_err());
    assert!(handle.attach(&web, 1, "key-a").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_repeated_change_is_applied_once() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    let started = site.next_start().await;
    let handle = site.handle(run).await;
    let web = started.key.instance.clone();
    handle.enrol(&web, 1, &site::token(&started), "k", "1").await.expect("enrolled");
    let set = |op, value: &str| {
        let value = Some(value.to_owned());
        Up::Do { op, change: Change::Set { key: key("web.1:greeting"), value, ignore_abort: false } }
    };
    for _ in 0..2 {
        let mut link = handle.attach(&web, 1, "k").await.expect("attached");
        let Some(Down::Hello { .. }) = link.down.recv().await else { panic!("no hello") };
        let Some(Down::Plan(_)) = link.down.recv().await else { panic!("no plan") };
        link.up(set(1, "one")).await.expect("sent");
        assert_eq!(link.down.recv().await, Some(Down::Done { op: 1, refused: None }));
    }
    let link = &mut handle.attach(&web, 1, "k").await.expect("attached");
    assert!(matches!(link.down.recv().await, Some(Down::Hello { last_op: 1, .. })));
    let sets = site.events(run).await.iter().filter(|r| matches!(r.event, Event::ParameterSet { .. })).count();
    assert_eq!(sets, 1);

    link.down.recv().await.expect("plan");
    let denied = Change::Set { key: key("ss:state"), value: Some("Done".into()), ignore_abort: false };
    link.up(Up::Do { op: 2, change: denied }).await.expect("sent");
    let Some(Down::Done { op: 2, refused: Some(refused) }) = link.down.recv().await else { panic!("accepted") };
    assert_eq!(refused.code, RefusedCode::Denied);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_known_again_after_its_answer_was_lost_also_by_another_coordinator() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    let started = site.next_start().await;
    let handle = site.handle(run).await;
    let web = started.key.instance.clone();
    handle.enrol(&web, 1, &site::token(&started), "k", "1").await.expect("enrolled");
    let set = |op, key: &str| {
        let (key, value) = (key.parse().expect("valid"), Some("x".to_owned()));
        Up::Do { op, change: Change::Set { key, value, ignore_abort: false } }
    };
    let compare = |op| {
        let change = Change::SetIf { key: key("web.1:greeting"), value: None, revision: 9999, ignore_abort: false };
        Up::Do { op, change }
    };
    let mut link = handle.attach(&web, 1, "k").await.expect("attached");
    for line in [compare(1), set(2, "web.1:nonsense"), set(3, "ss:state"), set(4, "web.1:greeting"), compare(5)] {
        link.up(line).await.expect("sent");
    }
    while !matches!(link.down.recv().await.expect("answered"), Down::Done { op: 5, .. }) {}
    drop(link);
    for again in [false, true] {
        if again {
            site.die_after(1);
            let unanswered = handle.set(ann(), key("web.1:greeting"), None);
            tokio::time::timeout(Duration::from_secs(30), unanswered).await.expect_err("it has died");
            assert!(site.restart_when_dead().await);
        }
        let mut link = site.handle(run).await.attach(&web, 1, "k").await.expect("attached");
        let Some(Down::Hello { last_op: 4, refused, .. }) = link.down.recv().await else { panic!("no hello") };
        let known: Vec<_> = refused.iter().map(|known| (known.op, known.refused.code)).collect();
        assert_eq!(known, [(2, RefusedCode::UnknownKey), (3, RefusedCode::Denied)], "compared ones are asked again");
        link.down.recv().await.expect("plan");
        link.up(set(2, "web.1:nonsense")).await.expect("sent");
        let Some(Down::Done { op: 2, refused: Some(same) }) = link.down.recv().await else { panic!("accepted") };
        assert_eq!(same, refused[0].refused);
    }
    let told = site.events(run).await.iter().filter(|r| matches!(r.event, Event::ChangeRefused { .. })).count();
    assert_eq!(told, 2, "each once");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_recorded_is_never_shown_even_while_the_store_cannot_be_read() {
    let site = Site::new().await;
    let run = site.launch(plan(1)).await;
    let handle = site.handle(run).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    site.fill_disk(true);
    site.break_reads(true);
    handle.set(ann(), key("web.1:greeting"), Some("x".into())).await.expect_err("not durable");
    let greeting = key("web.1:greeting");
    let early = tokio::time::timeout(Duration::from_secs(30), handle.parameter(&greeting)).await;
    assert!(early.is_err(), "answered from what is not durable: {early:?}");
    site.fill_disk(false);
    site.break_reads(false);
    assert_eq!(handle.parameter(&greeting).await.expect("read").value, None);
    handle.set(ann(), greeting, Some("y".into())).await.expect("recorded");
    let seqs: Vec<u64> = site.events(run).await.iter().map(|r| r.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "no gap");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_acknowledges_nothing() {
    let site = Site::new().await;
    let run = site.launch(plan(1)).await;
    let handle = site.handle(run).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    site.fill_disk(true);
    let error = handle.set(ann(), key("web.1:greeting"), Some("x".into())).await.expect_err("not durable");
    assert!(matches!(error, RunError::Store(_)), "{error}");
    assert_eq!(handle.parameter(&key("web.1:greeting")).await.expect("read").value, None);
    // The machine never enrols, which cannot be recorded, again and again; who asks is answered all the same.
    tokio::time::sleep(Duration::from_millis(2 * BOOT_DEADLINE)).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(handle.detail().await.expect("read").summary.abort, None);
    }
    site.fill_disk(false);
    site.wait_until(run, |d| d.summary.abort.is_some()).await;
    handle.cancel_abort(ann()).await.expect("taken back");
    handle.set(ann(), key("web.1:greeting"), Some("y".into())).await.expect("there is space again");
    assert_eq!(handle.parameter(&key("web.1:greeting")).await.expect("read").value.as_deref(), Some("y"));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_what_is_on_record() {
    let mut site = Site::new().await;
    let run = site.launch(plan(2)).await;
    site.play_agents(Script::WaitForGreeting);
    let handle = site.handle(run).await;
    site.wait_until(run, |d| d.nodes.iter().all(|n| n.waiting.iter().any(|w| w.on == "web.1:greeting"))).await;
    handle.set(ann(), key("web.1:greeting"), Some("go".into())).await.expect("set");
    site.wait_for(run, RunState::Ready).await;
    let events = site.events(run).await;
    let count = |begun: bool| {
        let is = |e: &Event| {
            matches!((e, begun), (Event::WaitBegan { .. }, true) | (Event::WaitEnded { came: true, .. }, false))
        };
        events.iter().filter(|r| is(&r.event)).count()
    };
    assert_eq!((count(true), count(false)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_although_a_launch_has_reached_the_cloud_twice() {
    let mut site = Site::new().await;
    site.cloud.set_habits(Habits { idempotent: false, ..Habits::default() });
    let run = site.launch(plan(1)).await;
    let started = site.next_start().await;
    site.launch_again(&started).await;
    site.wait_until(run, |d| d.nodes.iter().any(|n| n.machine.is_some())).await;
    assert_eq!(site.cloud.machines(), 2);
    site.handle(run).await.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Cancelled).await;
    assert_eq!(site.cloud.machines(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_is_its_last_event_whoever_still_waits() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    site.play_agents(Script::WaitForGreeting);
    let waits = |d: &RunDetail| d.nodes.iter().any(|n| !n.waiting.is_empty());
    site.wait_until(run, waits).await;
    let handle = site.handle(run).await;
    let mut feed = handle.events(0).await.expect("followed");
    handle.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Cancelled).await;
    let recorded = site.events(run).await;
    let last = &recorded.last().expect("some").event;
    assert!(matches!(last, Event::StateChanged { state: RunState::Cancelled }), "{last:?}");
    let mut seen = 0;
    while let Some(record) = feed.next().await {
        seen = record.seq;
    }
    assert_eq!(seen, recorded.len() as u64, "who follows is shown all of them");
    assert!(!waits(&handle.detail().await.expect("read")), "nobody waits any more");
}

#[tokio::test(start_paused = true)]
async fn a_machine_has_thousands_of_waits_but_not_without_end() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    let started = site.next_start().await;
    let handle = site.handle(run).await;
    let web = started.key.instance.clone();
    handle.enrol(&web, 1, &site::token(&started), "k", "1").await.expect("enrolled");
    let mut link = handle.attach(&web, 1, "k").await.expect("attached");
    link.down.recv().await.expect("hello");
    link.down.recv().await.expect("plan");
    let most = super::waiters::MOST as u64;
    let wait = |id| {
        let conditions = vec![format!("web.1:greeting={}", id % 2)];
        Up::Wait { id, conditions, ignore_abort: false }
    };
    for id in 0..=most {
        link.up(wait(id)).await.expect("sent");
    }
    let Some(Down::Answer { id, reply: Reply::Refused(refused) }) = link.down.recv().await else { panic!("accepted") };
    assert_eq!((id, refused.code), (most, RefusedCode::Denied));
    assert_eq!(refused.message, "web.1 may not wait for more than 10000 things at once");
    // Long enough to be on record: once for each thing, however many wait for it.
    site.wait_until(run, |d| d.nodes[0].waiting.len() == 2).await;
    for id in 0..10 {
        link.up(Up::Forget { id }).await.expect("sent");
    }
    for (value, others) in [("1", 1), ("0", 0)] {
        handle.set(ann(), key("web.1:greeting"), Some(value.into())).await.expect("set");
        assert_eq!(met(&mut link, (most - 10) / 2).await, (most - 10) / 2);
        assert_eq!(handle.detail().await.expect("read").nodes[0].waiting.len(), others);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_script_aborts_the_run() {
    let mut site = Site::new().await;
    let run = site.launch(plan(1)).await;
    site.play_agents(Script::Fail);
    site.wait_for(run, RunState::Ready).await;
    let detail = site.handle(run).await.detail().await.expect("read");
    assert_eq!(detail.summary.abort.as_deref(), Some("Failed running 'deploy' script on 'web.1': exit code 1: oh no"));
    assert_eq!(detail.nodes[0].steps[0].status, "failed");
}

#[tokio::test(start_paused = true)]
async fn an_event_feed_has_no_gap_whenever_it_begins() {
    let mut site = Site::new().await;
    let run = site.launch(plan(2)).await;
    let handle = site.handle(run).await;
    let mut feeds = vec![handle.events(0).await.expect("feed"), handle.events(3).await.expect("feed")];
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    handle.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Done).await;
    feeds.push(site.handle(run).await.events(0).await.expect("of an ended run"));
    let last = site.handle(run).await.detail().await.expect("read").seq;
    for (feed, first) in feeds.iter_mut().zip([1, 4, 1]) {
        let mut seen = Vec::new();
        while let Some(record) = feed.next().await {
            seen.push(record.seq);
        }
        assert_eq!(seen, (first..=last).collect::<Vec<_>>());
    }
    assert!(site.handle(run).await.events(last).await.expect("feed").next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_value_that_cannot_be_made_ends_with_the_reason() {
    let site = Site::new().await;
    let mut plan = plan(1);
    let web = plan.nodes.values_mut().next().expect("one node");
    let three = slipstream_shared::plan::ParamPlan {
        value: Some("${greeting}${greeting}${greeting}".parse().expect("valid")),
        ..Default::default()
    };
    web.params.insert("three".to_owned(), three);
    let run = site.launch(plan).await;
    let handle = site.handle(run).await;
    let long = "x".repeat(30_000);
    let (three, greeting) = (key("web.1:three"), key("web.1:greeting"));
    let wait = handle.wait_parameter(&three, false);
    let set = handle.set(ann(), greeting.clone(), Some(long));
    let (waited, set) = tokio::join!(wait, set);
    assert!(set.is_ok(), "{set:?}");
    let why = "`web.1:three` would have 90000 bytes, made of the values it refers to; the limit is 65536";
    assert!(matches!(&waited, Err(RunError::Refused(Refused::Broken(said))) if said == why), "{waited:?}");
    assert_eq!(handle.detail().await.expect("read").troubles, [why]);
    handle.set(ann(), greeting, Some("x".to_owned())).await.expect("the run goes on");
    assert_eq!(handle.wait_parameter(&three, false).await.expect("it can be made now").value.as_deref(), Some("xxx"));
}
