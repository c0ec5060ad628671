mod abuse;
mod certificate;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use hyper::{Method, StatusCode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use slipstream_shared::{
    context::Context,
    event::Author,
    link::{
        Boot, Change, Down, ENROL_PATH, EnrolAnswer, EnrolRequest, LINK_PATH, OLDEST_PROTOCOL, PROTOCOL, REPORT_PATH,
        Reply, Up,
    },
    state::Milestone,
};
use tokio::sync::mpsc;

use crate::testing::{Client, Harness, enrolment, key};

async fn enrol(harness: &Harness, request: &EnrolRequest) -> (StatusCode, Value) {
    let body = serde_json::to_value(request).expect("serializes");
    let mut client = harness.agent(None).await.expect("connects");
    client.json(Method::POST, ENROL_PATH, Some(body)).await
}

async fn enrolled(harness: &Harness, context: &Context) -> (KeyPair, EnrolAnswer) {
    let (key, csr) = key();
    let (status, answer) = enrol(harness, &enrolment(context, &csr)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    (key, serde_json::from_value(answer).expect("an answer"))
}

/// Both ends of a link.
struct Link {
    up: mpsc::UnboundedSender<Bytes>,
    down: axum::body::BodyDataStream,
    buffer: super::line::Lines,
    _client: Client,
}

impl Link {
    async fn open(harness: &Harness, key: &KeyPair, certificate: &str) -> Self {
        let mut client = harness.agent(Some((key, certificate))).await.expect("connects");
        let (up, lines) = mpsc::unbounded_channel();
        let body = stream::unfold(lines, async |mut lines| Some((lines.recv().await?, lines))).boxed();
        let response = client.send(Method::POST, LINK_PATH, &[], body).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        let down = axum::body::Body::new(response.into_body()).into_data_stream();
        Link { up, down, buffer: super::line::Lines::default(), _client: client }
    }

    fn say(&self, line: &Up) {
        self.say_text(&serde_json::to_string(line).expect("serializes"));
    }

    fn say_text(&self, line: &str) {
        self.up.send(format!("{line}\n").into()).expect("the link is up");
    }

    fn hello(&self) {
        self.hello_of(Boot { id: "b".to_owned(), made: 0 });
    }

    fn hello_of(&self, boot: Boot) {
        self.say(&Up::Hello {
            protocol: PROTOCOL,
            oldest_protocol: OLDEST_PROTOCOL,
            agent: "test".to_owned(),
            boot,
            addresses: Vec::new(),
        });
    }

    /// The next line; none when the link is over.
    async fn hear(&mut self) -> Option<Down> {
        loop {
            if let Some(line) = self.buffer.next().expect("short") {
                return Some(serde_json::from_slice(&line).expect("a line"));
            }
            self.buffer.push(&self.down.next().await?.ok()?);
        }
    }

    async fn greeted(harness: &Harness, key: &KeyPair, certificate: &str) -> Self {
        let mut link = Link::open(harness, key, certificate).await;
        link.hello();
        assert!(matches!(link.hear().await, Some(Down::Hello { .. })));
        let Some(Down::Plan(plan)) = link.hear().await else { panic!("no plan") };
        assert_eq!((plan.ssh_keys.as_slice(), plan.login.as_str()), (&["ssh-ed25519 A me".to_owned()][..], "root"));
        link
    }
}

#[tokio::test]
async fn a_machine_enrols_once_and_may_ask_again_with_the_same_key_only() {
    let harness = Harness::start().await;
    let (run, context) = harness.launch().await;
    assert_eq!(context.pin, harness.coordinator.app().authority.pin());
    let (_, csr) = key();
    let good = enrolment(&context, &csr);
    for _ in 0..2 {
        let (status, answer) = enrol(&harness, &good).await;
        assert_eq!((status, &answer["protocol"]), (StatusCode::OK, &json!(PROTOCOL)));
    }
    assert_eq!(run.detail().await.expect("there").nodes[0].milestone, Milestone::Enrolled);
    for (status, code, request) in [
        (403, "token", EnrolRequest { token: "A".repeat(43), ..good.clone() }),
        (403, "token", EnrolRequest { attempt: 2, ..good.clone() }),
        (403, "token", EnrolRequest { instance: "web.2".parse().expect("valid"), ..good.clone() }),
        (409, "other_key", EnrolRequest { csr: key().1, ..good.clone() }),
        (400, "protocol", EnrolRequest { protocol: 99, oldest_protocol: 98, ..good.clone() }),
        (400, "invalid", EnrolRequest { csr: "no request".to_owned(), ..good.clone() }),
    ] {
        let (answered, refusal) = enrol(&harness, &request).await;
        assert_eq!((answered.as_u16(), refusal["code"].as_str()), (status, Some(code)), "{refusal}");
        assert_eq!(refusal["retry"], false);
    }
    run.terminate(Author::System).await.expect("terminates");
    let (status, refusal) = enrol(&harness, &good).await;
    assert_eq!((status.as_u16(), &refusal["code"]), (410, &json!("ended")));
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn what_is_no_enrolment_is_refused_without_repeating_it() {
    let harness = Harness::start().await;
    let mut client = harness.agent(None).await.expect("connects");
    let (status, refusal) = client.call(Method::POST, ENROL_PATH, &[], r#"{"token": "SECRET", "protocol": "x"}"#).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(!String::from_utf8_lossy(&refusal).contains("SECRET"));
    let (status, _) = client.call(Method::POST, ENROL_PATH, &[], vec![b' '; 65 * 1024]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = client.json(Method::GET, "/api/v1/health", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "the API is not on this port");
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn link_and_report_need_a_certificate_of_this_coordinator() {
    let (harness, other) = (Harness::start().await, Harness::start().await);
    let mut nobody = harness.agent(None).await.expect("connects");
    for (method, path) in [(Method::POST, LINK_PATH), (Method::PUT, REPORT_PATH)] {
        let (status, refusal) = nobody.json(method, path, None).await;
        assert_eq!((status, &refusal["code"]), (StatusCode::UNAUTHORIZED, &json!("certificate")));
    }
    let (_, context) = other.launch().await;
    let (key, answer) = enrolled(&other, &context).await;
    let refused = match harness.agent(Some((&key, &answer.certificate))).await {
        Err(_) => true,
        // TLS 1.3: the client learns of the refusal with its first request.
        Ok(mut client) => client.send(Method::POST, LINK_PATH, &[], stream::empty().boxed()).await.is_err(),
    };
    assert!(refused, "a certificate of another authority was accepted");
    harness.coordinator.stop().await;
    other.coordinator.stop().await;
}

#[tokio::test]
async fn a_certificate_of_a_run_that_has_ended_opens_nothing() {
    let harness = Harness::start().await;
    let (run, context) = harness.launch().await;
    let (key, answer) = enrolled(&harness, &context).await;
    run.terminate(Author::System).await.expect("terminates");
    let mut link = Link::open(&harness, &key, &answer.certificate).await;
    link.hello();
    assert!(matches!(link.hear().await, Some(Down::Goodbye { retry: false, .. })));
    assert_eq!(link.hear().await, None);
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn a_link_carries_questions_changes_and_output() {
    let harness = Harness::start().await;
    let (run, context) = harness.launch().await;
    let (key, answer) = enrolled(&harness, &context).await;
    let mut link = Link::greeted(&harness, &key, &answer.certificate).await;
    assert!(run.detail().await.expect("there").nodes[0].connected);

    link.say_text(r#"{"t":"from_the_future","x":1}"#);
    let port: slipstream_shared::parameter::Key = "web.1:port".parse().expect("a key");
    let change = Change::Set { key: port.clone(), value: Some("80".to_owned()), ignore_abort: false };
    link.say(&Up::Do { op: 1, change });
    assert_eq!(link.hear().await, Some(Down::Done { op: 1, refused: None }));
    link.say(&Up::Get { id: 5, key: port, wait: true, ignore_abort: false });
    let value = Reply::Value {
        value: Some("80".to_owned()),
        revision: run.parameter(&"web.1:port".parse().expect("a key")).await.expect("there").revision,
    };
    assert_eq!(link.hear().await, Some(Down::Answer { id: 5, reply: value }));

    link.say(&Up::Do { op: 2, change: Change::StepStarted { index: 0 } });
    assert_eq!(link.hear().await, Some(Down::Done { op: 2, refused: None }));
    link.say(&Up::Log { index: 0, offset: 0, err: false, data: STANDARD.encode("hello\n") });
    assert_eq!(link.hear().await, Some(Down::LogAck { index: 0, offset: 6 }));
    let file = harness.data.path().join(format!("logs/{}/web.1/1-0-deploy.log", run.id()));
    assert_eq!(std::fs::read_to_string(file).expect("there"), "hello\n");

    let wait = |id, condition: &str| Up::Wait { id, conditions: vec![condition.to_owned()], ignore_abort: false };
    link.say(&wait(6, "web[*]:port=80"));
    assert!(matches!(link.hear().await, Some(Down::Answer { id: 6, reply: Reply::Met { .. } })));
    for (id, bad) in [(7, "web[*]:port!"), (8, "web[*]:prot"), (9, "web.1:port~(")] {
        link.say(&wait(id, bad));
        let heard = link.hear().await;
        assert!(matches!(&heard, Some(Down::Answer { reply: Reply::Refused(_), .. })), "{bad}: {heard:?}");
    }

    link.say_text(r#"{"t":"get","id":"x"}"#);
    assert!(matches!(link.hear().await, Some(Down::Goodbye { retry: true, .. })));
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn a_newer_link_of_a_machine_ends_the_older_one() {
    let harness = Harness::start().await;
    let (_, context) = harness.launch().await;
    let (key, answer) = enrolled(&harness, &context).await;
    let mut older = Link::greeted(&harness, &key, &answer.certificate).await;
    let _newer = Link::greeted(&harness, &key, &answer.certificate).await;
    assert!(matches!(older.hear().await, Some(Down::Goodbye { retry: true, .. })));
    assert_eq!(older.hear().await, None);
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn an_agent_hears_that_the_coordinator_stops() {
    let harness = Harness::start().await;
    let (_, context) = harness.launch().await;
    let (key, answer) = enrolled(&harness, &context).await;
    let mut link = Link::greeted(&harness, &key, &answer.certificate).await;
    let (heard, stopped) = tokio::join!(link.hear(), harness.coordinator.stop());
    assert!(stopped);
    assert!(matches!(heard, Some(Down::Goodbye { retry: true, .. })), "{heard:?}");
}

#[tokio::test]
async fn a_report_is_kept_and_can_be_fetched() {
    let harness = Harness::start().await;
    let (run, context) = harness.launch().await;
    let (key, answer) = enrolled(&harness, &context).await;
    let mut agent = harness.agent(Some((&key, &answer.certificate))).await.expect("connects");
    let (status, _) = agent.call(Method::PUT, REPORT_PATH, &[], "not really gzip").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let mut admin = harness.api().await;
    let path = format!("/api/v1/runs/{}/reports", run.id());
    let (_, listed) = admin.get(&path).await;
    assert_eq!(listed["items"], json!([{"instance": "web.1", "size": 15}]));
    let (status, report) = admin.call(Method::GET, &format!("{path}/web.1"), &[], "").await;
    assert_eq!((status, report), (StatusCode::OK, Bytes::from_static(b"not really gzip")));
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn a_silent_agent_is_given_up() {
    let harness = Harness::start().await;
    let (_, context) = harness.launch().await;
    let (key, answer) = enrolled(&harness, &context).await;
    let mut link = Link::greeted(&harness, &key, &answer.certificate).await;
    tokio::time::pause();
    let mut heartbeats = 0;
    let end = loop {
        match tokio::time::timeout(Duration::from_secs(60), link.hear()).await.expect("in time") {
            Some(Down::Heartbeat) => heartbeats += 1,
            other => break other,
        }
    };
    assert_eq!(heartbeats, 2, "said while nothing else was");
    assert!(matches!(end, Some(Down::Goodbye { retry: true, .. })), "{end:?}");
}
