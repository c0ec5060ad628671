//! Sessions, and what limited tokens are refused.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::testing::{Client, Harness};

/// Makes a user with a password, and a client without a token.
async fn with_ann(harness: &Harness) -> (Client, Client) {
    let mut admin = harness.api().await;
    let ann = json!({ "name": "ann", "password": "correct horse" });
    assert_eq!(admin.json(Method::POST, "/api/v1/users", Some(ann)).await.0, StatusCode::CREATED);
    let mut client = harness.api().await;
    client.token = None;
    (admin, client)
}

#[tokio::test]
async fn a_page_has_a_cookie_that_is_worth_nothing_without_its_second_token() {
    let harness = Harness::start().await;
    let (_, mut page) = with_ann(&harness).await;
    let body = json!({ "user": "ann", "password": "correct horse", "cookie": true }).to_string();
    let json_type = [("content-type", "application/json")];
    let stream = futures_util::StreamExt::boxed(futures_util::stream::iter([body.into()]));
    let response = page.send(Method::POST, "/api/v1/session", &json_type, stream).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    let set = response.headers()["set-cookie"].to_str().expect("text").to_owned();
    for word in ["__Host-slipstream=slip_", "Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=43"] {
        assert!(set.contains(word), "{set}");
    }
    let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body").to_bytes();
    let session: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(session.get("token"), None, "scripts of the page never see it");
    let cookie = set.split(';').next().expect("a pair").to_owned();
    let csrf = session["csrf"].as_str().expect("a token").to_owned();

    let with = [("cookie", cookie.as_str())];
    let (status, me) = page.call(Method::GET, "/api/v1/session", &with, "").await;
    let me: Value = serde_json::from_slice(&me).expect("JSON");
    assert_eq!((status, &me["user"]["name"], &me["csrf"]), (StatusCode::OK, &json!("ann"), &json!(csrf)));

    let token = json!({ "name": "x" }).to_string();
    for (second, expected) in [(None, 403), (Some("wrong"), 403), (Some(csrf.as_str()), 201)] {
        let mut headers = vec![with[0], json_type[0]];
        headers.extend(second.map(|second| ("x-csrf-token", second)));
        let (status, body) = page.call(Method::POST, "/api/v1/tokens", &headers, token.clone()).await;
        assert_eq!(status.as_u16(), expected, "{second:?}");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert!(expected == 201 || body["code"] == "csrf", "{body}");
    }
    // The same secret is no bearer token.
    page.token = cookie.split_once('=').map(|(_, secret)| secret.to_owned());
    assert_eq!(page.get("/api/v1/session").await.0, StatusCode::UNAUTHORIZED);
    page.token = None;
    let headers = [with[0], ("x-csrf-token", csrf.as_str())];
    assert_eq!(page.call(Method::DELETE, "/api/v1/session", &headers, "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(page.call(Method::GET, "/api/v1/session", &with, "").await.0, StatusCode::UNAUTHORIZED);
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn wrong_passwords_are_answered_alike_and_then_with_a_wait() {
    let harness = Harness::start().await;
    let (_, mut client) = with_ann(&harness).await;
    for user in ["ann", "nobody"] {
        let body = Some(json!({ "user": user, "password": "wrong horse" }));
        for _ in 0..5 {
            let (status, problem) = client.json(Method::POST, "/api/v1/session", body.clone()).await;
            assert_eq!((status.as_u16(), &problem["code"]), (401, &json!("bad_login")));
        }
        let (status, problem) = client.json(Method::POST, "/api/v1/session", body).await;
        assert_eq!((status.as_u16(), &problem["code"]), (429, &json!("too_many_attempts")), "{user}");
    }
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn a_limited_token_says_nothing_of_users_and_makes_no_other() {
    let harness = Harness::start().await;
    let (mut admin, mut client) = with_ann(&harness).await;
    let scope = json!({ "allows": "launch", "project": "apps" });
    let new = json!({ "name": "ci", "user": "ann", "scope": scope, "seconds": 3600 });
    let (status, made) = admin.json(Method::POST, "/api/v1/tokens", Some(new)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    client.token = made["token"].as_str().map(str::to_owned);
    let (_, session) = client.get("/api/v1/session").await;
    assert_eq!((&session["user"]["name"], &session["scope"]), (&json!("ann"), &scope));
    for (method, path, body) in [
        (Method::GET, "/api/v1/users", None),
        (Method::GET, "/api/v1/tokens", None),
        (Method::POST, "/api/v1/tokens", Some(json!({ "name": "more" }))),
        (Method::PUT, "/api/v1/users/ann/password", Some(json!({ "new": "another horse" }))),
    ] {
        let (status, problem) = client.json(method, path, body).await;
        assert_eq!((status.as_u16(), &problem["code"]), (403, &json!("denied")), "{path}");
    }
    let (_, listed) = admin.get("/api/v1/tokens?user=ann").await;
    assert_eq!(listed["items"][0]["name"], "ci");
    assert!(!listed.to_string().contains("slip_"), "{listed}");
    harness.coordinator.stop().await;
}

#[tokio::test]
async fn who_did_what_is_on_record_with_what_came_of_it_and_without_secrets() {
    let harness = Harness::start().await;
    let (mut admin, mut client) = with_ann(&harness).await;
    for (password, expected) in [("wrong horse", 401), ("correct horse", 201)] {
        let body = json!({ "user": "ann", "password": password });
        let (status, session) = client.json(Method::POST, "/api/v1/session", Some(body)).await;
        assert_eq!(status.as_u16(), expected);
        client.token = session["token"].as_str().map(str::to_owned);
    }
    let body = json!({ "user": "correct horse", "password": "typed into the wrong field" });
    client.json(Method::POST, "/api/v1/session", Some(body)).await;
    client.json(Method::POST, "/api/v1/users", Some(json!({ "name": "mallory", "admin": true }))).await;
    let new = json!({ "name": "ci", "scope": { "allows": "read" } });
    let (_, made) = client.json(Method::POST, "/api/v1/tokens", Some(new)).await;
    client.get("/api/v1/runs").await;
    let (run, _) = harness.launch().await;
    let (status, _) = admin.json(Method::DELETE, &format!("/api/v1/runs/{}", run.id().short()), None).await;
    assert_eq!(status, StatusCode::ACCEPTED);

    let (_, page) = admin.get("/api/v1/audit").await;
    let told: Vec<String> = page["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| {
            let text = |field: &str| e[field].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {} {}", text("user"), text("action"), text("on"), e["status"], text("code"))
        })
        .collect();
    let token = made["id"].as_str().expect("an id");
    assert_eq!(
        told,
        [
            "admin add_user ann 201 -".to_owned(),
            "ann begin_session - 401 bad_login".to_owned(),
            "ann begin_session - 201 -".to_owned(),
            "- begin_session - 401 bad_login".to_owned(),
            "ann add_user - 403 denied".to_owned(),
            format!("ann add_token ann {token} 201 -"),
            format!("admin terminate_run {} 202 -", run.id()),
        ]
    );
    let text = page.to_string();
    assert!(text.contains("127.0.0.1") && !text.contains("horse") && !text.contains("slip_"), "{text}");
    let (_, own) = client.get("/api/v1/audit?failed=true").await;
    assert_eq!(own["items"].as_array().map(Vec::len), Some(2), "{own}");
    let (_, of_run) = admin.get(&format!("/api/v1/audit?on={}&since=2020-01-01T00:00:00Z", run.id())).await;
    assert_eq!(of_run["items"].as_array().map(Vec::len), Some(1), "{of_run}");
    let (status, problem) = admin.get("/api/v1/audit?since=yesterday").await;
    assert_eq!((status.as_u16(), &problem["code"]), (400, &json!("invalid_request")));
    harness.coordinator.stop().await;
}
