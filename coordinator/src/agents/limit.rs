//! Bounds what enrolment, open to anybody, can cost: how many at once, and how many lies per second.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// Requests that are read and checked at once; others wait in line.
const AT_ONCE: usize = 64;

/// How long a request stands in line before it is asked to come back.
const IN_LINE: Duration = Duration::from_secs(5);

/// Refused requests per second after which all others have to come back later. Real machines come with
/// a good token, so only somebody who guesses gets there.
const REFUSALS: u64 = 200;

/// The state of both bounds.
#[derive(Debug)]
pub(super) struct Limit {
    slots: Semaphore,
    refused: AtomicU64,
    second: Mutex<Instant>,
}

impl Limit {
    /// Nobody has asked yet.
    #[must_use]
    pub(super) fn new() -> Self {
        Limit { slots: Semaphore::new(AT_ONCE), refused: AtomicU64::new(0), second: Mutex::new(Instant::now()) }
    }

    /// A place, held while the request is served. None: come back later.
    pub(super) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        if self.refused_lately() >= REFUSALS {
            return None;
        }
        tokio::time::timeout(IN_LINE, self.slots.acquire()).await.ok()?.ok()
    }

    /// A request was refused. True for the few that are worth a line in the log.
    pub(super) fn refused(&self) -> bool {
        self.refused_lately();
        self.refused.fetch_add(1, Ordering::Relaxed) < 3
    }

    fn refused_lately(&self) -> u64 {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if second.elapsed() >= Duration::from_secs(1) {
            *second = Instant::now();
            self.refused.store(0, Ordering::Relaxed);
        }
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_guesses_has_to_wait_a_second() {
        let limit = Limit::new();
        let logged = (0..REFUSALS).filter(|_| limit.refused()).count();
        assert_eq!(logged, 3);
        assert!(limit.enter().await.is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(limit.enter().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_fit_stand_in_line_and_are_sent_away_in_time() {
        let limit = Limit::new();
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(limit.enter().await.expect("free"));
        }
        let began = Instant::now();
        assert!(limit.enter().await.is_none());
        assert_eq!(began.elapsed(), IN_LINE);
        held.pop();
        assert!(limit.enter().await.is_some());
    }
}
