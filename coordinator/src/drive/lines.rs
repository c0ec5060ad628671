//! Lines on their way to an agent: so many, and so many bytes. An agent that does not read costs no more.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use slipstream_shared::link::{Down, Reply};
use tokio::sync::mpsc;

/// How many lines may be under way. More than the waits a machine may have, so that ending all of them at
/// once does not break its link.
const MOST_LINES: usize = 16 * 1024;

/// How many bytes of values may be under way.
pub(super) const MOST_BYTES: usize = 16 * 1024 * 1024;

/// The actor's end.
#[derive(Debug)]
pub(super) struct LineSender {
    tx: mpsc::Sender<Down>,
    bytes: Arc<AtomicUsize>,
}

/// The agent port's end.
#[derive(Debug)]
pub struct Lines {
    rx: mpsc::Receiver<Down>,
    bytes: Arc<AtomicUsize>,
}

/// A line that is not sent: too much is under way, or nobody is there.
#[derive(Debug)]
pub(super) struct NotSent;

/// Both ends.
pub(super) fn lines() -> (LineSender, Lines) {
    let (tx, rx) = mpsc::channel(MOST_LINES);
    let bytes = Arc::new(AtomicUsize::new(0));
    (LineSender { tx, bytes: Arc::clone(&bytes) }, Lines { rx, bytes })
}

impl LineSender {
    /// Puts a line on its way.
    pub(super) fn send(&self, line: Down) -> Result<(), NotSent> {
        let size = size(&line);
        // Only this end adds, so what was read is at most too much.
        let before = self.bytes.load(Ordering::Relaxed);
        if before > 0 && before + size > MOST_BYTES {
            return Err(NotSent);
        }
        self.bytes.fetch_add(size, Ordering::Relaxed);
        self.tx.try_send(line).map_err(|_| NotSent)
    }
}

impl Lines {
    /// The next line; none when the link was given up. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Down> {
        let line = self.rx.recv().await?;
        self.bytes.fetch_sub(size(&line), Ordering::Relaxed);
        Some(line)
    }

    /// The next line, if there is one now.
    pub fn try_recv(&mut self) -> Option<Down> {
        let line = self.rx.try_recv().ok()?;
        self.bytes.fetch_sub(size(&line), Ordering::Relaxed);
        Some(line)
    }
}

/// The bytes of the values in a line: what makes one large.
fn size(line: &Down) -> usize {
    match line {
        Down::Answer { reply: Reply::Value { value: Some(value), .. }, .. } => value.len(),
        Down::Answer { reply: Reply::Env { env }, .. } => {
            env.iter().map(|(name, value)| name.len() + value.len()).sum()
        }
        _ => 0,
    }
}
