//! Whether parameters keep their promise while many use them at once and the coordinator is killed: what
//! everybody saw of one parameter can be explained by a register that does one thing at a time, in an order
//! in which nothing happens before it was asked for or after it was answered.
//!
//! The real coordinator with its store on disk, real agents with their certificates. `make linearize
//! SECONDS=600` goes on for longer; `SEED=n` makes the same choices again (not the same history: the
//! machine's own timing is part of that). `make linearize-broken` shows that it finds what is broken.

mod checker;
mod clients;
mod known;
mod machine;
mod model;
mod overdue;
mod record;
mod rest;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use slipstream_shared::{id::InstanceId, parameter::Key, state::RunState};
use slipstream_tests::{Coordinator, Options, Random, seconds_from_environment, seed_from_environment};
use tokio::task::JoinSet;

use crate::{
    clients::{Stage, WINDOW, play},
    machine::Machine,
    record::{Part, Record},
    rest::Rest,
};

/// Machines of the run, each with two scripts.
const MACHINES: u32 = 3;

/// Programs that use the REST API.
const PROGRAMS: u32 = 5;

/// Parameters of each machine.
const PARAMETERS: u32 = 40;

/// How long a set of parameters is in use.
const STEP: Duration = Duration::from_millis(600);

const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_everybody_saw_can_be_explained() {
    let seed = seed_from_environment("linearize");
    let (total, found) = search(Options::default(), seed, seconds_from_environment(20)).await;
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
    println!("linearize: {total:?}, all explained");
    assert!(total.operations > 500 && total.kills > 0 && total.waits > 50, "too little happened: {total:?}");
}

/// Every bug that is there to be found is found.
#[cfg(feature = "planted-bugs")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_bugs_are_found() {
    let seed = seed_from_environment("linearize-broken");
    for bug in ["answer-first", "apply-twice", "blind-compare", "lost-wake-up"] {
        let began = Instant::now();
        let options = Options { bug: Some(bug), ..Options::default() };
        let (total, found) = search(options, seed, Duration::from_secs(180)).await;
        println!("{bug}: {total:?}");
        let first = found.first().unwrap_or_else(|| panic!("{bug} was not found: {total:?}"));
        let seconds = began.elapsed().as_secs();
        println!("{bug}: found after {seconds} s, {} violations, the first:\n{first}\n", found.len());
    }
}

/// Runs of `seconds` together, or until something is found wrong.
async fn search(options: Options, seed: u64, seconds: Duration) -> (Totals, Vec<String>) {
    let mut random = Random::new(seed);
    let began = Instant::now();
    let mut total = Totals::default();
    let mut coordinator = Coordinator::start(options.clone()).await;
    put_module(&coordinator).await;
    loop {
        let left = seconds.saturating_sub(began.elapsed());
        let steps = usize::try_from(left.as_millis() / STEP.as_millis()).unwrap_or(usize::MAX).max(10);
        let stage = round(&mut coordinator, &mut random, steps, &mut total).await;
        let found = examine(&stage, &coordinator, &mut total).await;
        if options.bug.is_some() {
            assert!(coordinator.log().contains("planted bug"), "it was built without the feature `planted-bugs`");
        }
        if !found.is_empty() || began.elapsed() >= seconds {
            return (total, found);
        }
        coordinator.client().terminate(&stage.run).await.expect("accepted");
        coordinator.wait_for(&stage.run, RunState::Done, LIMIT).await;
    }
}

/// How much was tried.
#[derive(Debug, Default)]
struct Totals {
    rounds: u32,
    kills: u32,
    operations: usize,
    lost_answers: usize,
    waits: usize,
    overdue: usize,
}

async fn put_module(coordinator: &Coordinator) {
    let names: String = (0..PARAMETERS).fold(String::new(), |mut text, n| {
        let _ = write!(text, "k{n}: {{}}, ");
        text
    });
    let image = "slipstream: 1\nkind: image\nname: tests/image\nnative: { processes: host }\nplatform: other\n";
    let component = format!(
        "slipstream: 1\nkind: component\nname: tests/peer\nimage: tests/image\n\
         publish: {{ {names}socket: {{}}, barrier: {{}} }}\ndeploy: ss-set socket \"$SLIPSTREAM_SOCKET\"\n"
    );
    let application = format!(
        "slipstream: 1\nkind: application\nname: tests/peers\nnodes:\n  peer:\n    use: tests/peer\n    \
         cloud: processes\n    count: {MACHINES}\n"
    );
    for module in [image, &component, &application] {
        coordinator.client().put_module(module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
    }
}

/// One run, used by everybody.
async fn round(coordinator: &mut Coordinator, random: &mut Random, steps: usize, total: &mut Totals) -> Arc<Stage> {
    let run = coordinator.launch("tests/peers").await;
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let machines: Vec<InstanceId> = (1..=MACHINES).map(|n| format!("peer.{n}").parse().expect("an instance")).collect();
    let keys = (0..PARAMETERS).flat_map(|n| machines.iter().map(move |m| Key::instance(m, &format!("k{n}"))));
    let stage = Arc::new(Stage {
        record: Record::new(),
        run: run.clone(),
        keys: keys.collect(),
        window: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    });
    let mut all = JoinSet::new();
    for n in 0..PROGRAMS {
        let way = Rest::new(coordinator.client());
        all.spawn(play(way, format!("rest{n}-{}", total.rounds), Arc::clone(&stage), random.fork()));
    }
    for machine in &machines {
        let at = coordinator.client().parameter(&run, &Key::instance(machine, "socket")).await.expect("there");
        let socket = at.value.expect("its script has set it");
        for n in 0..2 {
            let name = format!("{machine}-{n}");
            all.spawn(play(Machine::new(machine, &socket, &name), name, Arc::clone(&stage), random.fork()));
        }
    }
    disturb(coordinator, &stage, random, steps, total).await;
    stage.over.store(true, Ordering::Relaxed);
    while let Some(ended) = all.join_next().await {
        ended.expect("a client ends as it should");
    }
    total.rounds += 1;
    stage
}

/// Goes from parameters to parameters, and kills the coordinator in the middle of some.
async fn disturb(coordinator: &mut Coordinator, stage: &Stage, random: &mut Random, steps: usize, total: &mut Totals) {
    for step in 1..=steps.min(stage.keys.len() / WINDOW) {
        let kill = random.percent(20) || step == 4;
        let before = STEP.mul_f64(f64::from(u32::try_from(random.below(100)).unwrap_or(0)) / 100.0);
        tokio::time::sleep(before).await;
        if kill {
            let from = stage.record.now();
            coordinator.kill();
            coordinator.restart().await;
            stage.record.outage(from);
            total.kills += 1;
        }
        tokio::time::sleep(STEP.saturating_sub(before)).await;
        stage.window.store(step * WINDOW, Ordering::Relaxed);
    }
}

/// What is wrong with the history, in words.
async fn examine(stage: &Stage, coordinator: &Coordinator, total: &mut Totals) -> Vec<String> {
    let mut found = stage.record.all_wrong();
    for (key, part) in stage.record.parts() {
        total.operations += part.operations.len();
        total.lost_answers += part.operations.iter().filter(|o| o.ended.is_none()).count();
        total.waits += part.operations.iter().filter(|o| matches!(o.act, model::Act::Held(_))).count();
        total.overdue += part.overdue.len();
        if let Err(violation) = checker::check(&part.operations) {
            found.push(shown(&key, &part, &violation));
        }
        for (overdue, write) in overdue::lost(&part, &stage.record) {
            found.push(format!("{key}: a lost wake-up: {overdue:?} in spite of {write:?}"));
        }
        found.extend(made_twice(stage, coordinator, &key).await);
    }
    found
}

/// All values are different: whichever is in the history twice was written twice.
async fn made_twice(stage: &Stage, coordinator: &Coordinator, key: &Key) -> Option<String> {
    let history = coordinator.client().history(&stage.run, key).await.expect("kept");
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for write in &history {
        if let Some(value) = write.value.as_deref()
            && let Some(other) = seen.insert(value, write.revision)
        {
            return Some(format!("{key}: `{value}` was written twice, in {} and {other}", write.revision));
        }
    }
    None
}

fn shown(key: &Key, part: &Part, violation: &checker::Violation) -> String {
    let line = |o: &checker::Operation| format!("    {:>12} {:>12?} {:<10} {:?}\n", o.began, o.ended, o.client, o.act);
    let last: String = violation.explained.iter().rev().take(12).rev().map(line).collect();
    let around = |o: &&checker::Operation| {
        let (stuck, ended) = (&violation.stuck, o.ended.unwrap_or(u64::MAX));
        o.began <= stuck.ended.unwrap_or(u64::MAX) && ended >= stuck.began
    };
    let beside: String = part.operations.iter().filter(around).take(30).map(line).collect();
    format!(
        "{key}: {} operations, of which {} can be explained; the last of them\n{last}  then this does not fit\n{}  beside it\n{beside}",
        part.operations.len(),
        violation.explained.len(),
        line(&violation.stuck),
    )
}
