//! A disk and the store of each coordinator on it. Only what was applied outlives a coordinator.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use slipstream_coordinator::store::{Backend, Batch, MemoryBackend, StoreError, layout};
use slipstream_shared::event::Record;
use tokio_util::sync::CancellationToken;

use crate::sim::Sim;

/// What outlives a coordinator.
#[derive(Debug)]
pub(crate) struct Disk {
    sim: Arc<Sim>,
    memory: MemoryBackend,
    full: AtomicBool,
    next: AtomicU64,
    /// Batches that were handed over and are not applied yet, in their order.
    under_way: Mutex<Vec<(u64, Batch)>>,
}

/// One coordinator's store.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) disk: Arc<Disk>,
    pub(crate) dead: CancellationToken,
}

impl Disk {
    pub(crate) fn new(sim: &Arc<Sim>) -> Arc<Self> {
        Arc::new(Disk {
            sim: Arc::clone(sim),
            memory: MemoryBackend::new(),
            full: AtomicBool::new(false),
            next: AtomicU64::new(0),
            under_way: Mutex::default(),
        })
    }

    pub(crate) fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// The coordinator is gone: of what it had handed over, the first few may be on disk, the rest never will.
    pub(crate) fn cut(&self) {
        let batches = std::mem::take(&mut *self.waiting());
        let kept = self.sim.dice().below(batches.len() as u64 + 1);
        for (number, (_, batch)) in (0..).zip(batches) {
            if number < kept {
                let _ = self.apply(batch);
            }
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Batch)>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let mut records = Vec::new();
        for (key, value) in &batch.writes {
            if let (Some((run, _)), Some(bytes)) = (layout::parse_event(key), value) {
                records.push((run, serde_json::from_slice::<Record>(bytes).expect("an event")));
            }
        }
        let applied = self.memory.append(batch).now_or_never().expect("memory does not wait");
        let now = self.sim.now();
        match &applied {
            Ok(()) => {
                for (run, record) in records {
                    let json = serde_json::to_value(&record).expect("an event");
                    self.sim.note(|| format!("{} {json}", run.short()));
                    self.sim.rules().durable(now, run, record);
                }
            }
            Err(StoreError::Conflict { key }) => {
                // Who asks again for a launch whose answer was lost begins the same run again, which is refused.
                if let Some((run, seq)) = layout::parse_event(key).filter(|(_, seq)| *seq > 1) {
                    self.sim.rules().broken(format!("run {run} has two writers: both wrote event {seq}"));
                }
            }
            Err(_) => {}
        }
        applied
    }
}

impl Store {
    /// A dead coordinator gets no answer.
    async fn alive(&self) {
        if self.dead.is_cancelled() {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Backend for Store {
    async fn append(&self, batch: Batch) -> Result<(), StoreError> {
        self.alive().await;
        let disk = &self.disk;
        if disk.full.load(Ordering::Relaxed) {
            tokio::time::sleep(disk.sim.delay(2, 100)).await;
            self.alive().await;
            disk.sim.note(|| "the disk is full".to_owned());
            return Err(StoreError::Full { path: "here".to_owned() });
        }
        batch.check()?;
        let number = disk.next.fetch_add(1, Ordering::Relaxed);
        disk.waiting().push((number, batch));
        tokio::time::sleep(disk.sim.delay(2, 3000)).await;
        self.alive().await;
        let failed = disk.sim.mishap(3);
        let happens = !failed || disk.sim.dice().percent(50);
        let at = disk.waiting().iter().position(|(known, _)| *known == number).expect("it is still under way");
        let (_, batch) = disk.waiting().remove(at);
        let applied = if happens { disk.apply(batch) } else { Ok(()) };
        if failed {
            disk.sim.note(|| format!("the store fails (applied: {happens})"));
            let source = std::io::Error::other("the disk does not answer");
            return Err(StoreError::Io { path: "here".to_owned(), source });
        }
        applied
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.alive().await;
        self.disk.memory.get(key).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        self.alive().await;
        self.disk.memory.scan(prefix, after, limit).await
    }

    async fn delete_range(&self, prefix: &[u8]) -> Result<(), StoreError> {
        self.alive().await;
        self.disk.memory.delete_range(prefix).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
