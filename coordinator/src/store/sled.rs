//! The embedded store: sled 0.34, with its commits made durable.
//!
//! sled's `flush` does not survive a loss of power on Linux, it writes large values to files it never
//! syncs, and after a failed write it stops. What that takes is said where it is done: [`entry`] (how
//! entries lie in the tree), [`files`] (opening, syncing), [`check`] and [`mark`] (what is damaged or lost), [`writer`] (the one thread that writes, for
//! all who wait), [`shared`] (what readers may see).
//!
//! `get` reads on the thread of its caller: it takes less than a microsecond from sled's cache, a few
//! more from the kernel's, and handing it to a blocking thread takes 12 to 60. `scan`, without such a
//! bound, is handed over.

mod check;
mod entry;
mod files;
mod mark;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use async_trait::async_trait;
use tokio::{
    sync::{mpsc::UnboundedReceiver, oneshot},
    task,
};

use self::{
    files::{Disk, Files, Opened, RealDisk, Want, io_error},
    shared::Shared,
    writer::{Request, Writer},
};
use super::{Backend, Batch, Changes, StoreError, Take};

/// Entries that `delete_range` deletes at a time.
const DELETED_AT_ONCE: usize = 256;

/// Ordered bytes in a folder of this machine.
///
/// Dropping it waits for what was appended, as [`Backend::close`] does.
#[derive(Debug)]
pub struct SledBackend {
    shared: Arc<Shared>,
    /// Batches on their way to the writer; `None` once closed. Without a bound: each is held by a caller
    /// that waits for its answer, so there are as many as callers.
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    /// Locked while the thread is waited for, so that who closes second waits as well.
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl SledBackend {
    /// Opens the store in a folder, or makes it. Blocks, for as long as a scan of the files takes.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        SledBackend::open_on(path, Box::new(RealDisk))
    }

    fn open_on(path: &Path, disk: Box<dyn Disk>) -> Result<Self, StoreError> {
        let mut files = Files { path: path.to_path_buf(), disk };
        let Opened { db, data, mark, group, .. } = files.open(Want::Whole)?;
        let shared = Arc::new(Shared::new(path.to_path_buf(), db, group));
        let (requests, received) = mpsc::channel();
        let writer = Writer::new(Arc::clone(&shared), files, (data, mark), group);
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || writer.run(&received));
        let thread = thread.map_err(|error| io_error(path, error))?;
        Ok(SledBackend { shared, requests: Mutex::new(Some(requests)), thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Gives all entries that can be read of a store that may be damaged, some of them twice, and says what cannot
    /// be read. Blocks, and changes no entry.
    ///
    /// # Errors
    /// Nothing can be read, or whoever takes the entries cannot go on.
    pub fn salvage(path: &Path, take: &mut Take<'_>) -> Result<Vec<String>, StoreError> {
        let mut files = Files { path: path.to_path_buf(), disk: Box::new(RealDisk) };
        let opened = files.open(Want::Rest)?;
        let mut lost = check::salvage(&opened.db, take).map_err(|error| io_error(path, error))?;
        lost.extend(opened.wrong);
        Ok(lost)
    }

    fn send(&self, request: Request) -> Result<(), StoreError> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = requests.as_ref().ok_or(StoreError::Closed)?.send(request);
        sent.map_err(|_| self.shared.failed("the writer of the store has ended"))
    }

    /// Reads on a blocking thread.
    async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&sled::Db) -> sled::Result<T> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let read = Arc::new(read);
        loop {
            let (shared, read) = (Arc::clone(&self.shared), Arc::clone(&read));
            let looked = task::spawn_blocking(move || shared.look(|db| read(db))).await;
            let (value, seen) = looked.map_err(|_| self.shared.failed("reading was cut short"))??;
            if self.shared.is_durable(seen).await {
                return Ok(value);
            }
        }
    }
}

#[async_trait]
impl Backend for SledBackend {
    async fn append(&self, batch: Batch) -> Result<(), StoreError> {
        batch.check()?;
        let (answer, answered) = oneshot::channel();
        self.send(Request { batch, answer })?;
        answered.await.unwrap_or_else(|_| Err(self.shared.failed("the writer of the store has ended")))
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        loop {
            let (value, seen) = self.shared.look(|db| entry::get(db, key))?;
            if self.shared.is_durable(seen).await {
                return Ok(value);
            }
        }
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let (prefix, after) = (prefix.to_vec(), after.map(<[u8]>::to_vec));
        self.read(move |db| entry::scan(db, &prefix, after.as_deref(), limit)).await
    }

    async fn delete_range(&self, prefix: &[u8]) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let (prefix, last) = (prefix.to_vec(), after.take());
            let keys = self.read(move |db| entry::keys(db, &prefix, last.as_deref(), DELETED_AT_ONCE)).await?;
            // Going on behind the last key ends, even when others keep writing.
            after = keys.last().cloned();
            if after.is_none() {
                return Ok(());
            }
            let writes = keys.into_iter().map(|key| (key, None)).collect();
            self.append(Batch { expect: Vec::new(), writes }).await?;
        }
    }

    fn follow(&self) -> Option<UnboundedReceiver<Changes>> {
        Some(self.shared.followers.add())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = Arc::clone(&self.thread);
        let ended = task::spawn_blocking(move || join(&thread)).await;
        ended.ok().flatten().ok_or_else(|| self.shared.failed("the writer of the store has failed"))
    }
}

impl Drop for SledBackend {
    fn drop(&mut self) {
        self.requests.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        join(&self.thread);
    }
}

/// Waits for the thread to end, unless somebody did. `None` when it panicked.
fn join(thread: &Mutex<Option<JoinHandle<()>>>) -> Option<()> {
    let mut thread = thread.lock().unwrap_or_else(PoisonError::into_inner);
    thread.take().map_or(Some(()), |thread| thread.join().ok())
}

/// Whether a panic on this thread becomes an error of the store, which says all there is to say.
#[must_use]
pub fn is_expected_panic() -> bool {
    files::is_expected_panic()
}
