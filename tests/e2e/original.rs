//! Modules of the original, imported and deployed.

use slipstream_shared::state::RunState;
use slipstream_tests::{Coordinator, Options, cli, repository};

use crate::processes::{LIMIT, key};

#[tokio::test]
async fn modules_of_the_original_are_imported_and_deploy() {
    let coordinator = Coordinator::start(Options::default()).await;
    let folder = repository().join("tests/fixtures/original");
    let imported = cli(&coordinator.profile()).args(["module", "import"]).arg(&folder).output().expect("it runs");
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let saved = String::from_utf8_lossy(&imported.stdout).into_owned();
    for path in ["tutorials@1", "tutorials/base@1", "tutorials/server@1", "tutorials/client@1", "tutorials/system@1"] {
        assert!(saved.lines().any(|line| line == path), "{path}: {saved}");
    }
    let told = String::from_utf8_lossy(&imported.stderr).into_owned();
    assert!(told.contains("tutorials/system left out: that it uses the version 17 of `tutorials/server`"), "{told}");

    let client = coordinator.client();
    let run = coordinator.launch("tutorials/system").await;
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let value = async |name: &str| client.parameter(&run, &key(name)).await.expect("there").value;
    assert_eq!(value("client.1:answer").await.as_deref(), Some("carried over"));
    assert_eq!(value("server.1:ready").await.as_deref(), Some("seen by the client"), "as old recipes may");
    client.terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}
