//! What all parts of a simulated world share: the dice, the rules, the trace, and which coordinator is alive.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use slipstream_coordinator::{drive::Runs, seam::Seam};
use slipstream_tests::Random;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::invariants::Rules;

/// One life of the coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) runs: Runs,
    /// Cancelled when it is killed. Nothing it does after that reaches anybody.
    pub(crate) dead: CancellationToken,
}

/// A value that others wait for. They are woken in the order in which they came: those of a watch channel of
/// tokio are woken in one that no seed tells.
#[derive(Debug)]
pub(crate) struct Shown<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Clone> Shown<T> {
    pub(crate) fn new(value: T) -> Self {
        Shown { value: Mutex::new(value), changed: Notify::new() }
    }

    pub(crate) fn show(&self, value: T) {
        *lock(&self.value) = value;
        self.changed.notify_waiters();
    }

    pub(crate) fn now(&self) -> T {
        lock(&self.value).clone()
    }

    /// Waits until the value is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&T) -> bool) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let value = self.now();
            if wanted(&value) {
                return value;
            }
            changed.await;
        }
    }
}

/// The world of one seed.
#[derive(Debug)]
pub(crate) struct Sim {
    random: Mutex<Random>,
    rules: Mutex<Rules>,
    trace: Mutex<Vec<String>>,
    start: Instant,
    /// Runs what belongs to the world, not to a coordinator.
    tasks: Seam,
    life: Shown<Option<Life>>,
    /// Whether things go wrong.
    troubled: Shown<bool>,
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Sim {
            random: Mutex::new(Random::new(seed)),
            rules: Mutex::default(),
            trace: Mutex::default(),
            start: Instant::now(),
            tasks: Seam::seeded(seed),
            life: Shown::new(None),
            troubled: Shown::new(true),
        })
    }

    pub(crate) fn dice(&self) -> MutexGuard<'_, Random> {
        lock(&self.random)
    }

    /// True in so many of a thousand cases, while things go wrong at all.
    pub(crate) fn mishap(&self, chance: u64) -> bool {
        let hit = self.dice().below(1000) < chance;
        hit && self.troubled.now()
    }

    /// A delay: mostly short, sometimes long while things go wrong.
    pub(crate) fn delay(&self, usual: u64, worst: u64) -> Duration {
        let millis = if self.mishap(30) { self.dice().between(usual, worst) } else { self.dice().below(usual + 1) };
        Duration::from_millis(millis)
    }

    pub(crate) fn rules(&self) -> MutexGuard<'_, Rules> {
        lock(&self.rules)
    }

    /// Milliseconds since the beginning of the world, whatever clocks show.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        let line = format!("{:>10.3} {}", self.start.elapsed().as_secs_f64(), what());
        lock(&self.trace).push(line);
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        lock(&self.trace).clone()
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn(work));
    }

    pub(crate) fn set_life(&self, life: Option<Life>) {
        self.life.show(life);
    }

    pub(crate) fn heal(&self) {
        self.troubled.show(false);
        let now = self.now();
        self.rules().healed(now);
    }

    /// The coordinator that lives, or the next one.
    pub(crate) async fn life(&self) -> Life {
        let alive = |life: &Option<Life>| life.as_ref().is_some_and(|life| !life.dead.is_cancelled());
        loop {
            if let Some(life) = self.life.until(alive).await {
                return life;
            }
        }
    }

    /// Asks the coordinator something. None: it died before it answered.
    pub(crate) async fn ask<T, F: Future<Output = T>>(&self, what: impl FnOnce(Runs) -> F) -> Option<T> {
        let life = self.life().await;
        let request = self.delay(3, 500);
        tokio::time::sleep(request).await;
        let answer = tokio::select! {
            biased;
            () = life.dead.cancelled() => None,
            answer = what(life.runs.clone()) => Some(answer),
        };
        let back = self.delay(3, 500);
        tokio::time::sleep(back).await;
        // Both ways can be lost.
        answer.filter(|_| !self.mishap(20))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
