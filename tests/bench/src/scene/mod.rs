//! What is measured, scene by scene.

mod agent;
mod fleet;
mod idle;
mod latency;
mod limit;
mod real;
mod sets;
mod soak;
mod waiters;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;

pub(crate) use self::soak::soak;
use crate::{Run, row::Rows};

/// Somebody who sets a value.
#[async_trait]
pub(crate) trait Setter: Send {
    /// Returns when it is durable.
    async fn set(&mut self, value: &str) -> anyhow::Result<()>;
}

/// Somebody who waits for the next write of a value.
#[async_trait]
pub(crate) trait Waker: Send {
    /// Begins to wait.
    async fn arm(&mut self) -> anyhow::Result<()>;

    /// When it was woken.
    async fn woken(&mut self) -> anyhow::Result<Instant>;
}

/// Many who wait for the same.
#[async_trait]
pub(crate) trait Crowd: Send {
    /// Begins to wait.
    async fn arm(&mut self) -> anyhow::Result<()>;

    /// When the last of them was woken.
    async fn last_woken(&mut self) -> anyhow::Result<Instant>;
}

/// The scenes by name, in the order in which they are played.
pub(crate) const SCENES: [&str; 8] = ["limit", "latency", "sets", "waiters", "fleet", "real", "agent", "idle"];

/// Plays what is asked for.
pub(crate) async fn play(run: &Run) -> anyhow::Result<()> {
    for name in &run.only {
        anyhow::ensure!(
            SCENES.contains(&name.as_str()),
            "there is no scene `{name}`; there are: {}",
            SCENES.join(", ")
        );
    }
    std::fs::create_dir_all(&run.data).with_context(|| format!("cannot make {}", run.data.display()))?;
    let mut rows = Rows::begin(&run.rows, run.only.is_empty())?;
    let began = Instant::now();
    for scene in SCENES.into_iter().filter(|name| run.only.is_empty() || run.only.iter().any(|only| only == name)) {
        eprintln!("[{:6.1}s] {scene}", began.elapsed().as_secs_f64());
        match scene {
            "limit" => limit::play(run, &mut rows).await,
            "latency" => latency::play(run, &mut rows).await,
            "sets" => sets::play(run, &mut rows).await,
            "waiters" => waiters::play(run, &mut rows).await,
            "fleet" => fleet::play(run, &mut rows).await,
            "real" => real::play(run, &mut rows).await,
            "agent" => agent::play(run, &mut rows).await,
            _ => idle::play(run, &mut rows).await,
        }
        .with_context(|| format!("scene {scene}"))?;
    }
    eprintln!("[{:6.1}s] done", began.elapsed().as_secs_f64());
    Ok(())
}

/// The value below which that part of the measurements lie.
fn quantile(measured: &mut [Duration], part: f64) -> f64 {
    measured.sort_unstable();
    let place = ((measured.len() as f64 * part).ceil() as usize).clamp(1, measured.len().max(1)) - 1;
    measured.get(place).map_or(f64::NAN, Duration::as_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut measured: Vec<Duration> = (1..=100).rev().map(Duration::from_secs).collect();
        assert_eq!(quantile(&mut measured, 0.5), 50.0);
        assert_eq!(quantile(&mut measured, 0.99), 99.0);
        assert_eq!(quantile(&mut measured[..1], 0.99), 1.0);
    }
}
