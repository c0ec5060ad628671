//! The kill loop: SIGKILL of the real coordinator at each record of the life of a run.
//!
//! A life is a deployment of two nodes, a scale-up, a scale-down and a termination. It is lived again and again,
//! each time with one kill: as soon as record `n` of its journal is told, for each `n` there is. After the restart
//! the run has to end as if nothing had happened, with all that was acknowledged, nothing doubled, nothing left.
//!
//! `make kill-loop` tries every record with plain processes, and ten of them with virtual machines. Without it
//! (`EVERY_RECORD` unset) as many as a minute allows, spread over the life, from another one on each time.

mod life;

use std::time::{Duration, Instant};

use life::{End, Kind, live};
use slipstream_tests::{Coordinator, Options, Random, seed_from_environment, test_images};

/// How long a part of the records may be tried.
const A_WHILE: Duration = Duration::from_secs(30);

/// How many records are tried with virtual machines.
const WITH_MACHINES: u64 = 10;

fn every_record() -> bool {
    std::env::var_os("EVERY_RECORD").is_some_and(|value| !value.is_empty())
}

/// Every record of `total`, or as many as there is time for, in an order that is spread over all.
fn points(total: u64, every: bool) -> Vec<u64> {
    let mut all: Vec<u64> = (1..=total).collect();
    if !every {
        let mut random = Random::new(seed_from_environment("kill"));
        for at in (1..all.len()).rev() {
            let other = random.below(at as u64 + 1);
            all.swap(at, usize::try_from(other).unwrap_or(0));
        }
    }
    all
}

#[tokio::test]
async fn a_coordinator_killed_at_any_record_goes_on_as_if_nothing_had_happened() {
    let mut coordinator = Coordinator::start(Options::default()).await;
    let kind = Kind::processes();
    kind.put(&coordinator).await;
    let began = Instant::now();
    let End { records: total, .. } = live(&mut coordinator, &kind, None).await;
    let (mut tried, mut killed, every) = (0, 0, every_record());
    for point in points(total, every) {
        if !every && began.elapsed() > A_WHILE {
            break;
        }
        let end = live(&mut coordinator, &kind, Some(point)).await;
        (tried, killed) = (tried + 1, killed + u64::from(end.killed));
    }
    println!("kill: {killed} kills at {tried} of {total} records, in {:.0} s", began.elapsed().as_secs_f64());
    // Lives differ by a few records, so that of the last ones some may not have come.
    assert!(killed > 3 && killed + 5 > tried, "{killed} of {tried}");
}

#[tokio::test]
async fn a_coordinator_of_virtual_machines_killed_at_any_record_goes_on_as_if_nothing_had_happened() {
    let Some(images) = test_images("busybox").filter(|_| every_record()) else {
        eprintln!("skipped: `make kill-loop` tries it");
        return;
    };
    let mut coordinator = Coordinator::start(Options { images: Some(images), ..Options::default() }).await;
    let kind = Kind::machines();
    kind.put(&coordinator).await;
    let began = Instant::now();
    let End { records: total, .. } = live(&mut coordinator, &kind, None).await;
    let mut killed = 0;
    for number in 0..WITH_MACHINES {
        let point = 1 + number * (total - 1) / WITH_MACHINES;
        killed += u64::from(live(&mut coordinator, &kind, Some(point)).await.killed);
    }
    println!("kill: {killed} kills of {total} records with machines, in {:.0} s", began.elapsed().as_secs_f64());
    assert_eq!(killed, WITH_MACHINES);
}
