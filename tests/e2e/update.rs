//! A run that is up, updated to another version of its module.

use slipstream_shared::{
    api::{OperationStatus, UpdateRequest},
    state::RunState,
};
use slipstream_tests::{Coordinator, Options, cli};

use crate::processes::{LIMIT, key, problem};

const IMAGE: &str = "slipstream: 1\nkind: image\nname: tests/image\nnative: { processes: host }\nplatform: other\n";

/// `web` has as many instances and does what is said; `db` is there or not.
fn application(web: &str, count: u32, db: bool, size: &str) -> String {
    let db = if db {
        "  db:\n    image: tests/image\n    cloud: processes\n    publish: { runs: {} }\n    deploy: ss-set runs \"$(ss-get --noblock runs)x\"\n"
    } else {
        ""
    };
    format!(
        "slipstream: 1\nkind: application\nname: tests/updated\nparams:\n  size: {{ default: {size} }}\n  name: {{ default: plain }}\nnodes:\n{db}  \
         web:\n    image: tests/image\n    cloud: processes\n    count: {count}\n    publish: {{ seen: {{}} }}\n    \
         install: echo installed\n    deploy: ss-set seen \"{web} $(ss-get size) $(ss-get name)\"\n"
    )
}

async fn put(coordinator: &Coordinator, module: &str) {
    coordinator.client().put_module(module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
}

async fn value(coordinator: &Coordinator, run: &str, name: &str) -> String {
    let parameter = coordinator.client().parameter(run, &key(name)).await.expect("there");
    parameter.value.unwrap_or_default()
}

#[tokio::test]
async fn only_what_differs_is_run_again_and_what_was_chosen_stays() {
    let coordinator = Coordinator::start(Options::default()).await;
    put(&coordinator, IMAGE).await;
    put(&coordinator, &application("one", 2, true, "small")).await;
    let launched = cli(&coordinator.profile())
        .args(["run", "launch", "tests/updated", "--set", "name=chosen", "--wait"])
        .output()
        .expect("runs");
    assert!(launched.status.success(), "{}", String::from_utf8_lossy(&launched.stderr));
    let run = coordinator.client().runs(None, 1).await.expect("listed").items[0].id.to_string();
    assert_eq!(value(&coordinator, &run, "web.1:seen").await, "one small chosen");

    let update = |more: &[&str]| {
        let line = ["run", "update", run.as_str()].into_iter().chain(more.iter().copied());
        let output = cli(&coordinator.profile()).args(line).output().expect("runs");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code(), text.concat())
    };
    put(&coordinator, &application("two", 3, true, "large")).await;
    let (code, text) = update(&["tests/updated", "--dry-run"]);
    assert_eq!(code, Some(0), "{text}");
    for said in [
        "web: step `deploy` has another script",
        "web: 3 instances instead of 2",
        "add web.3, run steps again on web.1 web.2",
    ] {
        assert!(text.contains(said), "no `{said}` in:\n{text}");
    }
    assert_eq!(value(&coordinator, &run, "web.1:seen").await, "one small chosen", "nothing was changed");
    let (code, text) = update(&["tests/updated@2", "--wait"]);
    assert_eq!(code, Some(0), "{text}");
    for who in ["web.1", "web.2", "web.3"] {
        assert_eq!(value(&coordinator, &run, &format!("{who}:seen")).await, "two large chosen", "{who}");
    }
    assert_eq!(value(&coordinator, &run, "db.1:runs").await, "x", "what is the same is left alone");
    let operation = coordinator.client().operations(&run).await.expect("listed").remove(0);
    assert_eq!(operation.status, OperationStatus::Succeeded, "{operation:#?}");
    let tasks: Vec<_> = operation.tasks.iter().map(|t| (t.instance.to_string(), t.step.as_str())).collect();
    assert_eq!(tasks, [("web.1".into(), "deploy"), ("web.2".into(), "deploy")], "not install");

    put(&coordinator, &application("two", 3, false, "large")).await;
    let (code, text) = update(&["tests/updated", "--wait"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(coordinator.machines().len(), 3, "db.1 is gone");
    let detail = coordinator.client().run(&run).await.expect("shown");
    assert_eq!((detail.summary.module.as_str(), detail.summary.instances), ("tests/updated@3", 3));
    assert_eq!(value(&coordinator, &run, "web.1:seen").await, "two large chosen");

    coordinator.client().terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}

#[tokio::test]
async fn what_is_no_version_of_the_module_is_refused_and_changes_nothing() {
    let coordinator = Coordinator::start(Options::default()).await;
    put(&coordinator, IMAGE).await;
    put(&coordinator, &application("one", 1, true, "small")).await;
    let run = coordinator.launch("tests/updated").await;
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let other = "slipstream: 1\nkind: application\nname: tests/updated\nnodes:\n  other: { image: tests/image, cloud: processes }\n";
    put(&coordinator, other).await;
    let client = coordinator.client();
    for (module, code, why) in [
        ("tests/image", "invalid_value", "it is updated to versions of that, not to tests/image"),
        ("tests/updated@9", "module_not_found", "tests/updated"),
        ("tests/updated@2", "invalid_value", "tests/updated@2 has none of the nodes of this run (db, web), but other"),
    ] {
        let request = UpdateRequest { module: module.to_owned(), dry_run: false };
        let refused = problem(client.update(&run, &request, module).await);
        assert_eq!(refused.code, code, "{}", refused.detail);
        assert!(refused.detail.contains(why), "{}", refused.detail);
    }
    assert_eq!(client.operations(&run).await.expect("listed"), []);
    assert_eq!(client.run(&run).await.expect("shown").summary.module, "tests/updated@1");
}
