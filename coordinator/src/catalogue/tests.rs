//! Versions, the modules they use, and the plans made of them; the examples of the project included.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use slipstream_shared::{
    api::{ModuleAction, Page},
    operation::Hook,
    parameter::ParamType,
    plan::{Category, KeepRunning, Network, NodePlan, Plan, Script},
};

use super::*;
use crate::store::{Batch, MemoryBackend};

mod found;
mod planned;
mod saved;
mod whole;

/// A store in memory. `conflicts` is how many batches still lose against somebody else.
#[derive(Debug, Default)]
struct Memory {
    store: MemoryBackend,
    conflicts: AtomicU32,
}

impl Memory {
    /// Puts bytes there past the catalogue.
    async fn plant(&self, key: Vec<u8>, value: Vec<u8>) {
        self.store.append(Batch { expect: vec![], writes: vec![(key, Some(value))] }).await.unwrap();
    }
}

#[async_trait]
impl Backend for Memory {
    async fn append(&self, batch: Batch) -> Result<(), StoreError> {
        let lost = self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        match batch.expect.first().filter(|_| lost) {
            Some((key, _)) => Err(StoreError::Conflict { key: key.clone() }),
            None => self.store.append(batch).await,
        }
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        self.store.scan(prefix, after, limit).await
    }

    async fn delete_range(&self, prefix: &[u8]) -> Result<(), StoreError> {
        self.store.delete_range(prefix).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

fn empty() -> Catalogue {
    Catalogue::new(Arc::new(Memory::default()))
}

/// Puts the three lines before a body that every module has.
fn text(kind: &str, name: &str, body: &str) -> String {
    format!("slipstream: 1\nkind: {kind}\nname: {name}\n{body}\n")
}

/// A catalogue with these modules, each by kind, name and body.
async fn with(modules: &[(&str, &str, &str)]) -> Catalogue {
    let catalogue = empty();
    for (kind, name, body) in modules {
        catalogue.put(&text(kind, name, body), "ada", "", 1).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    catalogue
}

const BASE: (&str, &str, &str) =
    ("image", "images/base", "native: {local: base, exo: '7'}\nplatform: debian\nlogin: admin");

async fn refused(catalogue: &Catalogue, kind: &str, name: &str, body: &str) -> Vec<String> {
    match catalogue.put(&text(kind, name, body), "ada", "", 1).await {
        Err(CatalogueError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}
