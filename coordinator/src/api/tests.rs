mod people;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use slipstream_shared::event::Author;

use super::{route::Needs, table};
use crate::{
    logs::StepKey,
    shutdown::GRACE,
    testing::{Client, Harness},
};

/// A path of the table with something in place of its parts.
fn example(path: &str) -> String {
    path.replace("{run}", "nonesuch")
        .replace("{key}", "web.1:port")
        .replace("{instance}", "web.1")
        .replace("{index}", "0")
        .replace("{*path}", "a/b")
}

async fn code(client: &mut Client, method: Method, path: &str, body: Option<Value>) -> (u16, String) {
    let (status, problem) = client.json(method, path, body).await;
    assert_eq!(problem["status"], status.as_u16(), "{path}: {problem}");
    assert_ne!(problem["detail"], "", "{path}");
    (status.as_u16(), problem["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn every_route_of_the_table_is_served_and_only_public_ones_without_a_token() {
    let harness = Harness::start().await;
    let mut admin = harness.api().await;
    for route in table() {
        let path = example(route.path);
        let (status, body) = admin.json(route.method.clone(), &path, None).await;
        let code = body["code"].as_str().unwrap_or_default();
        assert!(!["not_found", "method_not_allowed"].contains(&code), "{route:?}: {status} {body}");
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{route:?}");
    }
    for token in [None, Some("slip_wrong".to_owned()), Some("x".to_owned())] {
        let mut stranger = harness.api().await;
        stranger.token = token;
        for route in table() {
            let (status, _) = stranger.json(route.method.clone(), &example(route.path), None).await;
            assert_eq!(status == StatusCode::UNAUTHORIZED, route.needs != Needs::Nothing, "{route:?}");
        }
    }
    assert!(harness.coordinator.stop().await);
}

#[tokio::test]
async fn every_mistake_has_its_code() {
    let harness = Harness::start().await;
    let (run, _) = harness.launch().await;
    let mut admin = harness.api().await;
    let of = |rest: &str| format!("/api/v1/runs/{}{rest}", run.id());
    let post = |path: String, body: Value| (Method::POST, path, Some(body));
    let put = |path: String, body: Value| (Method::PUT, path, Some(body));
    let get = |path: String| (Method::GET, path, None);
    for ((method, path, body), status, word) in [
        (get("/api/v1/nothing".into()), 404, "not_found"),
        ((Method::PUT, "/api/v1/health".into(), None), 405, "method_not_allowed"),
        (get("/api/v1/runs/00000000-0000-7000-8000-000000000000".into()), 404, "run_not_found"),
        (get("/api/v1/runs?limit=x".into()), 400, "invalid_request"),
        (get("/api/v1/runs?after=x".into()), 400, "invalid_request"),
        (get("/api/v1/runs?limti=1".into()), 400, "invalid_request"),
        (get(of("/parameters/web.1:prot")), 404, "parameter_not_found"),
        (get(of("/parameters/port")), 400, "invalid_request"),
        (get(of("/parameters/web.1:port?wait=0")), 408, "wait_timeout"),
        (post(of("/wait"), json!({"conditions": ["web.1:port"], "timeout": 0})), 408, "wait_timeout"),
        (post(of("/wait"), json!({"conditions": ["web.1:prot"], "timeout": 9})), 404, "parameter_not_found"),
        (post(of("/wait"), json!({"conditions": ["web.1:port~("], "timeout": 9})), 422, "invalid_value"),
        (post(of("/wait"), json!({"conditions": [], "timeout": 9})), 422, "invalid_value"),
        (post(of("/wait"), json!({"conditions": ["port"], "timeout": 9})), 400, "invalid_request"),
        (post(of("/wait"), json!({"conditions": ["web.1:port"], "timeout": -1})), 400, "invalid_request"),
        (put(of("/parameters/web.1:port"), json!({"value": "http"})), 422, "invalid_value"),
        (put(of("/parameters/web.1:port"), json!({"valeu": "1"})), 400, "invalid_request"),
        (put(of("/parameters/ss:state"), json!({"value": "Ready"})), 403, "denied"),
        (post(of("/abort"), json!({"reason": " "})), 400, "invalid_request"),
        (get(of("/logs/web.9")), 404, "instance_not_found"),
        (get(of("/logs/web")), 400, "invalid_request"),
        (get(of("/logs/web.1/7")), 404, "log_not_found"),
        (get(of("/logs/web.1/x")), 400, "invalid_request"),
        (get(of("/reports/web.1")), 404, "report_not_found"),
        (get(of("/events?after=-1")), 400, "invalid_request"),
        (get("/api/v1/modules/no/such".into()), 404, "module_not_found"),
    ] {
        assert_eq!(code(&mut admin, method, &path, body).await, (status, word.to_owned()), "{path}");
    }
    run.abort(Author::System, "enough".to_owned()).await.expect("aborts");
    let aborted = code(&mut admin, Method::GET, &of("/parameters/web.1:port?wait=300"), None).await;
    assert_eq!(aborted, (409, "aborted".to_owned()));
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_or_of_another_type_is_refused() {
    let harness = Harness::start().await;
    let mut admin = harness.api().await;
    let word = |body: Bytes| serde_json::from_slice::<Value>(&body).expect("a problem")["code"].clone();
    let large = vec![b' '; super::extract::MAX_BODY + 1];
    let (status, body) = admin.call(Method::POST, "/api/v1/runs", &[("content-type", "application/json")], large).await;
    assert_eq!((status, word(body)), (StatusCode::PAYLOAD_TOO_LARGE, json!("too_large")));
    let (status, body) = admin.call(Method::POST, "/api/v1/runs", &[("content-type", "text/html")], "{}").await;
    assert_eq!((status, word(body)), (StatusCode::UNSUPPORTED_MEDIA_TYPE, json!("unsupported_media_type")));
    let (status, _) = admin.call(Method::GET, "/api/v1/health", &[("x-large", &"x".repeat(64 * 1024))], "").await;
    assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn a_wait_ends_when_the_parameter_is_set() {
    let harness = Harness::start().await;
    let (run, _) = harness.launch().await;
    let path = format!("/api/v1/runs/{}/parameters/web.1:port", run.id().short());
    let (mut waiting, mut setting) = (harness.api().await, harness.api().await);
    let wait = format!("{path}?wait=300");
    let (waited, set) = tokio::join!(waiting.get(&wait), async {
        tokio::task::yield_now().await;
        setting.json(Method::PUT, &path, Some(json!({"value": "8080"}))).await
    });
    assert_eq!((set.0, &set.1["value"]), (StatusCode::OK, &json!("8080")));
    assert_eq!((waited.0, &waited.1["by"]), (StatusCode::OK, &json!("user:admin")));
    let (status, unset) = setting.json(Method::DELETE, &path, None).await;
    assert_eq!((status, unset.get("value")), (StatusCode::OK, None));
    let (_, listed) = setting.get(&format!("/api/v1/runs/{}/parameters", run.id())).await;
    assert!(listed["items"].as_array().expect("a list").iter().any(|item| item["key"] == "web.1:port"));
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn a_wait_for_conditions_ends_when_all_of_them_hold() {
    let harness = Harness::start().await;
    let (run, _) = harness.launch().await;
    let of = |rest: &str| format!("/api/v1/runs/{}{rest}", run.id().short());
    let (mut waiting, mut setting) = (harness.api().await, harness.api().await);
    let body =
        json!({"conditions": ["web[*]:port~^80", "web.1:statecustom@0", "web:ids=1"], "timeout": 4_000_000_000_u64});
    let path = of("/wait");
    let (waited, last) = tokio::join!(waiting.json(Method::POST, &path, Some(body)), async {
        let mut last = Value::Null;
        for (key, value) in [("port", "8080"), ("port", "90"), ("statecustom", "up"), ("port", "80")] {
            tokio::task::yield_now().await;
            let path = of(&format!("/parameters/web.1:{key}"));
            last = setting.json(Method::PUT, &path, Some(json!({"value": value}))).await.1;
        }
        last
    });
    assert_eq!((waited.0, &waited.1["seq"]), (StatusCode::OK, &last["revision"]), "{waited:?}");
    let values: Vec<_> = waited.1["parameters"].as_array().expect("a list").iter().map(|p| &p["value"]).collect();
    assert_eq!(values, ["1", "80", "up"]);
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn a_value_is_taken_away_once_however_often_that_is_asked() {
    let harness = Harness::start().await;
    let (run, _) = harness.launch().await;
    let path = format!("/api/v1/runs/{}/parameters/web.1:statecustom", run.id());
    let mut client = harness.api().await;
    let delete = [("idempotency-key", "k-1")];
    client.call(Method::DELETE, &path, &delete, "").await;
    client.json(Method::PUT, &path, Some(json!({"value": "back"}))).await;
    let (status, answer) = client.call(Method::DELETE, &path, &delete, "").await;
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!((status.as_u16(), &answer["value"]), (200, &json!("back")));
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn a_parameter_is_compared_and_set_once_and_its_history_kept() {
    let harness = Harness::start().await;
    let (run, _) = harness.launch().await;
    let path = format!("/api/v1/runs/{}/parameters/web.1:statecustom", run.id());
    let mut client = harness.api().await;
    let mut put = async |value: &str, if_revision: Value, key: &str| {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend((!key.is_empty()).then_some(("idempotency-key", key)));
        let body = json!({"value": value, "if_revision": if_revision}).to_string();
        let (status, answer) = client.call(Method::PUT, &path, &headers, body).await;
        (status.as_u16(), serde_json::from_slice::<Value>(&answer).expect("JSON"))
    };
    let (status, first) = put("a", json!(0), "").await;
    assert_eq!(status, 200, "{first}");
    let (status, problem) = put("b", json!(0), "").await;
    assert_eq!((status, &problem["code"]), (412, &json!("revision_mismatch")));
    assert_eq!(problem["revision"], first["revision"]);
    assert_eq!(put("b", first["revision"].clone(), "").await.0, 200);

    // A request that is sent again is made once, even when others have written meanwhile.
    let (_, once) = put("once", json!(null), "k-1").await;
    let (_, other) = put("other", json!(null), "k-2").await;
    let (status, again) = put("once", json!(null), "k-1").await;
    assert_eq!((status, &again["value"], &again["revision"]), (200, &json!("other"), &other["revision"]));
    let (status, reused) = put("twice", json!(null), "k-1").await;
    assert_eq!((status, &reused["code"]), (409, &json!("idempotency_key_reused")));
    assert_eq!(put("x", json!(null), "no spaces").await.0, 400);
    // It was made under a condition that no longer holds: it was made all the same.
    let (_, now) = put("if", other["revision"].clone(), "k-3").await;
    assert_eq!(put("if", other["revision"].clone(), "k-3").await, (200, now));

    let long = "\u{1b}[2J\0\r\n\u{7f} \u{e9}\u{1f600} ".repeat(3000);
    assert_eq!(put(&long, json!(null), "").await.1["value"], json!(long), "any text comes back as it was");
    let (status, problem) = put(&"x".repeat(65 * 1024), json!(null), "").await;
    assert_eq!((status, &problem["code"]), (422, &json!("invalid_value")));
    assert_eq!(put("", json!(null), "").await.1["value"], json!(""), "empty is a value");
    client.json(Method::DELETE, &path, None).await;
    let (_, history) = client.get(&format!("{path}/history")).await;
    let values: Vec<_> = history["items"].as_array().expect("a list").iter().map(|w| w.get("value")).collect();
    let (empty, long) = (json!(""), json!(long));
    let rest = ["if", "other", "once", "b", "a"].map(|v| json!(v));
    let expected: Vec<_> = [None, Some(&empty), Some(&long)].into_iter().chain(rest.iter().map(Some)).collect();
    assert_eq!(values, expected);
    assert_eq!(history["items"][5]["revision"], once["revision"]);
    assert_eq!(code(&mut client, Method::GET, &path.replace("statec", "c"), None).await.0, 404);
    harness.coordinator.stop().await;
}

/// Reads server-sent events until one satisfies `until`; their ids and data.
async fn events(client: &mut Client, path: &str, headers: &[(&str, &str)], until: &str) -> Vec<(u64, Value)> {
    let response = client.send(Method::GET, path, headers, stream::empty().boxed()).await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    while !text.contains(until) || !text.ends_with("\n\n") {
        let chunk = body.next().await.expect("goes on").expect("whole");
        text.push_str(std::str::from_utf8(&chunk).expect("text"));
    }
    let field = |event: &str, name: &str| event.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    text.split("\n\n")
        .filter_map(|event| Some((field(event, "id: ")?.parse().ok()?, field(event, "data: ")?)))
        .map(|(id, data)| (id, serde_json::from_str(&data).expect("JSON")))
        .collect()
}

#[tokio::test]
async fn events_stream_from_where_the_client_left_off_and_end_with_the_run() {
    let harness = Harness::start().await;
    let (run, _) = harness.launch().await;
    let path = format!("/api/v1/runs/{}/events", run.id());
    let mut client = harness.api().await;
    let first = events(&mut client, &path, &[], "machine_running").await;
    let numbers: Vec<u64> = first.iter().map(|(id, _)| *id).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(first[0].1["kind"], "accepted");

    let (mut live, mut terminate) = (harness.api().await, harness.api().await);
    let last = numbers.len().to_string();
    let url = format!("{path}?after=1");
    let resumed = [("last-event-id", last.as_str())];
    let (rest, ended) = tokio::join!(
        events(&mut live, &url, &resumed, "event: end"),
        terminate.json(Method::DELETE, path.trim_end_matches("/events"), None),
    );
    assert_eq!(ended.0, StatusCode::ACCEPTED);
    assert_eq!(rest[0].0, numbers.len() as u64 + 1, "the header wins over the query");

    let last = rest.last().expect("some").0.to_string();
    let nothing = events(&mut client, &path, &[("last-event-id", &last)], "event: end").await;
    assert!(nothing.is_empty(), "{nothing:?}");

    let (status, page) = client.call(Method::GET, &url, &[("accept", "application/json")], "").await;
    let page: Value = serde_json::from_slice(&page).expect("JSON");
    assert_eq!((status, &page["items"][0]["seq"]), (StatusCode::OK, &json!(2)));
    assert_eq!(page.get("next"), None);
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn runs_are_listed_page_by_page_newest_first() {
    let harness = Harness::start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(harness.launch().await.0.id().to_string());
    }
    // Those of one millisecond are in no particular order, but always in the same one.
    ids.sort_by(|a, b| b.cmp(a));
    let mut client = harness.api().await;
    let (_, first) = client.get("/api/v1/runs?limit=2").await;
    let next = first["next"].as_str().expect("another page");
    let (_, second) = client.get(&format!("/api/v1/runs?limit=2&after={next}")).await;
    assert_eq!(second.get("next"), None);
    let listed: Vec<_> =
        [first, second].iter().flat_map(|page| page["items"].as_array().expect("a list").clone()).collect();
    assert_eq!(listed.iter().map(|run| run["id"].as_str().expect("an id")).collect::<Vec<_>>(), ids);
    let (_, shown) = client.get(&format!("/api/v1/runs/{}", &ids[0][28..])).await;
    assert_eq!((shown["id"].as_str(), &shown["tags"]), (Some(ids[0].as_str()), &json!(["test"])));
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn output_is_followed_until_the_run_ends() {
    let harness = Harness::start().await;
    let (run, context) = harness.launch().await;
    let key = StepKey {
        run: run.id(),
        instance: context.instance.clone(),
        attempt: context.attempt,
        index: 0,
        step: "deploy".to_owned(),
    };
    let log = harness.coordinator.app().logs.step(&key);
    log.append(0, b"one ").await.expect("written");
    let of = |rest: &str| format!("/api/v1/runs/{}/logs/web.1{rest}", run.id());
    let mut client = harness.api().await;
    let (_, listed) = client.get(&of("")).await;
    assert_eq!(listed, json!([{"index": 0, "step": "deploy", "size": 4, "ended": false}]));
    assert_eq!(client.call(Method::GET, &of("/0?offset=2"), &[], "").await.1, "e ");
    let path = of("/0?follow=true");
    let (followed, ()) = tokio::join!(client.call(Method::GET, &path, &[], ""), async {
        log.append(4, b"two").await.expect("written");
        run.terminate(Author::System).await.expect("terminates");
    });
    assert_eq!(followed, (StatusCode::OK, Bytes::from_static(b"one two")));
    let (_, listed) = client.get(&of("")).await;
    assert_eq!(listed[0]["ended"], true);
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn stopping_releases_what_waits_at_once() {
    let harness = Harness::start().await;
    let (run, _) = harness.launch().await;
    let (mut waiting, mut following) = (harness.api().await, harness.api().await);
    let path = format!("/api/v1/runs/{}", run.id());
    let response = following.send(Method::GET, &format!("{path}/events"), &[], stream::empty().boxed()).await;
    let feed = response.expect("an answer").into_body().collect();
    let began = tokio::time::Instant::now();
    let wait = format!("{path}/parameters/web.1:port?wait=300");
    let (wait, feed, stopped) = tokio::join!(waiting.get(&wait), feed, async {
        // The wait is known to the run when a parameter of the same run is answered after it.
        tokio::time::sleep(Duration::from_millis(200)).await;
        harness.coordinator.stop().await
    });
    assert!(stopped, "everything ended");
    assert!(began.elapsed() < GRACE, "{:?}", began.elapsed());
    assert_eq!((wait.0, &wait.1["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable")));
    assert!(!String::from_utf8_lossy(&feed.expect("ends properly").to_bytes()).contains("event: end"));
}

const IMAGE: &str = "slipstream: 1\nkind: image\nname: t/image\nnative: { fake: i }\nplatform: other\n";
const COMPONENT: &str = "slipstream: 1\nkind: component\nname: t/one\nimage: t/image\ndeploy: |\n  true\n";

async fn save(client: &mut Client, module: &str) -> (StatusCode, Value) {
    let yaml = [("content-type", "application/yaml")];
    let (status, body) = client.call(Method::PUT, "/api/v1/modules", &yaml, module.to_owned()).await;
    (status, serde_json::from_slice(&body).expect("JSON"))
}

#[tokio::test]
async fn modules_are_saved_listed_and_shown() {
    let harness = Harness::start().await;
    let mut client = harness.api().await;
    assert_eq!(save(&mut client, IMAGE).await.0, StatusCode::CREATED);
    assert_eq!(save(&mut client, IMAGE).await.0, StatusCode::OK, "nothing has changed");
    let (status, saved) = save(&mut client, COMPONENT).await;
    assert_eq!((status, &saved["path"], &saved["version"]), (StatusCode::CREATED, &json!("t/one"), &json!(1)));
    let (_, listed) = client.get("/api/v1/modules?prefix=t/o").await;
    assert_eq!((listed["items"].as_array().map(Vec::len), listed["items"][0].get("source")), (Some(1), None));
    let (_, shown) = client.get("/api/v1/modules/t/one@1").await;
    assert_eq!((&shown["source"], &shown["author"]), (&json!(COMPONENT), &json!("admin")));
    let (status, problem) = save(&mut client, "slipstream: 1\nkind: imagine\n").await;
    assert_eq!((status.as_u16(), &problem["code"]), (422, &json!("invalid_module")));
    assert_eq!(problem["problems"][1]["line"], 2, "{problem}");
    assert_eq!(code(&mut client, Method::GET, "/api/v1/modules/t/one@2", None).await.1, "module_not_found");
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn of_two_people_the_second_is_told_and_modules_come_and_go() {
    let harness = Harness::start().await;
    let mut client = harness.api().await;
    assert_eq!(save(&mut client, IMAGE).await.0, StatusCode::CREATED);
    assert_eq!(save(&mut client, COMPONENT).await.0, StatusCode::CREATED);
    let mut with_base = async |module: &str, base: &str| {
        let headers = [("content-type", "application/yaml"), ("if-match", base)];
        let (status, body) = client.call(Method::PUT, "/api/v1/modules?comment=why", &headers, module.to_owned()).await;
        (status.as_u16(), serde_json::from_slice::<Value>(&body).expect("JSON"))
    };
    assert_eq!(with_base(&format!("{COMPONENT}title: One\n"), "\"1\"").await.0, 201);
    let (status, problem) = with_base(&format!("{COMPONENT}title: Two\n"), "\"1\"").await;
    assert_eq!((status, &problem["code"], &problem["revision"]), (412, &json!("revision_mismatch"), &json!(2)));
    assert!(problem["detail"].as_str().unwrap_or_default().contains("`title`"), "{problem}");
    assert_eq!(with_base(COMPONENT, "1").await.0, 400);

    let (_, versions) = client.get("/api/v1/versions/t/one").await;
    assert_eq!((&versions["items"][0]["version"], &versions["items"][0]["comment"]), (&json!(2), &json!("why")));
    let mut act = async |method: Method, path: &str, action: Option<Value>| {
        let (status, body) = client.json(method, &format!("/api/v1/modules/{path}"), action).await;
        (status.as_u16(), body)
    };
    let (status, published) = act(Method::POST, "t/one", Some(json!({"publish": {"version": 1}}))).await;
    assert_eq!((status, &published["published"]), (200, &json!(1)));
    assert_eq!(act(Method::GET, "t/one@published", None).await.1["version"], 1);
    assert_eq!(act(Method::POST, "t/one", Some(json!({"copy": {"to": "t/two"}}))).await.1["path"], "t/two");
    assert_eq!(act(Method::POST, "t/one", Some(json!({"copy": {"to": "t/two"}}))).await.0, 409);
    assert_eq!(act(Method::POST, "t/two", Some(json!({"move": {"to": "t/three"}}))).await.1["path"], "t/three");
    assert_eq!(act(Method::DELETE, "t/one", None).await.0, 204);
    assert_eq!(act(Method::GET, "t/one", None).await.0, 404);
    assert_eq!(act(Method::POST, "t/one", Some(json!({"undelete": {}}))).await.0, 200);
    assert_eq!(act(Method::POST, "t/one", Some(json!({"burn": {}}))).await.0, 400);
    let (_, found) = client.get("/api/v1/modules?search=imag").await;
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{found}");
    let (_, folder) = client.get("/api/v1/modules?folder=").await;
    assert_eq!((&folder["items"][0]["path"], &folder["items"][0]["version"]), (&json!("t"), &json!(0)));
    assert_eq!(client.get("/api/v1/modules?folder=&search=x").await.0.as_u16(), 400);
    let yaml = [("content-type", "application/yaml")];
    let wrong = COMPONENT.replace("t/image", "t/imgae").replace("t/one", "t/new");
    let (_, body) = client.call(Method::POST, "/api/v1/check-module", &yaml, wrong).await;
    assert!(String::from_utf8_lossy(&body).contains("did you mean `t/image`?"));
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_gives_one_run_and_belongs_to_one_request() {
    let harness = Harness::start().await;
    let mut client = harness.api().await;
    save(&mut client, IMAGE).await;
    save(&mut client, COMPONENT).await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k-1")];
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (status, run) = client.call(Method::POST, "/api/v1/runs", &headers, r#"{"module": "t/one"}"#).await;
        assert_eq!(status, StatusCode::CREATED, "{run:?}");
        let run: Value = serde_json::from_slice(&run).expect("JSON");
        assert_eq!((&run["module"], &run["owner"]), (&json!("t/one@1"), &json!("admin")));
        ids.push(run["id"].clone());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let (status, other) = client.call(Method::POST, "/api/v1/runs", &headers, r#"{"module": "t/one@1"}"#).await;
    let other: Value = serde_json::from_slice(&other).expect("JSON");
    assert_eq!((status.as_u16(), &other["code"]), (409, &json!("idempotency_key_reused")));
    let (_, all) = client.get("/api/v1/runs").await;
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1));
    for (body, status, word) in [
        (json!({"module": "t/none"}), 404, "module_not_found"),
        (json!({"module": "t/one", "set": {"nonsense": "1"}}), 422, "invalid_launch"),
        (json!({"module": "t/one", "cloud": {"*": "mars"}}), 422, "invalid_launch"),
        (json!({"modul": "t/one"}), 400, "invalid_request"),
        (json!({"module": "t/one", "ssh_keys": ["ssh-ed25519 AAAA"]}), 400, "invalid_request"),
    ] {
        let answered = code(&mut client, Method::POST, "/api/v1/runs", Some(body.clone())).await;
        assert_eq!(answered, (status, word.to_owned()), "{body}");
    }
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn a_launch_that_a_crash_interrupted_is_carried_out_by_the_next_request() {
    let harness = Harness::start().await;
    let mut client = harness.api().await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k-1")];
    // Reserved, but no run: the module does not exist yet, as if everything after that was lost.
    let body = r#"{"module": "t/one"}"#;
    let (status, _) = client.call(Method::POST, "/api/v1/runs", &headers, body).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    save(&mut client, IMAGE).await;
    save(&mut client, COMPONENT).await;
    let (status, _) = client.call(Method::POST, "/api/v1/runs", &headers, body).await;
    assert_eq!(status, StatusCode::CREATED);
    harness.coordinator.stop().await;
}
