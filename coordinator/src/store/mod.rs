//! The only owner of durable bytes.
//!
//! A [`Backend`] keeps ordered keys and values and nothing more; what the keys mean is said once, in
//! `layout.rs`. To add one: write `<name>.rs` here, list it in [`BACKENDS`], and call
//! `conformance::check` from its tests.

pub mod layout;

use std::fmt;

use async_trait::async_trait;

/// Names of the backends, as the configuration file has them.
pub const BACKENDS: [&str; 2] = ["sled", "memory"];

/// The longest value a backend takes, in bytes. Larger things are logs or reports, kept in files.
pub const MAX_VALUE: usize = 1024 * 1024;

/// Changes that happen together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// What must hold for the batch to be applied: the key has this value, or is absent.
    pub expect: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// What is written; `None` deletes. A later write of the same key wins.
    pub writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Ordered bytes, durable.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// Applies a batch. When this resolves to `Ok`, all of it survives a crash of the process and a
    /// loss of power; when it resolves to [`StoreError::Conflict`], nothing was changed. When the
    /// caller goes away before the answer, the batch may or may not be applied, never half of it.
    ///
    /// Batches are applied in the order in which `append` was called.
    async fn append(&self, batch: Batch) -> Result<(), StoreError>;

    /// The value of a key.
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Up to `limit` entries whose key starts with `prefix`, in order, those after `after` if given.
    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError>;

    /// Deletes every key that starts with `prefix`. Not atomic: after a crash some may remain, and
    /// calling it again finishes the work.
    async fn delete_range(&self, prefix: &[u8]) -> Result<(), StoreError>;

    /// Waits for what was appended and lets go of files. Later calls answer [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// An expectation of the batch does not hold.
    #[error("somebody else changed {} first", String::from_utf8_lossy(.key))]
    Conflict {
        /// The key that differs.
        key: Vec<u8>,
    },
    /// A value is larger than [`MAX_VALUE`].
    #[error("a value of {size} bytes is larger than the store takes ({MAX_VALUE})")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// The disk is full: nothing was changed, and reading goes on.
    #[error("no space left in {path}; free some, then try again")]
    Full {
        /// The folder of the store.
        path: String,
    },
    /// Another process has the store open.
    #[error("{path} is in use by another coordinator; stop it first, or give this one its own data folder")]
    InUse {
        /// The folder of the store.
        path: String,
    },
    /// The files are damaged or of an unknown format.
    #[error("cannot read the store in {path}: {reason}")]
    Damaged {
        /// The folder of the store.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Reading or writing failed.
    #[error("cannot access the store in {path}")]
    Io {
        /// The folder of the store.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
