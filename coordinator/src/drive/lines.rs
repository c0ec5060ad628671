//! Lines on their way to an agent: so many, and so many bytes. An agent that does not read costs no more.
//!
//! Answers that are the same become one line while they wait here: what ends a thousand waits of one machine at
//! once is said once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use slipstream_shared::link::{Down, Reply};
use tokio::sync::Notify;

/// How many lines, and answers in them, may be under way. More than the waits a machine may have, so that ending all
/// of them at once does not break its link.
const MOST_LINES: usize = 16 * 1024;

/// How many bytes of values may be under way.
pub(super) const MOST_BYTES: usize = 16 * 1024 * 1024;

/// What has room while little is under way; more is given back.
const ROOM: usize = 16;

/// The actor's end.
#[derive(Debug)]
pub(super) struct LineSender {
    shared: Arc<Shared>,
}

/// The agent port's end.
#[derive(Debug)]
pub struct Lines {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something was sent, or nothing more will be.
    news: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Down>,
    /// Lines, and answers in them.
    count: usize,
    bytes: usize,
    /// One of the ends is gone.
    closed: bool,
}

/// A line that is not sent: too much is under way, or nobody is there.
#[derive(Debug)]
pub(super) struct NotSent;

/// Both ends.
pub(super) fn lines() -> (LineSender, Lines) {
    let shared = Arc::new(Shared::default());
    (LineSender { shared: Arc::clone(&shared) }, Lines { shared })
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics between two changes of it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.queue().closed = true;
        self.news.notify_one();
    }
}

impl LineSender {
    /// Puts a line on its way.
    pub(super) fn send(&self, line: Down) -> Result<(), NotSent> {
        let mut queue = self.shared.queue();
        let size = size(&line);
        if queue.closed || queue.count >= MOST_LINES || (queue.bytes > 0 && queue.bytes + size > MOST_BYTES) {
            return Err(NotSent);
        }
        queue.count += 1;
        queue.bytes += size;
        let line = match queue.lines.back_mut() {
            Some(last) => join(last, line),
            None => Some(line),
        };
        if let Some(line) = line {
            queue.lines.push_back(line);
            drop(queue);
            self.shared.news.notify_one();
        }
        Ok(())
    }
}

impl Drop for LineSender {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Lines {
    /// The next line; none when the link was given up. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Down> {
        loop {
            if let Some(line) = self.try_recv() {
                return Some(line);
            }
            if self.shared.queue().closed {
                // What was sent before that.
                return self.try_recv();
            }
            self.shared.news.notified().await;
        }
    }

    /// The next line, if there is one now.
    pub fn try_recv(&mut self) -> Option<Down> {
        let mut queue = self.shared.queue();
        let line = queue.lines.pop_front()?;
        queue.count -= count(&line);
        queue.bytes -= size(&line);
        if queue.lines.is_empty() && queue.lines.capacity() > ROOM {
            queue.lines = VecDeque::new();
        }
        Some(line)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Adds an answer to the last line if that gives the same one; gives the line back if not.
fn join(last: &mut Down, line: Down) -> Option<Down> {
    let Down::Answer { id, reply: Reply::Met { seq } } = line else { return Some(line) };
    match last {
        Down::Answer { id: first, reply: Reply::Met { seq: same } } if *same == seq => {
            *last = Down::Answers { ids: vec![*first, id], reply: Reply::Met { seq } };
        }
        Down::Answers { ids, reply: Reply::Met { seq: same } } if *same == seq => ids.push(id),
        _ => return Some(line),
    }
    None
}

/// How much a line counts.
fn count(line: &Down) -> usize {
    if let Down::Answers { ids, .. } = line { ids.len() } else { 1 }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn met(id: u64, seq: u64) -> Down {
        Down::Answer { id, reply: Reply::Met { seq } }
    }

    #[tokio::test]
    async fn the_same_answer_to_many_is_one_line() {
        let said = [met(1, 7), met(2, 7), met(3, 7), met(4, 8), Down::Heartbeat, met(5, 8)];
        let (sender, mut lines) = lines();
        said.into_iter().for_each(|line| sender.send(line).expect("there is room"));
        let together = Down::Answers { ids: vec![1, 2, 3], reply: Reply::Met { seq: 7 } };
        for expected in [together, met(4, 8), Down::Heartbeat, met(5, 8)] {
            assert_eq!(lines.recv().await, Some(expected));
        }
    }

    #[tokio::test]
    async fn answers_in_one_line_count_each() {
        let (sender, mut lines) = lines();
        (0..MOST_LINES as u64).for_each(|id| sender.send(met(id, 7)).expect("there is room"));
        sender.send(met(0, 7)).expect_err("too many");
        assert!(matches!(lines.recv().await, Some(Down::Answers { ids, .. }) if ids.len() == MOST_LINES));
        sender.send(met(0, 7)).expect("there is room again");
    }

    #[tokio::test]
    async fn what_was_said_last_is_still_heard_and_nothing_is_said_to_nobody() {
        let (sender, mut all) = lines();
        sender.send(Down::Heartbeat).expect("there is room");
        drop(sender);
        assert_eq!((all.recv().await, all.recv().await), (Some(Down::Heartbeat), None));
        let (sender, all) = lines();
        drop(all);
        sender.send(Down::Heartbeat).expect_err("nobody is there");
    }
}
