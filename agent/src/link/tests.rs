//! What the link promises, without a network.

use slipstream_shared::parameter::Key;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

fn link() -> (tempfile::TempDir, Link) {
    let folder = tempfile::tempdir().unwrap();
    let link = Link::open(&folder.path().join("ops")).unwrap();
    (folder, link)
}

fn connect(link: &Link, last_op: u64) -> UnboundedReceiver<Up> {
    let (out, wire) = unbounded_channel();
    link.connected(out, last_op, &[]);
    wire
}

fn get(id: u64) -> Up {
    Up::Get { id, key: Key::run("state"), wait: true, ignore_abort: false }
}

fn set(value: &str) -> Change {
    Change::Set { key: Key::run("x"), value: Some(value.to_owned()), ignore_abort: false }
}

#[tokio::test]
async fn a_question_is_asked_again_on_a_new_connection_until_it_is_answered() {
    let (_folder, link) = link();
    let question = link.ask(get);
    tokio::pin!(question);
    assert!(futures_poll(&mut question).is_none());
    let mut first = connect(&link, 0);
    assert_eq!(first.recv().await, Some(get(1)));
    link.disconnected(Phase::Away("test".into()));
    let mut second = connect(&link, 0);
    assert_eq!(second.recv().await, Some(get(1)));
    let reply = Reply::Value { value: Some("Ready".into()), revision: 0 };
    link.receive(Down::Answer { id: 1, reply: reply.clone() });
    assert_eq!(question.await, reply);
    let mut third = connect(&link, 0);
    assert!(third.try_recv().is_err(), "an answered question is not asked again");
}

#[tokio::test]
async fn a_question_nobody_waits_for_is_withdrawn() {
    let (_folder, link) = link();
    let mut wire = connect(&link, 0);
    {
        let question = link.ask(get);
        tokio::pin!(question);
        assert!(futures_poll(&mut question).is_none());
    }
    assert_eq!(wire.recv().await, Some(get(1)));
    assert_eq!(wire.recv().await, Some(Up::Forget { id: 1 }));
}

#[tokio::test]
async fn changes_wait_for_the_coordinator_and_keep_their_order() {
    let (_folder, link) = link();
    assert_eq!(link.change_and_wait(set("a")).await.unwrap(), Made::Spooled);
    link.change(set("b")).unwrap();
    let mut wire = connect(&link, 1);
    assert_eq!(wire.recv().await, Some(Up::Do { op: 2, change: set("b") }), "the first was applied already");
    let third = link.change_and_wait(set("c"));
    tokio::pin!(third);
    assert!(futures_poll(&mut third).is_none());
    assert_eq!(wire.recv().await, Some(Up::Do { op: 3, change: set("c") }));
    let refused = RefusedChange { code: RefusedCode::UnknownKey, message: "no".into() };
    link.receive(Down::Done { op: 2, refused: None });
    link.receive(Down::Done { op: 3, refused: Some(refused.clone()) });
    assert_eq!(third.await.unwrap(), Made::Refused(refused));
}

#[tokio::test]
async fn a_refusal_whose_answer_was_lost_is_not_taken_for_a_success() {
    let (_folder, link) = link();
    let mut wire = connect(&link, 0);
    let refused = link.change_and_wait(set("a"));
    tokio::pin!(refused);
    assert!(futures_poll(&mut refused).is_none());
    let applied = link.change_and_wait(set("b"));
    tokio::pin!(applied);
    assert!(futures_poll(&mut applied).is_none());
    assert_eq!(wire.recv().await, Some(Up::Do { op: 1, change: set("a") }));
    assert_eq!(wire.recv().await, Some(Up::Do { op: 2, change: set("b") }));
    // Another connection, before anybody has noticed that the first one is no more.
    let why = RefusedChange { code: RefusedCode::Invalid, message: "no number".into() };
    let (out, mut wire) = unbounded_channel();
    link.connected(out, 2, &[RefusedOp { op: 1, refused: why.clone() }]);
    assert_eq!(refused.await.unwrap(), Made::Refused(why));
    assert_eq!(applied.await.unwrap(), Made::Applied);
    assert!(wire.try_recv().is_err(), "both are answered");
}

#[tokio::test]
async fn only_so_many_changes_are_under_way_and_no_question_overtakes_one() {
    let (_folder, link) = link();
    let most = CHANGES_UNDER_WAY as u64;
    for _ in 0..most + 2 {
        link.change(set("a")).unwrap();
    }
    let question = link.ask(get);
    tokio::pin!(question);
    assert!(futures_poll(&mut question).is_none());
    let mut wire = connect(&link, 0);
    for op in 1..=most {
        assert_eq!(wire.recv().await, Some(Up::Do { op, change: set("a") }));
    }
    for op in 1..=2 {
        assert!(wire.try_recv().is_err());
        link.receive(Down::Done { op, refused: None });
        assert_eq!(wire.recv().await, Some(Up::Do { op: most + op, change: set("a") }));
    }
    assert_eq!(wire.recv().await, Some(get(1)), "asked when nothing is left to be sent");
    assert!(wire.try_recv().is_err());
}

#[tokio::test]
async fn nothing_is_sent_behind_a_comparison_before_it_is_answered() {
    let (_folder, link) = link();
    let set_if = || Change::SetIf { key: Key::run("x"), value: None, revision: 3, ignore_abort: false };
    let refused = link.request_and_know(set_if(), None).await.unwrap();
    assert!(matches!(refused, Made::Refused(r) if r.code == RefusedCode::Unavailable), "not while it is away");
    let mut wire = connect(&link, 0);
    let compared = link.request_and_know(set_if(), None);
    tokio::pin!(compared);
    assert!(futures_poll(&mut compared).is_none());
    link.change(set("a")).unwrap();
    assert_eq!(wire.recv().await, Some(Up::Do { op: 1, change: set_if() }));
    assert!(wire.try_recv().is_err());
    // Its answer is lost. Had it been made, `last_op` would say so.
    link.disconnected(Phase::Away("test".into()));
    assert!(futures_poll(&mut compared).is_none(), "what became of it is not known yet");
    let mut wire = connect(&link, 0);
    assert_eq!(wire.recv().await, Some(Up::Do { op: 1, change: set_if() }));
    assert!(wire.try_recv().is_err());
    let refused = RefusedChange { code: RefusedCode::Changed, message: "no".into() };
    link.receive(Down::Done { op: 1, refused: Some(refused.clone()) });
    assert_eq!(compared.await.unwrap(), Made::Refused(refused));
    assert_eq!(wire.recv().await, Some(Up::Do { op: 2, change: set("a") }));
}

#[tokio::test]
async fn when_the_run_has_ended_every_question_ends() {
    let (_folder, link) = link();
    let question = link.ask(get);
    tokio::pin!(question);
    assert!(futures_poll(&mut question).is_none());
    link.disconnected(Phase::Gone("the run has ended".into()));
    assert!(matches!(question.await, Reply::Refused(r) if r.code == RefusedCode::Gone));
    assert!(matches!(link.ask(get).await, Reply::Refused(r) if r.code == RefusedCode::Gone));
}

#[tokio::test]
async fn a_plan_brings_the_abort_along() {
    let (_folder, link) = link();
    let finished = BTreeMap::from([(0, StepResult::default())]);
    link.receive(Down::Plan(Box::new(AgentPlan { abort: Some("why".into()), finished, ..AgentPlan::default() })));
    assert_eq!(link.aborted().await, "why");
    link.receive(Down::AbortCancelled);
    assert_eq!(*link.abort().borrow(), None);
}

/// Polls once; `None` while it is pending.
fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut task) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
