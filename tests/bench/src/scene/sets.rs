//! How many durable sets per second, by so many clients, each with a connection of its own and one set under
//! way at a time.

use std::time::{Duration, Instant};

use slipstream_shared::parameter::Key;
use tokio::task::JoinSet;

use super::Setter;
use crate::{
    Run,
    etcd::Etcd,
    ours::{KEYS, Ours, RestSetter, key},
    process::Process,
    row::{Rounds, Rows},
};

/// How many clients, and what is meant to be reached.
const CLIENTS: [(usize, &str); 4] = [(1, ">1.3x"), (16, ">2x"), (64, ">2x"), (256, ">2.5x")];

pub(super) async fn play(run: &Run, rows: &mut Rows) -> anyhow::Result<()> {
    let (rounds, lasts) = if run.quick { (2, Duration::from_secs(1)) } else { (5, Duration::from_secs(3)) };
    for (clients, budget) in CLIENTS {
        let etcd = Etcd::start(&run.data).await?;
        let mut ours = Ours::start(&run.data).await?;
        let client = ours.client().await?;
        // A run of their own for the links: each machine sets what is its own.
        ours.launch(&client, clients.try_into()?).await?;
        let mut by_link: Vec<Box<dyn Setter>> = vec![];
        for agent in ours.agents(clients).await? {
            let own = Key::instance(&agent.instance, "k0");
            by_link.push(Box::new((agent, own)));
        }
        let id = ours.launch(&client, clients.div_ceil(KEYS).try_into()?).await?;
        let mut by_etcd: Vec<Box<dyn Setter>> = vec![];
        let mut by_rest: Vec<Box<dyn Setter>> = vec![];
        for n in 0..clients {
            by_etcd.push(etcd.setter(&format!("k{n}")).await?);
            let setter = RestSetter { rest: ours.rest().await?, run: id.clone(), key: key(n)? };
            by_rest.push(Box::new(setter));
        }
        let mut figures: [Rounds; 4] = Default::default();
        for round in 0..=rounds {
            let lasts = if round == 0 { lasts / 4 } else { lasts };
            let (peer, peer_cpu) = measure(&mut by_etcd, lasts, &etcd.process).await?;
            let (rest, cpu) = measure(&mut by_rest, lasts, &ours.process).await?;
            let (link, link_cpu) = measure(&mut by_link, lasts, &ours.process).await?;
            if round > 0 {
                for (figure, (ours, peer)) in
                    figures.iter_mut().zip([(rest, peer), (link, peer), (cpu, peer_cpu), (link_cpu, peer_cpu)])
                {
                    figure.ours(ours);
                    figure.peer(peer);
                }
            }
        }
        let [rest, link, cpu, link_cpu] = &figures;
        let of = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
        rows.add(&rest.row(&format!("sets by REST, {of}"), "1/s", "etcd", budget))?;
        rows.add(&link.row(&format!("sets by agent link, {of}"), "1/s", "etcd", budget))?;
        rows.add(&cpu.row(&format!("server CPU per set by REST, {of}"), "ms", "etcd", ""))?;
        rows.add(&link_cpu.row(&format!("server CPU per set by agent link, {of}"), "ms", "etcd", ""))?;
    }
    Ok(())
}

/// Sets per second, and the processor time of the server per set in milliseconds.
async fn measure(setters: &mut Vec<Box<dyn Setter>>, lasts: Duration, server: &Process) -> anyhow::Result<(f64, f64)> {
    let (began, cpu) = (Instant::now(), server.cpu()?);
    let mut tasks = JoinSet::new();
    for mut setter in setters.drain(..) {
        tasks.spawn(async move {
            let mut count = 0_u64;
            while began.elapsed() < lasts {
                setter.set(&format!("value number {count}")).await?;
                count += 1;
            }
            anyhow::Ok((count, setter))
        });
    }
    let mut all = 0;
    while let Some(ended) = tasks.join_next().await {
        let (count, setter) = ended??;
        all += count;
        setters.push(setter);
    }
    let (took, cpu) = (began.elapsed(), server.cpu()? - cpu);
    Ok((all as f64 / took.as_secs_f64(), cpu.as_secs_f64() * 1000.0 / all as f64))
}
