//! Secrets: everything is done with some, then everything is searched for them.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use slipstream_shared::{
    api::{LaunchRequest, SetParameter},
    client::Client,
    event::Event,
    id::InstanceId,
    state::{Outcome, RunState},
};
use slipstream_tests::{Coordinator, Options, cli, next_record};

use crate::processes::{LIMIT, key, problem};

/// Chosen at launch for the run, and for a node.
const ADMIN: &str = "canary-admin-4f1c";
const NODE: &str = "canary-node-77ab";
/// Set by a script, which makes it of the first by shifting its letters.
const TOKEN: &str = "dbobsz-benjo-4g1d";
/// Set through the REST API, and by the command line.
const REST: &str = "canary-rest-93de";
const FILE: &str = "canary-file-06c2\n";

const IMAGE: &str = "slipstream: 1\nkind: image\nname: tests/image\nnative: { processes: host }\nplatform: other\n";

const WORKER: &str = r#"slipstream: 1
kind: component
name: tests/worker
image: tests/image
params:
  token: { type: secret }
  own: { type: secret }
deploy: |
  #!/bin/sh -e
  # The first letter alone, and how long it is: that much may be told.
  slipstream-agent get token | head -c 1; echo
  printf %s "$(slipstream-agent get own)" | wc -c
"#;

/// `db` and `web` get secrets, `other` tries to, by names that its script does not show.
const SYSTEM: &str = r#"slipstream: 1
kind: application
name: tests/secrets
params:
  db_password: { type: secret, generate: 24 }
  admin: { type: secret, required: true }
  late: { type: secret }
nodes:
  db:
    image: tests/image
    publish: { token: { type: secret }, ready: { type: boolean } }
    deploy: |
      #!/bin/sh -ex
      password=$(ss-get db_password)
      test ${#password} = 24
      echo "the password is $password"
      echo "$password" | base64 >&2
      printf %s "$password" | od -An -tx1 | tr -d ' \n'; echo
      ss-get admin | sed 'y/abcdefghijklmnopqrstuvwxyz/bcdefghijklmnopqrstuvwxyza/' | tr -d '\n' |
        slipstream-agent set --stdin token
      ss-get token
      ss-set ready true
  web:
    use: tests/worker
    params: { token: "${db.token}" }
  other:
    image: tests/image
    deploy: |
      set +e
      who=db.1; what=tok"en"
      slipstream-agent get "$who:$what"; echo "another's: $?"
      slipstream-agent get --noblock "ss:adm""in"; echo "of the run: $?"
      slipstream-agent wait "ss:adm""in"; echo "wait: $?"
      slipstream-agent set "ss:adm""in" mine; echo "set: $?"
      slipstream-agent wait "ss:adm""in=guess"; echo "compare: $?"
outputs:
  ready: "${db.ready}"
"#;

/// Everything in a folder that holds one of the secrets in some form.
fn found_in(folder: &Path, secrets: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        // What is no file, such as a pipe of a script, would block.
        let Ok(kind) = fs::symlink_metadata(&path).map(|meta| meta.file_type()) else { continue };
        if kind.is_dir() {
            open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            found.extend(forms_in(&bytes, secrets).into_iter().map(|form| format!("{}: {form}", path.display())));
        }
    }
    found
}

/// The forms of secrets that these bytes hold.
fn forms_in(bytes: &[u8], secrets: &[String]) -> Vec<String> {
    let forms = secrets.iter().map(|secret| secret.trim_end()).flat_map(|secret| {
        let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
        [secret.to_owned(), STANDARD_NO_PAD.encode(secret), hex]
    });
    forms.filter(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes())).collect()
}

async fn log_of(client: &Client, run: &str, instance: &str) -> String {
    let instance: InstanceId = instance.parse().expect("valid");
    let mut text = String::new();
    for log in client.logs(run, &instance).await.expect("kept") {
        let mut body = client.log(run, &instance, log.index, 0).await.expect("kept");
        text += std::str::from_utf8(&body.bytes().await.expect("read")).expect("text");
    }
    text
}

/// What the command line prints, on both channels.
fn shown(coordinator: &Coordinator, arguments: &[&str]) -> String {
    let output = cli(&coordinator.profile()).args(arguments).stdin(Stdio::null()).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

async fn launch(coordinator: &Coordinator) -> String {
    for module in [IMAGE, WORKER, SYSTEM] {
        coordinator.client().put_module(module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
    }
    let set = [("admin", ADMIN), ("web:own", NODE)].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = LaunchRequest { module: "tests/secrets".into(), set: set.into(), ..LaunchRequest::default() };
    let run = coordinator.client().launch(&request, "once").await.expect("accepted").summary.id;
    let again = coordinator.client().launch(&request, "once").await.expect("the same").summary.id;
    assert_eq!(run, again, "an idempotency key with secrets is known again");
    run.to_string()
}

#[tokio::test]
async fn a_secret_is_found_nowhere_but_where_it_may_be() {
    let log = Some("slipstream_coordinator=trace,info");
    let mut coordinator = Coordinator::start(Options { log, ..Options::default() }).await;
    let run = launch(&coordinator).await;
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    assert_eq!(
        detail.summary.outcome,
        Outcome::Succeeded,
        "{detail:#?}\n{}",
        log_of(&coordinator.client(), &run, "db.1").await
    );

    // Who may read them did, who may not was told.
    let client = coordinator.client();
    let db = log_of(&client, &run, "db.1").await;
    assert!(db.contains("the password is ***"), "{db}");
    assert_eq!(log_of(&client, &run, "web.1").await, format!("d\n{}\n", NODE.len()));
    let other = log_of(&client, &run, "other.1").await;
    for line in ["another's: 7", "of the run: 7", "wait: 7", "set: 7", "compare: 7"] {
        assert!(other.lines().any(|l| l == line), "no line `{line}` in:\n{other}");
    }
    assert!(
        other.contains("may not read ss:admin: it is a secret, and the module of other does not bind it"),
        "{other}"
    );

    // The owner may see one, on request. A coordinator that was killed knows them all the same.
    let generated = client.reveal(&run, &key("ss:db_password")).await.expect("shown").value.expect("made up");
    assert_eq!(generated.len(), 24);
    assert_eq!(client.reveal(&run, &key("db.1:token")).await.expect("shown").value.as_deref(), Some(TOKEN));
    coordinator.kill();
    coordinator.restart().await;
    let client = coordinator.client();
    assert_eq!(client.reveal(&run, &key("web.1:own")).await.expect("shown").value.as_deref(), Some(NODE));
    let again = client.reveal(&run, &key("ss:db_password")).await.expect("shown").value;
    assert_eq!(again.as_ref(), Some(&generated), "made up once");
    assert!(coordinator.log().contains("the value of a secret was shown"));

    // People set some, too.
    let write = SetParameter { value: REST.to_owned(), if_revision: None };
    for _ in 0..2 {
        client.write_parameter(&run, &key("ss:late"), Some(&write), "twice").await.expect("made once");
    }
    let other = SetParameter { value: "another".to_owned(), if_revision: None };
    let reused = client.write_parameter(&run, &key("ss:late"), Some(&other), "twice").await;
    assert_eq!(problem(reused).code, "idempotency_key_reused");
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), FILE).expect("written");
    let path = file.path().to_str().expect("text");
    shown(&coordinator, &["param", "set", &run, "web.1:own", "--file", path]);
    assert_eq!(client.reveal(&run, &key("web.1:own")).await.expect("shown").value.as_deref(), Some(FILE));
    assert_eq!(
        problem(client.wait(&run, &[format!("ss:late={REST}").parse().expect("valid")], false, LIMIT).await).code,
        "invalid_value"
    );

    let secrets = [ADMIN, NODE, TOKEN, REST, FILE, &generated].map(str::to_owned);
    let mut answers = Vec::new();
    answers.push(serde_json::to_string(&client.parameters(&run).await.expect("listed")).expect("JSON"));
    for name in ["ss:db_password", "ss:admin", "ss:late", "db.1:db_password", "db.1:token", "web.1:token", "web.1:own"]
    {
        let name = key(name);
        let parameter = client.parameter(&run, &name).await.expect("there");
        assert_eq!(parameter.value.as_deref(), Some("***"), "{parameter:?}");
        answers.push(serde_json::to_string(&parameter).expect("JSON"));
        answers.push(serde_json::to_string(&client.history(&run, &name).await.expect("listed")).expect("JSON"));
        let met = client.wait(&run, &[name.to_string().parse().expect("valid")], false, LIMIT).await;
        answers.push(serde_json::to_string(&met.expect("it is set")).expect("JSON"));
    }
    answers.push(serde_json::to_string(&client.run(&run).await.expect("shown")).expect("JSON"));
    for arguments in [
        &["run", "show", &run][..],
        &["run", "show", &run, "-o", "json"],
        &["run", "list", "-o", "json"],
        &["param", "list", &run],
        &["param", "get", &run, "ss:late"],
        &["param", "history", &run, "ss:late"],
        &["run", "logs", &run, "db.1"],
    ] {
        answers.push(shown(&coordinator, arguments));
    }
    // What is no secret is found: the search works.
    let plain = ["canary-plain-11aa".to_owned()];
    client.set_parameter(&run, &key("other.1:statecustom"), &plain[0]).await.expect("set");
    assert!(found_in(&coordinator.data(), &plain).iter().any(|found| found.contains("/store/")));
    client.terminate(&run).await.expect("accepted");
    let while_it_runs = found_in(&coordinator.data(), &secrets);
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    let mut events = client.events(&run, 0);
    let mut kinds = String::new();
    loop {
        let record = next_record(&mut events).await;
        kinds += &serde_json::to_string(&record).expect("JSON");
        if matches!(record.event, Event::StateChanged { state } if state.is_final()) {
            break;
        }
    }
    assert!(kinds.contains("secret_set") && !kinds.contains("sealed"), "{kinds}");
    answers.push(kinds);
    answers.push(coordinator.log());
    for answer in &answers {
        assert_eq!(forms_in(answer.as_bytes(), &secrets), [""; 0], "in an answer:\n{answer}");
    }
    assert_eq!(while_it_runs, [""; 0], "while the run was there");
    assert_eq!(found_in(&coordinator.data(), &secrets), [""; 0], "when it was over");
    let mode =
        Command::new("stat").args(["-c", "%a"]).arg(coordinator.data().join("secret.key")).output().expect("runs");
    assert_eq!(String::from_utf8_lossy(&mode.stdout).trim(), "600");
}
