//! Whole worlds on virtual time, each following from its seed: the product's run actors, driver and decisions,
//! with a cloud, machines, users and a disk of which anything can be late, lost, doubled, out of order or dead.
//!
//! `make simulate SEEDS=5000` lives through so many; seeds that break a rule ([`invariants`]) are named,
//! the first with the end of its trace, and `SEED=n make simulate` lives through it again, with the whole trace.

mod cloud;
mod invariants;
mod machine;
mod plan;
mod sim;
mod store;
mod users;
mod world;

use std::time::{Duration, Instant};

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
    let mut found: Vec<String> = Vec::new();
    let (mut worlds, mut events, mut acknowledged, mut kills, mut seconds) = (0, 0, 0, 0, 0);
    for seed in first..first + seeds.unwrap_or(FEW) {
        let outcome = live(seed);
        (worlds, events, kills) = (worlds + 1, events + outcome.events, kills + outcome.kills);
        (acknowledged, seconds) = (acknowledged + outcome.acknowledged, seconds + outcome.seconds);
        if let Some(broken) = &outcome.broken {
            if found.is_empty() {
                println!("{}", end_of(&outcome));
            }
            found.push(format!("seed {seed} breaks a rule: {broken}"));
        }
        if found.len() as u64 == enough {
            break;
        }
        if seeds.is_none() && began.elapsed() > LONG_ENOUGH {
            break;
        }
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "simulate: {worlds} worlds in {took:.1} s ({:.0} a minute): {} hours, {events} events, {acknowledged} acknowledged, {kills} kills",
        60.0 * f64::from(u32::try_from(worlds).unwrap_or(u32::MAX)) / took,
        seconds / 3600,
    );
    assert!(found.is_empty(), "SEED=n shows all of one\n{}", found.join("\n"));
    assert!(events > worlds * 10 && acknowledged > worlds && kills > worlds / 2, "too little happens");
}

fn end_of(outcome: &Outcome) -> String {
    let last = outcome.trace.len().saturating_sub(120);
    outcome.trace[last..].join("\n")
}

/// Every bug that is there to be found is found. Each in a process of its own: a program has one bug or none.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs_are_found() {
    let bugs = ["answer-first", "apply-twice", "blind-compare", "no-report-deadline"];
    for bug in bugs {
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
