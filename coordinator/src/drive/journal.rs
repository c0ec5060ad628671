//! The events of one run in the store.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use slipstream_shared::{
    api::RunSummary,
    event::{Author, Event, Record},
    id::RunId,
};

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
    ///
    /// # Errors
    /// Something of it is damaged or missing ([`StoreError::Lost`]), or the store cannot be read.
    pub(super) async fn load(&self) -> Result<Option<Run>, StoreError> {
        let rest = self.rest().await?;
        rest.damage.map_or(Ok(rest.run), |reason| Err(self.lost(&reason)))
    }

    /// What can be read of the run, and what cannot.
    pub(super) async fn rest(&self) -> Result<Rest, StoreError> {
        let mut rest = Rest { run: self.snapshot().await?, ..Rest::default() };
        rest.last = rest.run.as_ref().map_or(0, |run| run.seq);
        loop {
            let page = self.page(rest.last, PAGE).await?;
            let full = page.len() == PAGE;
            for (seq, record) in page {
                rest.take(self.run, seq, record);
            }
            if !full {
                break;
            }
        }
        if rest.last == 0 && self.backend.get(&layout::summary(self.run)).await?.is_some() {
            rest.damage = Some("all its events are missing".to_owned());
        }
        Ok(rest)
    }

    /// The state that a snapshot has kept. None: there is none that can be read, so all events have to be.
    async fn snapshot(&self) -> Result<Option<Run>, StoreError> {
        let Some(bytes) = snapshot::read(&*self.backend, self.run).await? else { return Ok(None) };
        match serde_json::from_slice::<Run>(&bytes) {
            Ok(run) => {
                self.plan_next(run.seq, bytes.len());
                Ok(Some(run))
            }
            Err(error) => {
                tracing::warn!(run = %self.run, %error, "a snapshot cannot be read; reading all events instead");
                Ok(None)
            }
        }
    }

    /// One event.
    pub(super) async fn record(&self, seq: u64) -> Result<Option<Record>, StoreError> {
        let bytes = self.backend.get(&layout::event(self.run, seq)).await?;
        let read = |bytes: Vec<u8>| serde_json::from_slice(&bytes);
        bytes.map(read).transpose().map_err(|_| self.lost(&format!("its event {seq} cannot be read")))
    }

    /// Up to `limit` events after number `after`. In place of those that are damaged or missing is a note.
    pub(super) async fn records(&self, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let (mut records, mut last, mut at) = (Vec::new(), after, jiff::Timestamp::UNIX_EPOCH);
        for (seq, record) in self.page(after, limit).await? {
            let first_lost = last.saturating_add(1);
            let last_lost = if record.is_some() { seq.saturating_sub(1) } else { seq };
            if first_lost <= last_lost {
                records.push(note(first_lost, last_lost, record.as_ref().map_or(at, |record| record.at)));
            }
            if let Some(record) = record {
                at = record.at;
                records.push(record);
            }
            last = seq;
        }
        Ok(records)
    }

    /// The same by their numbers; none for one that cannot be read.
    async fn page(&self, after: u64, limit: usize) -> Result<Vec<(u64, Option<Record>)>, StoreError> {
        let from = layout::event(self.run, after);
        let found = self.backend.scan(&layout::events(self.run), Some(&from), limit).await?;
        let numbered = found.iter().filter_map(|(key, bytes)| Some((layout::parse_event(key)?.1, bytes)));
        let read = |(seq, bytes): (u64, &Vec<u8>)| {
            (seq, serde_json::from_slice::<Record>(bytes).ok().filter(|record| record.seq == seq))
        };
        Ok(numbered.map(read).collect())
    }

    fn lost(&self, reason: &str) -> StoreError {
        StoreError::Lost { what: format!("run {}", self.run.short()), reason: reason.to_owned() }
    }
}

/// What is left of a run.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// As far as what can be read says.
    pub(super) run: Option<Run>,
    /// The number of its last event.
    pub(super) last: u64,
    /// What is damaged or missing first. None: nothing.
    pub(super) damage: Option<String>,
}

impl Rest {
    fn take(&mut self, id: RunId, seq: u64, record: Option<Record>) {
        let next = self.last + 1;
        let damage = match &record {
            _ if seq > next => Some(format!("{} missing", events(next, seq - 1))),
            None => Some(format!("its event {seq} cannot be read")),
            Some(_) => None,
        };
        self.damage = self.damage.take().or(damage);
        self.last = seq;
        match (&mut self.run, record) {
            (_, None) => {}
            (Some(run), Some(record)) => drop(run.apply(&record)),
            (None, Some(record)) => {
                self.run = Run::begin(id, &record);
                if self.run.is_none() {
                    self.damage.get_or_insert_with(|| "its first event is not its beginning".to_owned());
                }
            }
        }
    }
}

/// Stands for events that cannot be shown.
fn note(first: u64, last: u64, at: jiff::Timestamp) -> Record {
    let message = format!("{} damaged and cannot be shown", events(first, last));
    Record { seq: last, at, by: Author::System, op: None, event: Event::Noted { message } }
}

fn events(first: u64, last: u64) -> String {
    if first == last { format!("its event {first} is") } else { format!("its events {first} to {last} are") }
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("events, summaries and snapshots are plain data")
}
