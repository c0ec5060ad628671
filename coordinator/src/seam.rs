//! The one seam to what differs between the real world and a simulation: the clock, randomness, and
//! where tasks run.
//!
//! Everything in the coordinator asks here; `clippy.toml` bans the direct calls. Durations are
//! measured by `tokio::time`, which a test can pause, so wall-clock time here follows it as well.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use ring::rand::{SecureRandom as _, SystemRandom};
use slipstream_shared::{event::Record, id::RunId};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Milliseconds since 1970, the resolution of all recorded times.
pub type Millis = u64;

/// Clock, randomness and tasks.
#[derive(Clone)]
pub struct Seam {
    source: Arc<Source>,
    began: tokio::time::Instant,
    tasks: TaskTracker,
    stop: CancellationToken,
}

enum Source {
    Real(SystemRandom),
    /// Starts at a fixed time and draws from a seed.
    Seeded {
        /// By how much a test has set the clock forward, in milliseconds.
        ahead: AtomicI64,
        state: AtomicU64,
        lock: Mutex<()>,
    },
}

/// Where a seeded world begins: 2023-11-14.
const SEEDED_EPOCH: Millis = 1_700_000_000_000;

impl Seam {
    /// The real clock and the system's randomness.
    #[must_use]
    pub fn real() -> Self {
        Seam::of(Source::Real(SystemRandom::new()))
    }

    /// A world that begins at a fixed time, follows tokio's clock, and draws from `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Seam::of(Source::Seeded { ahead: AtomicI64::new(0), state: AtomicU64::new(seed), lock: Mutex::new(()) })
    }

    /// Another coordinator in the same seeded world: its clock goes on, its tasks are its own.
    #[must_use]
    pub fn again(&self) -> Self {
        Seam { source: Arc::clone(&self.source), began: self.began, ..Seam::of(Source::Real(SystemRandom::new())) }
    }

    fn of(source: Source) -> Self {
        let began = tokio::time::Instant::now();
        Seam { source: Arc::new(source), began, tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Now, as the clock of the machine shows it. That may be set at any time: what measures how long
    /// something takes asks [`Seam::steady`].
    #[must_use]
    pub fn now(&self) -> Millis {
        match &*self.source {
            Source::Real(_) => {
                #[expect(clippy::disallowed_methods, reason = "this is the seam")]
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                now.map_or(0, millis)
            }
            Source::Seeded { ahead, .. } => {
                (SEEDED_EPOCH + self.steady()).saturating_add_signed(ahead.load(Ordering::Relaxed))
            }
        }
    }

    /// Milliseconds since this seam was made. Never goes back, and passes at the same pace whatever is done
    /// to the clock of the machine.
    #[must_use]
    pub fn steady(&self) -> Millis {
        millis(self.began.elapsed())
    }

    /// Sets the clock of a seeded world forward, or back; nothing in the real one.
    pub fn set_clock_by(&self, forward: i64) {
        if let Source::Seeded { ahead, .. } = &*self.source {
            ahead.fetch_add(forward, Ordering::Relaxed);
        }
    }

    /// Fills `bytes` with randomness fit for secrets (in a seeded world: repeatable).
    pub fn fill(&self, bytes: &mut [u8]) {
        match &*self.source {
            Source::Real(random) => random.fill(bytes).expect("the system has randomness"),
            Source::Seeded { state, lock, .. } => {
                let _held = lock.lock().expect("nothing panics while holding it");
                for chunk in bytes.chunks_mut(8) {
                    let next = splitmix(state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed));
                    chunk.copy_from_slice(&next.to_le_bytes()[..chunk.len()]);
                }
            }
        }
    }

    /// A random number, for jitter.
    #[must_use]
    pub fn random_u32(&self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// A new run id.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        let mut random = [0; 10];
        self.fill(&mut random);
        RunId::new(self.now(), random)
    }

    /// Runs a task that ends when its work is done or [`Seam::stopping`] says so.
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(future)
    }

    /// Cancelled when the coordinator is to stop.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Tells all tasks to stop and waits for them, at most `grace`. True when all have ended.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

impl fmt::Debug for Seam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seam").finish_non_exhaustive()
    }
}

/// The time of a record in milliseconds.
#[must_use]
pub fn time_of(record: &Record) -> Millis {
    u64::try_from(record.at.as_millisecond()).unwrap_or(0)
}

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Sebastiano Vigna's SplitMix64: enough for a simulation, never used for secrets.
fn splitmix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_seeded_world_repeats_itself_and_follows_paused_time() {
        let (a, b) = (Seam::seeded(5), Seam::seeded(5));
        assert_eq!(a.run_id(), b.run_id());
        let before = a.now();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(a.now() - before, 60_000);
    }
}
