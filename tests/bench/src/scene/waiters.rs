//! Many waiters on one key over 200 connections: when the last one knows, and what that takes of memory.

use std::time::{Duration, Instant};

use super::{Crowd, Setter};
use crate::{
    Run,
    etcd::Etcd,
    ours::{LinkWaker, Many, Ours, RestSetter, RestWaker, key},
    process::Process,
    row::{Rounds, Rows},
};

const CONNECTIONS: usize = 200;

/// Until whoever waits is known to the server.
const SETTLE: Duration = Duration::from_millis(500);

pub(super) async fn play(run: &Run, rows: &mut Rows) -> anyhow::Result<()> {
    let rounds = if run.quick { 1 } else { 3 };
    for all in [1_000, 10_000] {
        let each = all / CONNECTIONS;
        // Own requests beside own streams, and shared links beside shared streams.
        for (form, own) in [("a request each", true), ("shared streams", false)] {
            let (mut last, mut memory, mut resident) = (Rounds::default(), Rounds::default(), Rounds::default());
            for _ in 0..rounds {
                let etcd = Etcd::start(&run.data).await?;
                let before = etcd.process.resident()?;
                let mut crowd = etcd.crowd("waited", CONNECTIONS, each, own).await?;
                let setter = etcd.setter("waited").await?;
                let (took, peak) = measure(&mut *crowd, setter, &etcd.process, run.quick).await?;
                drop((crowd, etcd));
                last.peer(took);
                memory.peer((peak - before as f64) / 1024.0 / all as f64);
                resident.peer(peak / 1048576.0);

                let mut ours = Ours::start(&run.data).await?;
                let client = ours.client().await?;
                let id = ours.launch(&client, if own { 1 } else { CONNECTIONS.try_into()? }).await?;
                let before = ours.process.resident()?;
                let mut crowd: Box<dyn Crowd> = if own {
                    let mut wakers = Vec::new();
                    for _ in 0..CONNECTIONS {
                        let rest = ours.rest().await?;
                        for _ in 0..each {
                            wakers.push(RestWaker::new(rest.clone(), &id, key(0)?));
                        }
                    }
                    Box::new(Many::new(wakers))
                } else {
                    let agents = ours.agents(CONNECTIONS).await?;
                    let waker = |agent| anyhow::Ok(LinkWaker::new(agent, key(0)?, each as u64));
                    Box::new(Many::new(agents.into_iter().map(waker).collect::<Result<_, _>>()?))
                };
                let setter = Box::new(RestSetter { rest: ours.rest().await?, run: id, key: key(0)? });
                let (took, peak) = measure(&mut *crowd, setter, &ours.process, run.quick).await?;
                last.ours(took);
                memory.ours((peak - before as f64) / 1024.0 / all as f64);
                resident.ours(peak / 1048576.0);
            }
            let what = format!("{all} waiters, {form}");
            let budget = if all == 10_000 { "<0.3x" } else { "<0.4x" };
            rows.add(&last.row(&format!("{what}: last one woken"), "ms", "etcd", budget))?;
            rows.add(&resident.row(
                &format!("{what}: resident"),
                "MiB",
                "etcd",
                if all == 10_000 { "<60" } else { "" },
            ))?;
            rows.add(&memory.row(&format!("{what}: memory per waiter"), "KiB", "etcd", ""))?;
        }
    }
    Ok(())
}

/// The median of some wake-ups in milliseconds, and the resident bytes of the server while all wait.
async fn measure(
    crowd: &mut dyn Crowd,
    mut setter: Box<dyn Setter>,
    server: &Process,
    quick: bool,
) -> anyhow::Result<(f64, f64)> {
    let mut took = Vec::new();
    let mut resident = 0;
    for n in 0..if quick { 2 } else { 5 } {
        crowd.arm().await?;
        tokio::time::sleep(SETTLE).await;
        resident = resident.max(server.resident()?);
        let began = Instant::now();
        let value = n.to_string();
        let (set, last) = tokio::join!(setter.set(&value), crowd.last_woken());
        set?;
        took.push(last?.duration_since(began));
    }
    Ok((super::quantile(&mut took, 0.5) * 1000.0, resident as f64))
}
