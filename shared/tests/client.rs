//! The client against a server that refuses, stalls and breaks off.

#[path = "support/server.rs"]
mod server;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use server::{End, Reply, Server};
use slipstream_shared::{
    api::LaunchRequest,
    client::{Client, ClientError, Update},
    error_chain::Chain,
    http::{Cause, Limits},
};

fn client(server: &Server) -> Client {
    let limits = Limits { answer: Duration::from_millis(400), idle: Duration::from_millis(200), ..Limits::default() };
    Client::new(&server.url, "the-token", &server.authority, limits).expect("a client")
}

fn event(seq: u64) -> String {
    format!(
        "id: {seq}\ndata: {{\"seq\":{seq},\"at\":\"2026-11-20T12:00:00Z\",\"by\":\"system\",\"kind\":\"terminate_requested\"}}\n\n"
    )
}

const HEALTH: &str = r#"{"status":"ok","version":"1","clouds":{"processes":"process"}}"#;

#[tokio::test]
async fn both_protocols_work_and_keep_their_connection() {
    for protocol in ["h2", "http/1.1"] {
        let server = Server::start(protocol, |_| Reply::new(200, HEALTH));
        let client = client(&server);
        for _ in 0..3 {
            assert_eq!(client.health().await.expect(protocol).version, "1");
        }
        assert_eq!(server.connections(), 1, "{protocol}");
        let asked = server.asked();
        assert_eq!(asked[0].path, "/api/v1/health");
        assert_eq!(asked[0].headers["authorization"], "Bearer the-token");
    }
}

#[tokio::test]
async fn a_launch_carries_its_key_and_its_body() {
    let server = Server::start("h2", |_| Reply::problem(409, "module_missing", "no module apps/lamp"));
    let launch = LaunchRequest { module: "apps/lamp".into(), ..LaunchRequest::default() };
    let error = client(&server).launch(&launch, "key-1").await.expect_err("refused");
    assert_eq!(error.code(), Some("module_missing"));
    let asked = &server.asked()[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/api/v1/runs"));
    assert_eq!(asked.headers["idempotency-key"], "key-1");
    assert_eq!(asked.headers["content-type"], "application/json");
    assert!(asked.body.starts_with(r#"{"module":"apps/lamp""#), "{}", asked.body);
}

/// The transport sends a request again when a kept connection turns out to be closed. The coordinator may
/// have made it already, and must know it again.
#[tokio::test]
async fn every_write_carries_a_key_of_its_own() {
    let parameter = r#"{"key":"web.1:port","value":"80","type":"string","revision":7}"#;
    let server = Server::start("h2", move |_| Reply::new(200, parameter));
    let (client, key) = (client(&server), "web.1:port".parse().expect("valid"));
    client.set_parameter("1a2b3c4d", &key, "80").await.expect("set");
    client.set_parameter("1a2b3c4d", &key, "80").await.expect("set");
    client.set_parameter_if("1a2b3c4d", &key, "80", 7).await.expect("set");
    client.unset_parameter("1a2b3c4d", &key).await.expect("unset");
    client.write_parameter("1a2b3c4d", &key, None, "my own").await.expect("unset");
    let asked = server.asked();
    let keys: std::collections::BTreeSet<_> = asked.iter().map(|a| a.headers["idempotency-key"].clone()).collect();
    assert_eq!((asked.len(), keys.len()), (5, 5), "{keys:?}");
    assert!(keys.iter().any(|key| key == "my own"));
}

#[tokio::test]
async fn a_stranger_is_not_spoken_to() {
    let server = Server::start("h2", |_| Reply::new(200, HEALTH));
    let other = Server::start("h2", |_| Reply::new(200, HEALTH));
    let client = Client::new(&server.url, "the-token", &other.authority, Limits::default()).expect("a client");
    let error = client.health().await.expect_err("another authority");
    assert!(matches!(&error, ClientError::Http(e) if matches!(e.cause, Cause::Tls { .. })), "{error:?}");
    assert!(server.asked().is_empty());
    for url in ["http://127.0.0.1:1", "127.0.0.1", "https://"] {
        let error = Client::new(url, "the-token", &other.authority, Limits::default()).expect_err(url);
        assert!(!format!("{error:?} {}", Chain(&error)).contains("the-token"));
    }
}

#[tokio::test]
async fn a_problem_keeps_its_code_and_its_words() {
    let server = Server::start("h2", |_| Reply::problem(404, "run_not_found", "no run 1a2b3c4d"));
    let error = client(&server).run("1a2b3c4d").await.expect_err("a problem");
    assert_eq!((error.code(), error.to_string().as_str()), (Some("run_not_found"), "no run 1a2b3c4d"));
    assert!(!error.is_passing());

    let server = Server::start("h2", |_| Reply::new(502, "<html>"));
    let error = client(&server).run("a b/?").await.expect_err("not a problem");
    assert!(error.to_string().contains("status 502"), "{error}");
    assert_eq!(server.asked()[0].path, "/api/v1/runs/a%20b/%3F");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    for end in [End::Nothing, End::Silence] {
        let server = Server::start("h2", move |_| Reply { status: 200, pieces: vec![], end });
        let error = client(&server).health().await.expect_err("a time-out");
        let text = Chain(&error).to_string();
        assert!(text.contains(&format!("cannot GET {}/api/v1/health: no ", server.url)), "{text}");
        assert!(error.is_passing());
    }
}

#[tokio::test]
async fn events_go_on_where_the_connection_broke() {
    for protocol in ["h2", "http/1.1"] {
        let tries = AtomicU32::new(0);
        let server = Server::start(protocol, move |_| match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::new(200, event(1) + &event(2) + "id: 3\ndata: {\"se").ending(End::Broken),
            1 => Reply::problem(503, "stopping", "later"),
            // The second event again, as a careless server would.
            _ => Reply::new(200, event(2) + ": still here\n\n" + &event(3)).ending(End::Silence),
        });
        let mut events = client(&server).events("1a2b3c4d", 0);
        let (mut seen, mut lost) = (Vec::new(), 0);
        while seen.len() < 3 {
            match events.next().await.expect("goes on") {
                Update::Record(record) => seen.push(record.seq),
                Update::Lost { .. } => lost += 1,
            }
        }
        assert_eq!((seen, lost, events.position()), (vec![1, 2, 3], 2, 3), "{protocol}");
        let after: Vec<String> = server.asked().iter().map(|a| a.path.clone()).collect();
        assert_eq!(after[0], "/api/v1/runs/1a2b3c4d/events?after=0");
        assert_eq!(after[2], "/api/v1/runs/1a2b3c4d/events?after=2");
    }
}

#[tokio::test]
async fn events_of_an_unknown_kind_are_skipped_and_refusals_end_the_stream() {
    let server = Server::start("h2", |asked| {
        if asked.path.ends_with("after=0") {
            let unknown =
                "id: 1\ndata: {\"seq\":1,\"at\":\"2026-11-20T12:00:00Z\",\"by\":\"system\",\"kind\":\"new\"}\n\n";
            Reply::new(200, unknown.to_owned() + &event(2))
        } else {
            Reply::problem(404, "run_not_found", "gone")
        }
    });
    let mut events = client(&server).events("1a2b3c4d", 0);
    assert!(matches!(events.next().await, Ok(Update::Record(record)) if record.seq == 2));
    assert_eq!(events.next().await.expect_err("refused").code(), Some("run_not_found"));
}

#[tokio::test]
async fn a_log_is_followed_over_breaks_and_silence_to_its_end() {
    let tries = AtomicU32::new(0);
    let server = Server::start("h2", move |asked| {
        if !asked.path.contains('?') {
            return Reply::new(200, r#"[{"index":0,"step":"deploy","size":9,"ended":true}]"#);
        }
        match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::new(200, "abc").ending(End::Broken),
            1 => Reply::new(200, "def").ending(End::Silence),
            // A coordinator that stops ends its streams properly, in the middle of the step.
            2 => Reply::new(200, "gh"),
            _ => Reply::new(200, "i"),
        }
    });
    let mut log = client(&server).follow_log("1a2b3c4d", &"web.1".parse().expect("valid"), 0);
    let mut text = Vec::new();
    while let Some(bytes) = log.chunk().await.expect("goes on") {
        text.extend_from_slice(&bytes);
    }
    assert_eq!(String::from_utf8_lossy(&text), "abcdefghi");
    let offsets: Vec<String> =
        server.asked().iter().filter_map(|a| Some(a.path.split_once('?')?.1.to_owned())).collect();
    assert_eq!(
        offsets,
        ["offset=0&follow=true", "offset=3&follow=true", "offset=6&follow=true", "offset=8&follow=true"]
    );
}

#[tokio::test]
async fn a_wait_for_a_value_says_when_there_is_none() {
    let server = Server::start("h2", |_| Reply::problem(408, "wait_timeout", "web.1:port has no value yet"));
    let key = "web.1:port".parse().expect("valid");
    let error = client(&server).wait_parameter("1a2b3c4d", &key, Duration::from_secs(2)).await.expect_err("none");
    assert_eq!(error.code(), Some("wait_timeout"));
    assert_eq!(server.asked()[0].path, "/api/v1/runs/1a2b3c4d/parameters/web.1:port?wait=2");
}
