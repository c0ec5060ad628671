//! Runs that come and go for a long time: what they need must come and go as well.
//!
//! Each run has one machine that enrols, sets, waits and becomes ready; then the run is terminated. What stays of
//! it is its history on disk, by design, so the file of the store may grow, by a bounded amount per run; memory by
//! what sled remembers of it; descriptors and the number of files may not.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use slipstream_shared::{client::Client, context::Context, state::RunState};
use tokio::task::JoinSet;

use crate::{Soak, agent::Agent, fleet, ours::Ours};

/// Between two looks at the process.
const LOOK: Duration = Duration::from_secs(1);

/// Runs under way at a time, when the greatest rate is looked for.
const AT_ONCE: usize = 32;

/// Growth from the second quarter of the time to the last one that is taken for noise.
const MEMORY: f64 = 4.0 * 1024.0 * 1024.0;

/// What the store may keep in memory of a finished run: sled remembers where each page of its history lies.
const MEMORY_PER_RUN: f64 = 512.0;

/// What a finished run may take on disk.
const DISK_PER_RUN: f64 = 32.0 * 1024.0;

/// One look.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    resident: f64,
    descriptors: f64,
    files: f64,
    disk: f64,
    runs: u64,
}

/// Has runs come and go, and fails when something grows.
pub(crate) async fn soak(soak: &Soak) -> anyhow::Result<()> {
    std::fs::create_dir_all(&soak.data)?;
    let all = Duration::from_secs(soak.seconds);
    let mut ours = Ours::start(&soak.data).await?;
    let client = ours.client().await?;
    let greatest = rate(&mut ours, &client, all / 20, None).await?.1;
    let pause = Duration::from_secs_f64(2.0 / greatest);
    eprintln!("greatest rate: {greatest:.1} runs/s; going on for {} s at half of it", soak.seconds);
    let (looks, reached) = rate(&mut ours, &client, all, Some(pause)).await?;
    eprintln!("rate: {reached:.1} runs/s, {} runs", looks.last().map_or(0, |look| look.runs));
    judge(&looks)
}

/// Has runs come and go as fast as [`AT_ONCE`] allows, or one every `pause`.
async fn rate(
    ours: &mut Ours,
    client: &Client,
    lasts: Duration,
    pause: Option<Duration>,
) -> anyhow::Result<(Vec<Look>, f64)> {
    let began = Instant::now();
    let (mut looks, mut under_way, mut done) = (Vec::new(), JoinSet::new(), 0_u64);
    let mut clock = tokio::time::interval(LOOK);
    let mut next = tokio::time::interval(pause.unwrap_or(Duration::from_micros(100)));
    next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while began.elapsed() < lasts || !under_way.is_empty() {
        let launching = began.elapsed() < lasts && (pause.is_some() || under_way.len() < AT_ONCE);
        tokio::select! {
            _ = clock.tick() => looks.push(look(ours, done)?),
            _ = next.tick(), if launching => {
                ours.launch(client, 1).await?;
                let context = ours.contexts.recv().await.context("the coordinator has ended")?;
                under_way.spawn(run(client.clone(), context));
            }
            ended = under_way.join_next(), if !under_way.is_empty() => {
                ended.context("one was there")???;
                done += 1;
            }
        }
    }
    Ok((looks, done as f64 / began.elapsed().as_secs_f64()))
}

/// The life of one run, from its context to its end.
async fn run(client: Client, context: Context) -> anyhow::Result<()> {
    let id = context.run.to_string();
    let mut agent = Agent::start(&context).await?;
    fleet::serve_until_ready(&mut agent).await?;
    client.terminate(&id).await?;
    drop(agent);
    loop {
        let state = client.run(&id).await?.summary.state;
        if state.is_final() {
            ensure!(state == RunState::Done, "run {id} has ended as {state}");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn look(ours: &Ours, runs: u64) -> anyhow::Result<Look> {
    let (mut files, mut disk) = (0.0, 0.0);
    count(ours.folder(), &mut files, &mut disk)?;
    let process = &ours.process;
    Ok(Look { resident: process.resident()? as f64, descriptors: process.descriptors()? as f64, files, disk, runs })
}

fn count(folder: &Path, files: &mut f64, disk: &mut f64) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        // Gone between two looks.
        let Ok(entry) = entry else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            count(&entry.path(), files, disk)?;
        } else {
            *files += 1.0;
            *disk += metadata.len() as f64;
        }
    }
    Ok(())
}

/// Compares the second quarter of the time, when everything has its size, with the last one.
fn judge(looks: &[Look]) -> anyhow::Result<()> {
    let quarter = looks.len() / 4;
    ensure!(quarter > 1, "too short to say anything: {} looks", looks.len());
    let (early, late) = (&looks[quarter..2 * quarter], &looks[looks.len() - quarter..]);
    let mean = |looks: &[Look], figure: fn(&Look) -> f64| looks.iter().map(figure).sum::<f64>() / looks.len() as f64;
    let grown = |figure: fn(&Look) -> f64| mean(late, figure) - mean(early, figure);
    let runs = grown(|look| look.runs as f64);
    ensure!(runs >= 1.0, "no run has ended");
    let figures = [
        ("resident memory beside that of the history", grown(|look| look.resident) - MEMORY_PER_RUN * runs, MEMORY),
        ("open descriptors", grown(|look| look.descriptors), 8.0),
        ("files", grown(|look| look.files) / runs, 0.01),
        ("bytes on disk per run", grown(|look| look.disk) / runs, DISK_PER_RUN),
    ];
    let last = looks.last().copied().unwrap_or_default();
    let all = grown(|look| look.resident);
    eprintln!("resident memory: {all:+.0} over {runs:.0} runs, {:.0} for each", all / runs);
    eprintln!(
        "at the end: {:.1} MiB resident, {} descriptors, {} files, {:.1} MiB on disk",
        last.resident / 1048576.0,
        last.descriptors,
        last.files,
        last.disk / 1048576.0
    );
    for (what, growth, limit) in figures {
        eprintln!("{what}: {growth:+.2} over {runs:.0} runs (at most {limit})");
    }
    let broken: Vec<&str> =
        figures.iter().filter(|(_, growth, limit)| growth > limit).map(|(what, ..)| *what).collect();
    ensure!(broken.is_empty(), "grows without end: {}", broken.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(grow: impl Fn(f64) -> Look) -> Vec<Look> {
        (0..100).map(|n| Look { runs: n * 10, ..grow(n as f64) }).collect()
    }

    #[test]
    fn what_grows_only_in_the_beginning_is_flat() {
        judge(&looks(|n| Look { resident: n.min(20.0) * 1e7, descriptors: 30.0, files: 9.0, ..Look::default() }))
            .expect("flat");
        judge(&looks(|n| Look { disk: n * 10.0 * 10_000.0, ..Look::default() })).expect("history is kept");
        judge(&looks(|n| Look { resident: n * 10.0 * 500.0, ..Look::default() })).expect("and known where");
    }

    #[test]
    fn what_grows_with_each_run_is_named() {
        let said = |grow: fn(f64) -> Look| judge(&looks(grow)).expect_err("it grows").to_string();
        assert!(
            said(|n| Look { resident: n * 1e6, ..Look::default() })
                .ends_with("resident memory beside that of the history")
        );
        assert!(said(|n| Look { descriptors: n, ..Look::default() }).ends_with("open descriptors"));
        assert!(said(|n| Look { files: n * 10.0, ..Look::default() }).ends_with("files"));
        assert!(said(|n| Look { disk: n * 1e7, ..Look::default() }).ends_with("bytes on disk per run"));
    }
}
