//! What a coordinator costs that has nothing to do, and what runs cost that are over or go on by themselves.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    Run,
    ours::Ours,
    row::{Rounds, Rows},
};

/// Requests under way at a time.
const AT_ONCE: usize = 200;

pub(super) async fn play(run: &Run, rows: &mut Rows) -> anyhow::Result<()> {
    let (finished, active, look) = if run.quick { (500, 100, 5) } else { (10_000, 1_000, 30) };
    let look = Duration::from_secs(look);
    let ours = Ours::start(&run.data).await?;
    let Idle { resident, wakeups, between, cpu } = idle(&ours, look).await?;
    rows.add(&one(resident * 1048576.0 / 1e6).row("idle: resident", "MB", "", "<20"))?;
    rows.add(&one(between).row("idle: between two wake-ups of the thread that is woken most", "s", "", ">1"))?;
    rows.add(&one(wakeups).row("idle: wake-ups of all threads", "1/s", "", ""))?;
    rows.add(&one(cpu).row("idle: CPU", "ms/s", "", ""))?;

    let client = ours.client().await?;
    let before = ours.process.resident()? as f64;
    let launch = |_| async { ours.launch(&client, 2).await };
    stream::iter(0..active).map(launch).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    let per_run = (ours.process.resident()? as f64 - before) / 1024.0 / f64::from(active);
    rows.add(&one(per_run).row(&format!("memory per active run of 2 machines, {active} of them"), "KiB", "", ""))?;
    drop(ours);

    let ours = Ours::start(&run.data).await?;
    let client = ours.client().await?;
    let through = |_| async {
        let id = ours.launch(&client, 1).await?;
        client.terminate(&id).await?;
        client.wait(&id, &["ss:state=Cancelled".parse()?], true, Duration::from_secs(60)).await.map(drop).or_else(over)
    };
    let began = Instant::now();
    stream::iter(0..finished).map(through).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    let rate = f64::from(finished) / began.elapsed().as_secs_f64();
    rows.add(&one(rate).row("runs launched, terminated and gone", "1/s", "", ""))?;
    let (ours, started) = ours.restart()?;
    let Idle { resident, .. } = idle(&ours, Duration::from_secs(2)).await?;
    let what = format!("start with {finished} finished runs");
    rows.add(&one(started.as_secs_f64() * 1000.0).row(&what, "ms", "", ""))?;
    rows.add(&one(resident).row(&format!("{what}: resident"), "MiB", "", ""))
}

/// A run that has ended refuses waits: that is what was waited for.
fn over(error: slipstream_shared::client::ClientError) -> anyhow::Result<()> {
    if error.code() == Some("run_ended") { Ok(()) } else { Err(error.into()) }
}

fn one(value: f64) -> Rounds {
    let mut rounds = Rounds::default();
    rounds.ours(value);
    rounds
}

/// What a process costs that has nothing to do.
struct Idle {
    /// MiB.
    resident: f64,
    /// Of all threads, per second.
    wakeups: f64,
    /// Seconds between two wake-ups of one thread.
    between: f64,
    /// Milliseconds of processor time per second.
    cpu: f64,
}

async fn idle(ours: &Ours, look: Duration) -> anyhow::Result<Idle> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, cpu) = (ours.process.wakeups()?, ours.process.cpu()?);
    tokio::time::sleep(look).await;
    let look = look.as_secs_f64();
    let cpu = (ours.process.cpu()? - cpu).as_secs_f64() * 1000.0;
    let woken = ours.process.wakeups()?.into_iter().map(|(thread, n)| n - before.get(&thread).copied().unwrap_or(0));
    let woken: Vec<u64> = woken.collect();
    // So many wake-ups have one pause less between them.
    let pauses = woken.iter().max().copied().unwrap_or(0).saturating_sub(1);
    Ok(Idle {
        resident: ours.process.resident()? as f64 / 1048576.0,
        wakeups: woken.iter().sum::<u64>() as f64 / look,
        between: look / pauses.max(1) as f64,
        cpu: cpu / look,
    })
}
