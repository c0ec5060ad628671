//! The tutorial on small virtual machines, for real.

use std::time::Duration;

use slipstream_shared::{
    event::Event,
    state::{Outcome, RunState},
};
use slipstream_tests::{Coordinator, Options, next_record, repository, test_images};

use crate::processes::key;

const LIMIT: Duration = Duration::from_secs(240);
const SYSTEM: &str = "examples/service-testing-busybox/system";

#[tokio::test]
async fn the_tutorial_on_busybox_machines_survives_kill_9() {
    let Some(images) = test_images("busybox") else {
        eprintln!("skipped: no busybox image (run `make test`, which makes it and sets SLIPSTREAM_TEST_IMAGES)");
        return;
    };
    let mut coordinator = Coordinator::start(Options { images: Some(images), ..Options::default() }).await;
    coordinator.put_example(&repository().join("examples/service-testing-busybox")).await;
    let run = coordinator.launch(SYSTEM).await;

    // Both machines are on their way when the coordinator dies.
    let mut events = coordinator.client().events(&run, 0);
    let mut launched = 0;
    while launched < 2 {
        let record = next_record(&mut events).await;
        launched += u32::from(matches!(record.event, Event::Launched { .. }));
    }
    coordinator.kill();
    coordinator.restart().await;

    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    assert_eq!(detail.summary.outcome, Outcome::Succeeded, "{detail:#?}\n{}", coordinator.log());
    assert!(detail.nodes.iter().all(|n| n.attempt == 1), "{detail:#?}");
    let shown = coordinator.client().parameter(&run, &key("testclient.1:statecustom")).await.expect("displayed");
    assert_eq!(shown.value.as_deref(), Some("OK: Hello from Apache deployed by SlipStream!"));
    let private = coordinator.client().parameter(&run, &key("apache.1:address.private")).await.expect("known");
    assert!(private.value.is_some_and(|a| a.starts_with("10.78.")));

    coordinator.client().terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}
