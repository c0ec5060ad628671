//! Every route, asked by everybody, against what the table below expects.
//!
//! A module, a run of it, a user and a group belong to ann. Bob is a member of her group, which may read and launch
//! what is hers. Eve has an account and nothing else. Nobody has no token; two machines have certificates, one of
//! that run and one of another. A route that has no line here fails the test.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode};
use serde_json::Value;
use slipstream_shared::{
    api::{ChangeUser, NewGroup, NewToken, NewUser, Scope, ShareRequest},
    context::Context,
    id::RunId,
    link::{ENROL_PATH, EnrolAnswer},
    sharing::Grants,
};

use super::super::{route::Needs, route::Route, table};
use crate::{
    access::{First, User},
    drive::Words,
    run::secret::Secrets,
    testing::{Client, Harness, enrolment, key, plan},
};

/// What ann, bob and eve may, and what is sent.
///
/// `+`: the handler is reached. `-`: refused with `denied`. `.`: answered as what does not exist.
const EXPECTED: &[(&str, &str, &str)] = &[
    ("health", "+++", ""),
    ("openapi", "+++", ""),
    ("backup", "---", ""),
    ("begin_session", "+++", r#"{"user":"nobody","password":"wrong horse"}"#),
    ("show_session", "+++", ""),
    ("end_session", "+++", ""),
    ("list_users", "+++", ""),
    ("add_user", "---", r#"{"name":"mallory","admin":true}"#),
    ("show_user", "+..", ""),
    ("change_user", "+..", r#"{"full_name":"hush hush"}"#),
    ("delete_user", "---", ""),
    ("set_password", "+..", r#"{"new":"correct horse"}"#),
    (
        "add_ssh_key",
        "+..",
        r#"{"key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAke9gWGTzUmzmwj31i0Zpe7F7BXtpnkjzp7qxRdbqPS"}"#,
    ),
    ("remove_ssh_key", "+..", ""),
    ("list_groups", "+++", ""),
    ("add_group", "---", r#"{"name":"crew"}"#),
    ("show_group", "++.", ""),
    ("change_group", "+-.", r#"{"managers":["bob"]}"#),
    ("delete_group", "---", ""),
    ("list_audit", "+++", ""),
    ("list_tokens", "+++", ""),
    ("add_token", "+++", r#"{"name":"one more"}"#),
    ("revoke_token", "+..", ""),
    (
        "save_module",
        "+--",
        "slipstream: 1\nkind: component\nname: ann/one\ntitle: hush 2\nimage: ann/image\ndeploy: |\n  true\n",
    ),
    ("list_modules", "+++", ""),
    ("show_module", "++.", ""),
    ("show_module_sharing", "++.", ""),
    ("share_module", "+-.", r#"{"groups":{"hush-devs":["launch","delete"]}}"#),
    ("launch_run", "++.", r#"{"module":"ann/one"}"#),
    ("list_runs", "+++", ""),
    ("show_run", "++.", ""),
    ("terminate_run", "+-.", ""),
    ("why_run", "++.", ""),
    ("set_lease", "+-.", r#"{"seconds":3600}"#),
    ("abandon_run", "+-.", ""),
    ("abort_run", "+-.", r#"{"reason":"enough"}"#),
    ("cancel_abort", "+-.", ""),
    ("show_run_sharing", "++.", ""),
    ("share_run", "+-.", r#"{"everyone":["edit"]}"#),
    ("run_events", "++.", ""),
    ("scale_run", "++.", r#"{"count":{"web":2}}"#),
    ("retry_run", "++.", r#"{"instance":"web.1","from":"deploy"}"#),
    ("update_run", "++.", r#"{"module":"ann/one"}"#),
    ("stop_machines", "++.", r#"{"instances":["web.1"]}"#),
    ("start_machines", "++.", r#"{"instances":["web.1"]}"#),
    ("reboot_machines", "++.", r#"{"instances":["web.1"]}"#),
    ("resize_machines", "++.", r#"{"instances":["web.1"],"cpu":2}"#),
    ("add_disk", "++.", r#"{"instances":["web.1"],"size":1073741824}"#),
    ("remove_disk", "++.", r#"{"instance":"web.1","disk":"none"}"#),
    ("save_run", "++.", "{}"),
    ("list_operations", "++.", ""),
    ("list_parameters", "++.", ""),
    ("show_parameter", "++.", ""),
    ("set_parameter", "+-.", r#"{"value":"x"}"#),
    ("show_parameter_history", "++.", ""),
    ("unset_parameter", "+-.", ""),
    ("wait_for_conditions", "++.", r#"{"conditions":["web.1:port"],"timeout":0}"#),
    ("list_barriers", "++.", ""),
    ("wait_at_barrier", "+-.", r#"{"timeout":0}"#),
    ("list_leads", "++.", ""),
    ("lead", "+-.", r#"{"program":"p","seconds":1,"timeout":0}"#),
    ("end_lead", "+-.", ""),
    ("list_logs", "++.", ""),
    ("show_log", "++.", ""),
    ("list_reports", "++.", ""),
    ("show_report", "++.", ""),
    ("show_console", "++.", ""),
];

/// In titles, tags, names and values of ann: whoever may not see them must never be sent it.
const MARK: &str = "hush";

const MODULE: &str =
    "slipstream: 1\nkind: component\nname: ann/one\ntitle: hush\nimage: ann/image\ndeploy: |\n  true\n";
const IMAGE: &str = "slipstream: 1\nkind: image\nname: ann/image\ntitle: hush\nnative: { fake: i }\nplatform: other\n";

struct World {
    harness: Harness,
    tokens: BTreeMap<&'static str, String>,
}

impl World {
    async fn new() -> Self {
        let world = World { harness: Harness::start().await, tokens: BTreeMap::new() };
        let app = world.harness.coordinator.app();
        let access = &app.access;
        let admin = User { name: "admin".to_owned(), admin: true, ..User::default() };
        let mut tokens = BTreeMap::new();
        for name in ["ann", "bob", "eve"] {
            let user = NewUser { name: name.to_owned(), ..NewUser::default() };
            access.add_user(First { user, ..First::default() }).await.expect("made");
            let new = NewToken { name: "key".into(), user: Some(name.into()), scope: Scope::default(), seconds: None };
            tokens.insert(name, access.add_token(&admin, new).await.expect("made").token);
        }
        let spare = NewToken { name: "spare".into(), user: Some("ann".into()), scope: Scope::default(), seconds: None };
        access.add_token(&admin, spare).await.expect("made");
        let full_name = ChangeUser { full_name: Some(MARK.to_owned()), ..ChangeUser::default() };
        access.change_user(&admin, "ann", full_name).await.expect("changed");
        let (members, managers) = (vec!["bob".to_owned()], vec!["ann".to_owned()]);
        access.add_group(NewGroup { name: "hush-devs".to_owned(), members, managers }).await.expect("made");
        let ann = User { name: "ann".to_owned(), ..User::default() };
        let catalogue = app.catalogue.seen_by(&ann);
        for (source, path) in [(IMAGE, "ann/image"), (MODULE, "ann/one")] {
            catalogue.put(source, "ann", "", app.seam.now()).await.expect("saved");
            let change = ShareRequest { groups: grants().groups, ..ShareRequest::default() };
            catalogue.share(path, &change).await.expect("shared");
        }
        World { tokens, ..world }
    }

    /// A run of ann, with something in it that is nobody's business.
    async fn run(&self) -> (RunId, Context) {
        let tags = vec![MARK.to_owned()];
        let words = Words { tags, grants: grants(), ..Words::of("ann") };
        let app = self.harness.coordinator.app();
        let mut plan = plan();
        plan.title = MARK.to_owned();
        let id = app.runs.launch_with(app.seam.run_id(), plan, Secrets::default(), words).await.expect("launches");
        (id, self.harness.context_of(id).await)
    }

    async fn client(&self, who: &str) -> Client {
        let mut client = self.harness.api().await;
        client.token = self.tokens.get(who).cloned();
        client
    }

    /// A certificate of the machine of a run.
    async fn machine(&self, context: &Context) -> (rcgen::KeyPair, String) {
        let (key, csr) = key();
        let mut agent = self.harness.agent(None).await.expect("connects");
        let body = serde_json::to_value(enrolment(context, &csr)).expect("serializes");
        let (status, answer) = agent.json(Method::POST, ENROL_PATH, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        (key, serde_json::from_value::<EnrolAnswer>(answer).expect("an answer").certificate)
    }
}

fn grants() -> Grants {
    Grants { groups: [("hush-devs".to_owned(), "launch".parse().expect("a right"))].into(), ..Grants::default() }
}

/// What the parts of a path stand for: what there is, or what there is not.
struct Parts<'a> {
    run: &'a str,
    path: &'a str,
    user: &'a str,
    group: &'a str,
    id: &'a str,
}

const NOTHING: Parts<'_> = Parts {
    run: "01890a5d-ac96-774b-bcce-b302099a8057",
    path: "nothing/here",
    user: "nothing",
    group: "nothing",
    id: "0123456789abcdef",
};

impl Parts<'_> {
    fn of(&self, path: &str) -> String {
        let fixed = [("{key}", "web.1:statecustom"), ("{instance}", "web.1"), ("{index}", "0"), ("{name}", "n1")];
        let parts = [
            ("{run}", self.run),
            ("{*path}", self.path),
            ("{user}", self.user),
            ("{group}", self.group),
            ("{id}", self.id),
        ];
        parts.iter().chain(&fixed).fold(path.to_owned(), |path, (part, value)| path.replace(part, value))
    }

    /// Without what was asked for, which an error may repeat.
    fn forget(&self, text: &str) -> String {
        [self.run, self.path, self.user, self.group, self.id]
            .iter()
            .fold(text.to_owned(), |text, part| text.replace(part, "*"))
    }
}

async fn ask(client: &mut Client, route: &Route, path: &str, body: &str) -> (StatusCode, String) {
    let media = if route.id == "save_module" { "application/yaml" } else { "application/json" };
    let headers = [("content-type", media), ("accept", "application/json")];
    let (status, answer) = client.call(route.method.clone(), path, &headers, body.to_owned()).await;
    (status, String::from_utf8_lossy(&answer).into_owned())
}

fn code(answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    answer["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn everybody_gets_what_is_theirs_from_every_route_and_nothing_else() {
    let world = World::new().await;
    let expected: BTreeMap<&str, (&str, &str)> = EXPECTED.iter().map(|(id, who, body)| (*id, (*who, *body))).collect();
    let (shared, _) = world.run().await;
    let app = world.harness.coordinator.app();
    let mut wrong: Vec<String> = Vec::new();
    for route in table() {
        let line = expected.get(route.id);
        let (who, body) = *line.unwrap_or_else(|| panic!("{route:?} has no line in EXPECTED: who may use it?"));
        // Those who may least come first: nothing of what they try may show up later.
        for (name, may) in ["eve", "bob", "ann"].into_iter().zip(who.chars().rev()) {
            let changes = may == '+' && route.method != Method::GET;
            let run = if changes && route.path.contains("{run}") { world.run().await.0 } else { shared };
            let spare = app.access.tokens("ann").expect("listed").into_iter().find(|token| token.name == "spare");
            let id = spare.map_or_else(|| "none-is-left".to_owned(), |token| token.id);
            let run = run.to_string();
            let there = Parts { run: &run, path: "ann/one", user: "ann", group: "hush-devs", id: &id };
            let before = state(&world, &there).await;
            let mut client = world.client(name).await;
            let (status, answer) = ask(&mut client, &route, &there.of(route.path), body).await;
            let who = format!("{name}: {route:?}: {status} {answer}");
            let code = code(&answer);
            let fits = match may {
                '+' => {
                    let absent = if route.path.contains("{run}") { "there is no run" } else { "there is no module" };
                    !["unauthenticated", "denied", "internal"].contains(&code.as_str()) && !answer.contains(absent)
                }
                '-' => (status, code.as_str()) == (StatusCode::FORBIDDEN, "denied"),
                _ => status == StatusCode::NOT_FOUND,
            };
            if !fits {
                wrong.push(format!("{who}: expected {may}"));
            }
            if may == '.' {
                let body = body.replace("ann/one", NOTHING.path);
                let (other_status, other) = ask(&mut client, &route, &NOTHING.of(route.path), &body).await;
                if (status, there.forget(&answer)) != (other_status, NOTHING.forget(&other)) {
                    wrong.push(format!("{who}: what does not exist is answered otherwise: {other}"));
                }
            }
            if may != '+' && state(&world, &there).await != before {
                wrong.push(format!("{who}: something was changed"));
            }
            if name == "eve" && there.forget(&answer).contains(MARK) {
                wrong.push(format!("{who}: she is told what is not hers"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let known: Vec<&str> = table().iter().map(|route| route.id).collect();
    for (id, ..) in EXPECTED {
        assert!(known.contains(id), "there is no route {id} any more");
    }
    world.harness.coordinator.stop().await;
}

#[test]
fn what_is_about_a_run_or_a_user_needs_a_right_to_it() {
    for route in table() {
        let of_run = route.path.contains("{run}");
        assert_eq!(of_run, matches!(route.needs, Needs::Run(_) | Needs::Remains(_)), "{route:?}");
        let of_user = route.path.contains("{user}");
        assert!(!of_user || matches!(route.needs, Needs::Oneself | Needs::Admin), "{route:?}");
        let of_module = route.path.contains("{*path}");
        assert_eq!(of_module, matches!(route.needs, Needs::Module(_)), "{route:?}");
    }
}

#[tokio::test]
async fn neither_nobody_nor_a_machine_gets_anything_from_a_route_that_is_not_for_all() {
    let world = World::new().await;
    let ((run, context), (_, other)) = (world.run().await, world.run().await);
    let run = run.to_string();
    let there = Parts { run: &run, path: "ann/one", user: "ann", group: "hush-devs", id: "none-is-left" };
    let before = state(&world, &there).await;
    for context in [None, Some(&context), Some(&other)] {
        let (identity, token) = match context {
            None => (None, None),
            Some(context) => (Some(world.machine(context).await), Some(context.token.clone())),
        };
        let identity = identity.as_ref().map(|(key, certificate)| (key, certificate.as_str()));
        for bearer in [None, token] {
            let mut api = world.harness.api_as(identity).await;
            api.token = bearer;
            for route in table() {
                let path = there.of(route.path);
                let body =
                    EXPECTED.iter().find(|(id, ..)| *id == route.id).map(|(_, _, body)| *body).unwrap_or_default();
                let (status, answer) = ask(&mut api, &route, &path, body).await;
                if route.needs == Needs::Nothing {
                    assert_ne!(code(&answer), "unauthenticated", "{route:?}");
                } else {
                    assert_eq!(
                        (status, code(&answer).as_str()),
                        (StatusCode::UNAUTHORIZED, "unauthenticated"),
                        "{route:?}"
                    );
                }
                assert!(!there.forget(&answer).contains(MARK), "{route:?}: {answer}");
                if identity.is_some() {
                    // Nor is the port for machines another way in.
                    let mut agent = world.harness.agent(identity).await.expect("connects");
                    assert_eq!(ask(&mut agent, &route, &path, body).await.0, StatusCode::NOT_FOUND, "{route:?}");
                }
            }
        }
    }
    assert_eq!(state(&world, &there).await, before);
    world.harness.coordinator.stop().await;
}

/// What somebody might have changed: of ann's run, module, account, group and tokens.
async fn state(world: &World, parts: &Parts<'_>) -> String {
    let app = world.harness.coordinator.app();
    let admin = User { name: "admin".to_owned(), admin: true, ..User::default() };
    let run = app.runs.find(parts.run).await.expect("there");
    let parameters = run.parameters().await.expect("read");
    let module = app.catalogue.seen_by(&admin).get("ann/one").await.expect("there");
    let sharing = app.catalogue.seen_by(&admin).sharing("ann/one").await.expect("there");
    let accounts = (app.access.users(&admin), app.access.groups(&admin), app.access.tokens("ann").expect("listed"));
    let values: Vec<_> = parameters.iter().filter(|p| p.key.to_string() == "web.1:statecustom").collect();
    format!("{values:?} {:?} {module:?} {sharing:?} {accounts:?}", run.sharing(&admin))
}
