//! The events of one run in the store.

use std::sync::Arc;

use slipstream_shared::{api::RunSummary, event::Record, id::RunId};

use crate::{
    run::Run,
    store::{Backend, Batch, StoreError, layout},
};

/// A snapshot is written after so many events, to bound the replay.
const SNAPSHOT_EVERY: u64 = 256;

/// How many events are read at a time.
const PAGE: usize = 512;

/// Reads and writes the events of one run.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    backend: Arc<dyn Backend>,
    run: RunId,
}

impl Journal {
    /// The journal of a run, whether it has events or not.
    #[must_use]
    pub(super) fn new(backend: Arc<dyn Backend>, run: RunId) -> Self {
        Journal { backend, run }
    }

    /// Appends the events that led to `state`. Fails with a conflict if somebody else has written the
    /// first of them: a run has one writer.
    pub(super) async fn append(
        &self,
        records: &[Record],
        state: &Run,
        summary: Option<&RunSummary>,
    ) -> Result<(), StoreError> {
        let Some(first) = records.first() else { return Ok(()) };
        let mut batch = Batch { expect: vec![(layout::event(self.run, first.seq), None)], writes: vec![] };
        for record in records {
            batch.writes.push((layout::event(self.run, record.seq), Some(json(record))));
        }
        if let Some(summary) = summary {
            batch.writes.push((layout::summary(self.run), Some(json(summary))));
        }
        if first.seq / SNAPSHOT_EVERY != state.seq / SNAPSHOT_EVERY {
            batch.writes.push((layout::snapshot(self.run), Some(json(state))));
        }
        self.backend.append(batch).await
    }

    /// The run as its events say. None: there is none.
    pub(super) async fn load(&self) -> Result<Option<Run>, StoreError> {
        let snapshot = self.backend.get(&layout::snapshot(self.run)).await?;
        let mut run = match snapshot {
            Some(bytes) => Some(self.parse::<Run>(&bytes, "snapshot")?),
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
