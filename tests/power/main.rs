//! The power of a coordinator is cut while it is written to, again and again: after each boot its store opens, and
//! every write that was acknowledged is there. `make test-power CUTS=n`; `SEED=n` makes the same choices again.
//!
//! `make test-power-broken` shows that it finds a store that does not wait for its disk.

mod load;
mod rig;

use std::time::{Duration, Instant};

use slipstream_shared::{api::LaunchRequest, state::RunState};
use slipstream_tests::{Random, eventually_within, seed_from_environment};

use crate::{load::Load, rig::Rig};

const LIMIT: Duration = Duration::from_secs(120);

const IMAGE: &str = "slipstream: 1\nkind: image\nname: tests/image\nnative: { processes: host }\nplatform: other\n";

/// How much was tried.
#[derive(Debug, Default)]
struct Totals {
    cuts: u32,
    acknowledged: usize,
    others: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_with_the_power() {
    let cuts =
        std::env::var("CUTS").ok().filter(|cuts| !cuts.is_empty()).map_or(3, |cuts| cuts.parse().expect("CUTS=n"));
    let began = Instant::now();
    let (totals, found) = cut_power(None, cuts, seed_from_environment("test-power")).await;
    println!("test-power: {totals:?} in {} s", began.elapsed().as_secs());
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(totals.acknowledged > 20 * cuts as usize, "too little happened: {totals:?}");
}

/// The rig loses what was not flushed, and the test sees it.
#[cfg(feature = "planted-bugs")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_bugs_are_found() {
    let seed = seed_from_environment("test-power-broken");
    for bug in ["no-sync", "whole-values"] {
        let (totals, found) = cut_power(Some(bug), 10, seed).await;
        println!("{bug}: {totals:?}, {} losses", found.len());
        let first = found.first().unwrap_or_else(|| panic!("{bug} was not found: {totals:?}"));
        println!("{bug}: found, the first:\n{first}\n");
    }
}

/// Cuts the power so often, or until something is lost.
async fn cut_power(bug: Option<&'static str>, cuts: u32, seed: u64) -> (Totals, Vec<String>) {
    let mut random = Random::new(seed);
    let mut totals = Totals::default();
    let mut rig = Rig::new(bug).await;
    rig.power_on().await.unwrap_or_else(|error| panic!("{error}"));
    let client = rig.client();
    for module in [IMAGE.to_owned(), load::module()] {
        client.put_module(&module).await.unwrap_or_else(|error| panic!("{error}\n{module}"));
    }
    let request = LaunchRequest { module: "tests/written".to_owned(), ..LaunchRequest::default() };
    let run = client.launch(&request, "once").await.expect("accepted").summary.id.to_string();
    let ready = || async { client.run(&run).await.ok().filter(|run| run.summary.state == RunState::Ready) };
    eventually_within(LIMIT, "the run is Ready", ready).await;
    if bug.is_some() {
        assert!(rig.console().contains("planted bug"), "it was built without the feature `planted-bugs`");
    }

    let (load, mut last) = (Load::default(), 0);
    loop {
        let client = rig.client();
        let mut writers = load.begin(&client, &run, &mut random);
        eventually_within(LIMIT, "writes are acknowledged", || async { (load.acknowledged() > 20).then_some(()) })
            .await;
        tokio::time::sleep(Duration::from_millis(random.between(0, 3000))).await;
        rig.cut();
        writers.shutdown().await;
        totals.cuts += 1;
        let began = Instant::now();
        let looked = async {
            rig.power_on().await?;
            let boot = began.elapsed();
            let (seen, end) = load.examine(&rig.client(), &run, last).await?;
            Ok::<_, String>((boot, seen, end))
        };
        match looked.await {
            Err(error) => return (totals, vec![error]),
            Ok((boot, seen, end)) => {
                println!(
                    "cut {}: {} acknowledged, {} others are there, {} lost; {:.1} s to boot, {:.1} s to look",
                    totals.cuts,
                    seen.acknowledged,
                    seen.others,
                    seen.lost.len(),
                    boot.as_secs_f64(),
                    (began.elapsed() - boot).as_secs_f64()
                );
                (totals.acknowledged, totals.others) =
                    (totals.acknowledged + seen.acknowledged, totals.others + seen.others);
                last = end;
                if !seen.lost.is_empty() || totals.cuts == cuts {
                    return (totals, seen.lost);
                }
            }
        }
    }
}
