use async_trait::async_trait;
use slipstream_shared::context::Context;

use super::*;
use crate::cloud::conformance::{self, Subject, request};

#[async_trait]
impl Subject for World {
    fn open(&self) -> Arc<dyn Connector> {
        self.connector()
    }

    fn image(&self) -> &'static str {
        "any"
    }

    async fn received(&self, _run: RunId, machine: &str) -> Option<Vec<u8>> {
        self.state().machines.get(machine).map(|machine| machine.user_data.clone().into_bytes())
    }

    async fn interrupt(&self, _request: &LaunchRequest) -> bool {
        false
    }

    async fn assert_clean(&self, _run: RunId) {
        assert_eq!(self.machines(), 0);
    }
}

fn world() -> (World, RunId) {
    (World::new(Seam::seeded(1)), RunId::new(1, [1; 10]))
}

#[tokio::test(start_paused = true)]
async fn the_fake_keeps_all_promises() {
    let (world, _) = world();
    conformance::check(&world, 1).await;
    world.set_habits(Habits { boot: Duration::from_secs(5), linger: Duration::from_secs(5), ..Habits::default() });
    conformance::check(&world, 10).await;
}

#[tokio::test(start_paused = true)]
async fn lost_answers_leave_a_machine_and_lost_requests_none() {
    let (world, run) = world();
    let request = request(&world, run, "web.1", 1);
    world.fail_launch(Fault::LoseRequest);
    world.fail_launch(Fault::LoseAnswer);
    for machines in [0, 1] {
        assert!(matches!(world.launch(&request).await, Err(CloudError::Ambiguous(_))));
        assert_eq!(world.find(run).await.expect("found").len(), machines);
    }
    assert_eq!(world.launches(&request.key), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_launch_says_why_and_makes_nothing() {
    let (world, run) = world();
    let request = request(&world, run, "web.1", 1);
    world.fail_launch(Fault::Refuse(CloudError::Quota("10 machines".to_owned())));
    world.set_habits(Habits { capacity: 0, ..Habits::default() });
    let mut refusals = Vec::new();
    for _ in 0..2 {
        refusals.push(world.launch(&request).await.expect_err("refused").to_string());
    }
    assert_eq!(refusals, ["quota reached: 10 machines", "no capacity: 0 machines are all there is room for"]);
    assert_eq!((world.machines(), world.launches(&request.key)), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_hidden_machine_is_seen_late_but_is_the_only_one() {
    let (world, run) = world();
    let request = request(&world, run, "web.1", 1);
    world.fail_launch(Fault::Hide(Duration::from_secs(30)));
    let machine = world.launch(&request).await;
    assert_eq!(world.find(run).await, Ok(Vec::new()));
    assert_eq!(world.launch(&request).await, machine);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(world.find(run).await.expect("found").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_listens_gets_the_user_data_when_the_machine_runs_and_learns_of_its_end() {
    let (world, run) = world();
    let mut starts = world.starts();
    world.set_habits(Habits { boot: Duration::from_secs(9), ..Habits::default() });
    let request = request(&world, run, "web.1", 1);
    let before = world.seam.now();
    let machine = world.launch(&request).await.expect("launched");
    let started = starts.recv().await.expect("started");
    assert_eq!(world.seam.now() - before, 9_000);
    assert_eq!(Context::from_user_data(started.user_data.as_bytes()).expect("ours"), request.user_data.0);
    assert!(!started.ended.is_cancelled());
    world.stop(&machine);
    started.ended.cancelled().await;
    assert_eq!(world.find(run).await.expect("found")[0].state, MachineState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_terminated_machine_lingers() {
    let (world, run) = world();
    world.set_habits(Habits { linger: Duration::from_secs(60), idempotent: false, ..Habits::default() });
    let request = request(&world, run, "web.1", 1);
    let first = world.launch(&request).await.expect("launched");
    let second = world.launch(&request).await.expect("launched");
    assert_ne!(first, second, "this cloud forgets its keys");
    world.fail_terminate(CloudError::Throttled("one second".to_owned()));
    assert!(world.terminate(run, &first).await.is_err());
    world.terminate(run, &first).await.expect("terminated");
    let states: Vec<_> = world.find(run).await.expect("found").into_iter().map(|seen| seen.state).collect();
    assert_eq!(states, [MachineState::Terminating, MachineState::Running]);
    tokio::time::sleep(Duration::from_secs(61)).await;
    world.vanish(&second);
    assert_eq!(world.find(run).await, Ok(Vec::new()));
}
