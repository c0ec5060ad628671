//! Many waiters on one key: when the last one knows, and what that takes of memory.

use std::time::{Duration, Instant};

use super::{Crowd, Setter};
use crate::{
    Run,
    etcd::Etcd,
    ours::{LinkWaker, Many, Ours, RestSetter, RestWaker, key},
    process::Process,
    row::{Rounds, Rows},
};

/// How the waiters come: all of them, over so many connections, with a request each or over shared streams.
const FORMS: [(usize, usize, &str, bool); 3] = [
    (1_000, 1_000, "1000 waiters, a connection each", true),
    (10_000, 50, "10000 waiters on 50 connections, a request each", true),
    // Own requests beside own streams, and shared links beside shared streams.
    (10_000, 50, "10000 waiters on 50 connections, shared streams", false),
];

/// Until whoever waits is known to the server.
const SETTLE: Duration = Duration::from_millis(500);

pub(super) async fn play(run: &Run, rows: &mut Rows) -> anyhow::Result<()> {
    let rounds = if run.quick { 1 } else { 3 };
    for (all, connections, what, own) in FORMS {
        let each = all / connections;
        let [mut last, mut cpu, mut memory, mut resident]: [Rounds; 4] = Default::default();
        for _ in 0..rounds {
            let etcd = Etcd::start(&run.data).await?;
            let before = etcd.process.resident()?;
            let mut crowd = etcd.crowd("waited", connections, each, own).await?;
            let setter = etcd.setter("waited").await?;
            let figures = measure(&mut *crowd, setter, &etcd.process, run.quick).await?;
            drop((crowd, etcd));
            last.peer(figures.last);
            cpu.peer(figures.cpu / all as f64);
            memory.peer((figures.resident - before as f64) / 1000.0 / all as f64);
            resident.peer(figures.resident / 1e6);

            let mut ours = Ours::start(&run.data).await?;
            let client = ours.client().await?;
            let id = ours.launch(&client, if own { 1 } else { connections.try_into()? }).await?;
            let before = ours.process.resident()?;
            let mut crowd: Box<dyn Crowd> = if own {
                let mut wakers = Vec::new();
                for _ in 0..connections {
                    let rest = ours.rest().await?;
                    for _ in 0..each {
                        wakers.push(RestWaker::new(rest.clone(), &id, key(0)?));
                    }
                }
                Box::new(Many::new(wakers))
            } else {
                let agents = ours.agents(connections).await?;
                let waker = |agent| anyhow::Ok(LinkWaker::new(agent, key(0)?, each as u64));
                Box::new(Many::new(agents.into_iter().map(waker).collect::<Result<_, _>>()?))
            };
            let setter = Box::new(RestSetter { rest: ours.rest().await?, run: id, key: key(0)? });
            let figures = measure(&mut *crowd, setter, &ours.process, run.quick).await?;
            last.ours(figures.last);
            cpu.ours(figures.cpu / all as f64);
            memory.ours((figures.resident - before as f64) / 1000.0 / all as f64);
            resident.ours(figures.resident / 1e6);
        }
        let (woken, most, apart) = if all == connections { ("<0.4x", "", "<40") } else { ("<0.3x", "<60", "") };
        rows.add(&last.row(&format!("{what}: last one woken"), "ms", "etcd", woken))?;
        rows.add(&cpu.row(&format!("{what}: server CPU for each to be woken"), "µs", "etcd", ""))?;
        rows.add(&resident.row(&format!("{what}: resident"), "MB", "etcd", most))?;
        rows.add(&memory.row(&format!("{what}: memory per waiter"), "kB", "etcd", apart))?;
    }
    Ok(())
}

/// What some wake-ups of all have shown.
struct Figures {
    /// Milliseconds until the last one was woken, the median.
    last: f64,
    /// Microseconds of processor time of the server in all, for one wake-up of all.
    cpu: f64,
    /// Resident bytes of the server while all wait.
    resident: f64,
}

async fn measure(
    crowd: &mut dyn Crowd,
    mut setter: Box<dyn Setter>,
    server: &Process,
    quick: bool,
) -> anyhow::Result<Figures> {
    let (mut took, mut cpu, mut resident) = (Vec::new(), Duration::ZERO, 0);
    for n in 0..if quick { 2 } else { 5 } {
        crowd.arm().await?;
        tokio::time::sleep(SETTLE).await;
        resident = resident.max(server.resident()?);
        let (began, before) = (Instant::now(), server.cpu()?);
        let value = n.to_string();
        let (set, last) = tokio::join!(setter.set(&value), crowd.last_woken());
        set?;
        took.push(last?.duration_since(began));
        cpu += server.cpu()? - before;
    }
    let cpu = cpu.as_secs_f64() * 1e6 / took.len() as f64;
    Ok(Figures { last: super::quantile(&mut took, 0.5) * 1000.0, cpu, resident: resident as f64 })
}
