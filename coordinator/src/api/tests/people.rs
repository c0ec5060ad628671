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
