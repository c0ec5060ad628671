//! The events of a run as they come: history first, then live.

use std::{collections::VecDeque, sync::Arc};

use slipstream_shared::event::{Event, Record};
use tokio::sync::broadcast;

use super::journal::Journal;
use crate::run::Run;

/// A stream of events without gaps.
#[derive(Debug)]
pub struct EventFeed {
    journal: Journal,
    live: broadcast::Receiver<Arc<Record>>,
    ready: VecDeque<Record>,
    last: u64,
    /// What the run had come to when the feed began: up to here the journal is read.
    known: u64,
    over: bool,
}

impl EventFeed {
    pub(super) fn new(journal: Journal, live: broadcast::Receiver<Arc<Record>>, after: u64, run: &Run) -> Self {
        let over = run.state.is_final() && after >= run.seq;
        EventFeed { journal, live, ready: VecDeque::new(), last: after, known: run.seq, over }
    }

    /// The next event. None: the run has ended and all was delivered, or the coordinator stops.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                self.last = record.seq;
                self.over = matches!(&record.event, Event::StateChanged { state } if state.is_final());
                return Some(record.shown());
            }
            if self.over {
                return None;
            }
            if self.last < self.known {
                let page = self.journal.records(self.last, 256).await.ok()?;
                if page.is_empty() {
                    return None;
                }
                self.ready.extend(page);
                continue;
            }
            match self.live.recv().await {
                Ok(record) if record.seq == self.last + 1 => self.ready.push_back(Arc::unwrap_or_clone(record)),
                // Seen already in the journal, or a gap that the journal fills.
                Ok(record) => self.known = self.known.max(record.seq),
                Err(broadcast::error::RecvError::Lagged(_)) => self.known = self.last + 1,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
