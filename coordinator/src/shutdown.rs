//! When to stop, and in which order.
//!
//! 1. Refuse what is new: the ports are closed, open connections take no further requests.
//! 2. Release what waits: long polls get 503, streams end, agents hear `Goodbye` and come back later.
//! 3. Let what is under way finish, at most [`GRACE`].
//! 4. Close the store.
//!
//! The first two happen together, by [`Seam::stopping`]: whoever waits for anything selects on it.

use std::{io, time::Duration};

use slipstream_shared::error_chain::Chain;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{seam::Seam, store::Backend};

/// How long requests that are under way get.
pub const GRACE: Duration = Duration::from_secs(5);

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes both signals over.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new() -> io::Result<Self> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next of them, by name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Stops everything in order. False when something did not end in time or the store did not close.
pub async fn stop(seam: &Seam, store: &dyn Backend) -> bool {
    let in_time = seam.stop(GRACE).await;
    if !in_time {
        tracing::warn!("some requests did not end within {} seconds", GRACE.as_secs());
    }
    match store.close().await {
        Ok(()) => in_time,
        Err(error) => {
            tracing::error!("cannot close the store: {}", Chain(&error));
            false
        }
    }
}
