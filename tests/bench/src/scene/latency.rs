//! From a set until who waits for it knows, everything durable.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Setter, Waker, quantile};
use crate::{
    Run,
    etcd::Etcd,
    ours::{LinkWaker, Ours, RestSetter, RestWaker, key},
    row::{Rounds, Rows},
};

/// From the beginning of a wait to the set that ends it: long enough that everybody waits.
const PAUSE: Duration = Duration::from_millis(2);

/// A pair that is measured, and its name.
type Pair = (&'static str, Box<dyn Setter>, Box<dyn Waker>);

pub(super) async fn play(run: &Run, rows: &mut Rows) -> anyhow::Result<()> {
    let (rounds, tries) = if run.quick { (3, 200) } else { (7, 1000) };
    let etcd = Etcd::start(&run.data).await?;
    let mut ours = Ours::start(&run.data).await?;
    let client = ours.client().await?;
    let id = ours.launch(&client, 2).await?;
    let mut agents = ours.agents(2).await?.into_iter();
    let (first, second) = (agents.next().context("one")?, agents.next().context("two")?);
    let link = (first, key(0)?);
    let setter = RestSetter { rest: ours.rest().await?, run: id.clone(), key: key(1)? };
    let pairs: [Pair; 3] = [
        ("etcd", etcd.setter("latency").await?, etcd.waker("latency").await?),
        ("by agent link", Box::new(link), Box::new(LinkWaker::new(second, key(0)?, 1))),
        ("by REST long poll", Box::new(setter), Box::new(RestWaker::new(ours.rest().await?, &id, key(1)?))),
    ];
    let [mut peer, mut by_link, mut by_rest] = pairs;
    let mut figures: [[Rounds; 2]; 2] = Default::default();
    for round in 0..=rounds {
        let base = measure(&mut peer, tries).await?;
        for (figures, pair) in figures.iter_mut().zip([&mut by_link, &mut by_rest]) {
            let measured = measure(pair, tries).await?;
            // The first round warms up.
            if round > 0 {
                for (figure, (ours, peer)) in figures.iter_mut().zip(measured.into_iter().zip(base)) {
                    figure.ours(ours);
                    figure.peer(peer);
                }
            }
        }
    }
    for ([middle, slow], (name, budget)) in figures.iter().zip([(by_link.0, "<0.8x"), (by_rest.0, "")]) {
        rows.add(&middle.row(&format!("set to wake {name}, p50"), "ms", "etcd", budget))?;
        rows.add(&slow.row(&format!("set to wake {name}, p99"), "ms", "etcd", ""))?;
    }
    Ok(())
}

/// Median and 99th percentile in milliseconds.
async fn measure((name, setter, waker): &mut Pair, tries: usize) -> anyhow::Result<[f64; 2]> {
    let mut took = Vec::with_capacity(tries);
    for n in 0..tries {
        let once = async {
            waker.arm().await?;
            tokio::time::sleep(PAUSE).await;
            let began = Instant::now();
            let value = n.to_string();
            let (set, woken) = tokio::join!(setter.set(&value), waker.woken());
            set?;
            anyhow::Ok(woken?.duration_since(began))
        };
        took.push(once.await.with_context(|| name.to_string())?);
    }
    Ok([0.5, 0.99].map(|part| quantile(&mut took, part) * 1000.0))
}
