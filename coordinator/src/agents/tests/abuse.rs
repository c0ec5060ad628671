//! What is not the protocol ends the link with its reason, changes nothing, and the machine may come back.

use slipstream_shared::link::{Down, MAX_LINE, Reply, Up};

use super::{Link, enrolled};
use crate::testing::Harness;

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_link_with_its_reason_and_changes_nothing() {
    let harness = Harness::start().await;
    let (run, context) = harness.launch().await;
    let (key, answer) = enrolled(&harness, &context).await;
    drop(Link::greeted(&harness, &key, &answer.certificate).await);
    let before = run.parameters().await.expect("read");
    let long = format!("{{\"t\":\"heartbeat\",\"x\":\"{}\"}}", "x".repeat(MAX_LINE));
    let malformed = "a line is not of its form";
    for (line, reason) in [
        (long.as_bytes(), "a line is longer than any may be"),
        (b"{\"t\":\"get\",\"id\":1,\"key\":\"web.1:\xff\",\"wait\":true,\"ignore_abort\":false}", malformed),
        (b"\xfe\xff\x00", malformed),
        (b"GET / HTTP/1.1", malformed),
        (b"{\"t\":\"get\",\"id\":-1,\"key\":\"web.1:port\",\"wait\":true,\"ignore_abort\":false}", malformed),
        (b"{\"t\":\"get\",\"id\":1,\"key\":\"web.1\",\"wait\":true,\"ignore_abort\":false}", malformed),
        (b"{\"t\":\"do\",\"op\":1,\"do\":\"set\",\"key\":\":x\",\"value\":\"1\"}", malformed),
        (b"{\"t\":\"do\",\"op\":99999999999999999999,\"do\":\"cancel_abort\"}", malformed),
        (b"{\"t\":\"barrier\",\"id\":1,\"name\":\"a b\",\"parties\":{\"count\":1},\"ignore_abort\":false}", malformed),
        (b"{\"t\":\"barrier\",\"id\":1,\"name\":\"b\",\"parties\":{\"count\":-1},\"ignore_abort\":false}", malformed),
        (b"{\"t\":\"lead\",\"id\":1,\"name\":\"\",\"wait\":true,\"ignore_abort\":false}", malformed),
        (b"{\"t\":\"hello\",\"protocol\":1,\"oldest_protocol\":1,\"agent\":\"a\",\"boot\":\"b\"}", "a second hello"),
    ] {
        let mut link = Link::greeted(&harness, &key, &answer.certificate).await;
        link.up.send([line, b"\n"].concat().into()).expect("the link is up");
        let heard = link.hear().await;
        let Some(Down::Goodbye { reason: said, retry: true }) = heard else { panic!("{reason}: {heard:?}") };
        assert!(said.starts_with(reason), "{said}");
        assert_eq!(link.hear().await, None);
    }
    let mut link = Link::greeted(&harness, &key, &answer.certificate).await;
    // A kind to come, without and with a question's number: ignored.
    link.say_text(r#"{"t":"sing","id":3}"#);
    link.say_text("");
    link.say(&Up::Get { id: 4, key: "web.1:port".parse().expect("a key"), wait: false, ignore_abort: false });
    assert!(matches!(link.hear().await, Some(Down::Answer { id: 4, reply: Reply::Value { value: None, .. } })));
    assert_eq!(run.parameters().await.expect("read"), before);
    harness.coordinator.stop().await;
}
