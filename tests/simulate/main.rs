//! Whole worlds on virtual time, each following from its seed: the product's run actors, driver and decisions,
//! with a cloud, machines, users and a disk of which anything can be late, lost, doubled, out of order or dead.
//!
//! `make simulate SEEDS=5000` lives through so many; seeds that break a rule ([`invariants`]) are named,
//! the first with the end of its trace, and `SEED=n make simulate` lives through it again, with the whole trace.

mod cloud;
mod invariants;
mod machine;
mod operators;
mod plan;
mod sim;
mod store;
mod users;
mod work;
mod world;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use world::{Outcome, live};

/// How many worlds `make test` lives through, unless that takes longer than [`LONG_ENOUGH`].
const FEW: u64 = 100;

/// After so many worlds that break a rule no more are tried, unless the variable of this name has another number.
const ENOUGH: u64 = 10;

const LONG_ENOUGH: Duration = Duration::from_secs(20);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a whole number")))
}

/// What came of many worlds.
#[derive(Debug, Default)]
struct Sum {
    worlds: u64,
    runs: u64,
    operations: u64,
    events: u64,
    acknowledged: u64,
    kills: u64,
    seconds: u64,
    /// Seeds that break a rule, and which.
    found: BTreeMap<u64, String>,
    /// The end of the trace of the first that was found.
    trace: Option<String>,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.worlds += 1;
        self.runs += outcome.runs;
        self.operations += outcome.operations;
        self.events += outcome.events;
        self.acknowledged += outcome.acknowledged;
        self.kills += outcome.kills;
        self.seconds += outcome.seconds;
        if let Some(broken) = &outcome.broken {
            self.trace.get_or_insert_with(|| end_of(outcome));
            self.found.insert(seed, format!("seed {seed} breaks a rule: {broken}"));
        }
    }
}

/// Lives through the worlds of some seeds, on all processors, until `enough` of them break a rule.
fn live_through(seeds: std::ops::Range<u64>, enough: u64, within: Option<Duration>) -> Sum {
    let (next, sum, began) = (AtomicU64::new(seeds.start), Mutex::new(Sum::default()), Instant::now());
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || within.is_some_and(|within| began.elapsed() > within) {
                return;
            }
            let outcome = live(seed);
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            sum.add(seed, &outcome);
            if sum.found.len() as u64 >= enough {
                return next.store(seeds.end, Ordering::Relaxed);
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(worker);
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn no_world_breaks_a_rule() {
    if let Some(seed) = number("SEED") {
        let outcome = live(seed);
        println!("{}", outcome.trace.join("\n"));
        assert!(outcome.broken.is_none(), "seed {seed}: {}", outcome.broken.unwrap_or_default());
        return;
    }
    let (seeds, first) = (number("SEEDS"), number("FIRST").unwrap_or(1));
    let enough = number("ENOUGH").unwrap_or(ENOUGH);
    let began = Instant::now();
    let within = seeds.is_none().then_some(LONG_ENOUGH);
    let sum = live_through(first..first + seeds.unwrap_or(FEW), enough, within);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let per_minute = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / minutes;
    println!("{}", sum.trace.unwrap_or_default());
    println!(
        "simulate: {} worlds with {} runs in {:.1} s ({:.0} runs a minute): {} hours, {} events, {} acknowledged, \
         {} operations, {} kills",
        sum.worlds,
        sum.runs,
        minutes * 60.0,
        per_minute(sum.runs),
        sum.seconds / 3600,
        sum.events,
        sum.acknowledged,
        sum.operations,
        sum.kills,
    );
    let found: Vec<&str> = sum.found.values().map(String::as_str).collect();
    assert!(found.is_empty(), "SEED=n shows all of one\n{}", found.join("\n"));
    let enough = sum.events > sum.worlds * 10 && sum.acknowledged > sum.worlds && sum.kills > sum.worlds / 2;
    assert!(enough && sum.operations > sum.worlds / 4, "too little happens");
}

fn end_of(outcome: &Outcome) -> String {
    let last = outcome.trace.len().saturating_sub(120);
    outcome.trace[last..].join("\n")
}

/// Every bug that is there to be found is found. Each in a process of its own: a program has one bug or none.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs_are_found() {
    for (bug, _) in slipstream_coordinator::planted::Bug::ALL {
        let began = Instant::now();
        let mut test = std::process::Command::new(std::env::current_exe().expect("this test"));
        test.args(["--exact", "no_world_breaks_a_rule", "--nocapture"]);
        test.env("SLIPSTREAM_PLANTED_BUG", bug)
            .env("SEEDS", "300")
            .env("ENOUGH", "1")
            .env_remove("SEED")
            .env("RUST_BACKTRACE", "0");
        let output = test.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let found = said.lines().find(|line| line.contains(" breaks a rule: "));
        let found = found.unwrap_or_else(|| panic!("{bug} was not found:\n{said}"));
        println!("| {bug} | {found} | {:.1} s |", began.elapsed().as_secs_f64());
    }
}

#[test]
fn a_seed_is_one_world() {
    for seed in 1..6 {
        let (first, second) = (live(seed), live(seed));
        let differs = first.trace.iter().zip(&second.trace).position(|(a, b)| a != b);
        assert_eq!(differs.map(|at| (&first.trace[at], &second.trace[at])), None, "seed {seed}");
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
    }
}
