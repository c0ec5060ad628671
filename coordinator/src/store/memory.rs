//! A store in memory, for tests and `--ephemeral`. Nothing outlives the process.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use tokio::sync::mpsc;

use super::{Backend, Batch, Changes, StoreError, followers::Followers, layout};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Ordered bytes in memory.
#[derive(Debug)]
pub struct MemoryBackend {
    /// `None` once closed. No call awaits while it holds the lock.
    entries: Mutex<Option<Entries>>,
    /// Told while the entries are locked, so that the order is theirs.
    followers: Followers,
}

impl MemoryBackend {
    /// An empty store: all it holds is the version of its layout.
    #[must_use]
    pub fn new() -> Self {
        let entries = BTreeMap::from([(layout::FORMAT.to_vec(), layout::version())]);
        MemoryBackend { entries: Mutex::new(Some(entries)), followers: Followers::default() }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Entries) -> T) -> Result<T, StoreError> {
        self.lock().as_mut().map(f).ok_or(StoreError::Closed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Entries>> {
        // Nothing panics between two changes of a batch, so the entries are whole even then.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        MemoryBackend::new()
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn append(&self, batch: Batch) -> Result<(), StoreError> {
        batch.check()?;
        self.with(|entries| {
            if let Some((key, _)) = batch.expect.iter().find(|(key, value)| entries.get(key) != value.as_ref()) {
                return Err(StoreError::Conflict { key: key.clone() });
            }
            self.followers.tell(|| batch.writes.clone());
            for (key, value) in batch.writes {
                match value {
                    Some(value) => entries.insert(key, value),
                    None => entries.remove(&key),
                };
            }
            Ok(())
        })?
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|entries| entries.get(key).cloned())
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.with(|entries| {
            let range = entries.range::<[u8], _>((start, Bound::Unbounded));
            let found = range.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
            found.map(|(key, value)| (key.clone(), value.clone())).collect()
        })
    }

    async fn delete_range(&self, prefix: &[u8]) -> Result<(), StoreError> {
        self.with(|entries| entries.retain(|key, _| !key.starts_with(prefix)))
    }

    fn follow(&self) -> Option<mpsc::UnboundedReceiver<Changes>> {
        Some(self.followers.add())
    }

    async fn close(&self) -> Result<(), StoreError> {
        *self.lock() = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::conformance;

    #[tokio::test]
    async fn conforms() {
        conformance::check(|| Arc::new(MemoryBackend::new())).await;
    }
}
