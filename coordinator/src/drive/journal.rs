//! The events of one run in the store.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use slipstream_shared::{api::RunSummary, event::Record, id::RunId};

use super::snapshot;
use crate::{
    run::Run,
    store::{Backend, Batch, MAX_VALUE, StoreError, layout},
};

/// How many events are read at a time.
const PAGE: usize = 512;

/// The bytes of events in one batch; the last of them may go beyond, with what belongs to it, and a summary
/// comes on top.
const BATCH: usize = MAX_VALUE / 2;

/// Reads and writes the events of one run.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    backend: Arc<dyn Backend>,
    run: RunId,
    /// The event after which a snapshot is to be written.
    due: Arc<AtomicU64>,
}

impl Journal {
    /// The journal of a run, whether it has events or not.
    #[must_use]
    pub(super) fn new(backend: Arc<dyn Backend>, run: RunId) -> Self {
        Journal { backend, run, due: Arc::new(AtomicU64::new(snapshot::EVERY)) }
    }

    /// Appends events. Fails with a conflict if somebody else has written the first of them: a run has one
    /// writer. They go into one batch, or into several where they are too much for one; after a failure the
    /// first ones may be there and the rest not, as after a crash.
    pub(super) async fn append(&self, records: &[Record], summary: Option<&RunSummary>) -> Result<(), StoreError> {
        let Some(first) = records.first() else { return Ok(()) };
        let begin = |seq| Batch { expect: vec![(layout::event(self.run, seq), None)], writes: vec![] };
        let (mut batch, mut size) = (begin(first.seq), 0);
        let mut asked = (&first.by, None);
        for record in records {
            // What follows from one request is never split: half of it would look like all of it.
            let same = record.op.is_some() && asked == (&record.by, record.op);
            asked = (&record.by, record.op);
            if size > BATCH && !same {
                size = 0;
                self.backend.append(std::mem::replace(&mut batch, begin(record.seq))).await?;
            }
            let bytes = json(record);
            size += bytes.len();
            batch.writes.push((layout::event(self.run, record.seq), Some(bytes)));
        }
        if let Some(summary) = summary {
            batch.writes.push((layout::summary(self.run), Some(json(summary))));
        }
        self.backend.append(batch).await
    }

    /// Bounds the replay: writes a snapshot when one is due. It only saves time, so a failure is no more than
    /// a warning.
    pub(super) async fn keep_short(&self, state: &Run) {
        if state.seq < self.due.load(Ordering::Relaxed) {
            return;
        }
        let bytes = json(state);
        self.plan_next(state.seq, bytes.len());
        if let Err(error) = snapshot::write(&*self.backend, self.run, state.seq, bytes).await {
            tracing::warn!(run = %self.run, %error, "cannot write a snapshot; the next start takes longer");
        }
    }

    fn plan_next(&self, seq: u64, size: usize) {
        self.due.store(seq + snapshot::interval(size), Ordering::Relaxed);
    }

    /// The run as its events say. None: there is none.
    pub(super) async fn load(&self) -> Result<Option<Run>, StoreError> {
        let mut run = match snapshot::read(&*self.backend, self.run).await? {
            Some(bytes) => {
                let run = self.parse::<Run>(&bytes, "snapshot")?;
                self.plan_next(run.seq, bytes.len());
                Some(run)
            }
            None => None,
        };
        loop {
            let after = run.as_ref().map_or(0, |r| r.seq);
            let page = self.records(after, PAGE).await?;
            let full = page.len() == PAGE;
            for record in page {
                match &mut run {
                    Some(run) => drop(run.apply(&record)),
                    None => run = Run::begin(self.run, &record),
                }
            }
            if !full {
                return Ok(run);
            }
        }
    }

    /// One event.
    pub(super) async fn record(&self, seq: u64) -> Result<Option<Record>, StoreError> {
        let bytes = self.backend.get(&layout::event(self.run, seq)).await?;
        bytes.map(|bytes| self.parse(&bytes, "event")).transpose()
    }

    /// Up to `limit` events after number `after`.
    pub(super) async fn records(&self, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let from = layout::event(self.run, after);
        let found = self.backend.scan(&layout::events(self.run), Some(&from), limit).await?;
        found.iter().map(|(_, bytes)| self.parse(bytes, "event")).collect()
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, bytes: &[u8], what: &str) -> Result<T, StoreError> {
        serde_json::from_slice(bytes).map_err(|e| StoreError::Damaged {
            path: format!("run {}", self.run),
            reason: format!("its {what} is unreadable: {e}"),
        })
    }
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("events, summaries and snapshots are plain data")
}
