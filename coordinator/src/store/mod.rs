//! The only owner of durable bytes.
//!
//! A [`Backend`] keeps ordered keys and values and nothing more; what the keys mean is said once, in
//! `layout.rs`. To add one: write `<name>.rs` here, list it in [`BACKENDS`], and call
//! `conformance::check` from its tests.

pub mod conformance;
pub mod dump;
mod followers;
pub mod layout;
mod memory;
mod sled;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use tokio::sync::mpsc;

pub use self::{
    memory::MemoryBackend,
    sled::{SledBackend, is_expected_panic},
};

/// Names of the backends, as the configuration file has them.
pub const BACKENDS: [&str; 2] = ["sled", "memory"];

/// The longest key a backend takes, in bytes.
pub const MAX_KEY: usize = 1024;

/// The longest value a backend takes, in bytes. Larger things are logs or reports, kept in files.
pub const MAX_VALUE: usize = 1024 * 1024;

/// The largest batch a backend takes: the bytes of all its keys and values, expected and written.
pub const MAX_BATCH: usize = MAX_VALUE + 256 * 1024;

/// What a read shows of a value that is not as it was written, found by its checksum. No value of ours reads like
/// this: whoever meets it finds it unreadable and says of what it is, while all others can be read.
pub const DAMAGED: &[u8] = b"\0damaged";

/// Changes that happen together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// What must hold for the batch to be applied: the key has this value, or is absent.
    pub expect: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// What is written; `None` deletes. A later write of the same key wins.
    pub writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// The bytes of its keys and values.
    #[must_use]
    pub fn size(&self) -> usize {
        let entries = self.expect.iter().chain(&self.writes);
        entries.map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }

    /// Answers [`StoreError::TooLarge`] when a limit is exceeded. Every backend calls this first.
    pub fn check(&self) -> Result<(), StoreError> {
        let within =
            |what, size, limit| if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) };
        for (key, value) in self.expect.iter().chain(&self.writes) {
            within("key", key.len(), MAX_KEY)?;
            within("value", value.as_ref().map_or(0, Vec::len), MAX_VALUE)?;
        }
        within("batch", self.size(), MAX_BATCH)
    }
}

/// Keys and their new values, none for a key that is gone.
pub type Changes = Arc<Vec<(Vec<u8>, Option<Vec<u8>>)>>;

/// Whoever takes entries, a key and its value at a time.
pub type Take<'a> = dyn FnMut(&[u8], &[u8]) -> std::io::Result<()> + 'a;

/// Ordered bytes, durable.
///
/// Reads see a batch whole or not at all, and never one that a loss of power could still undo.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// Applies a batch. When this resolves to `Ok`, all of it survives a crash of the process and a
    /// loss of power. When it resolves to [`StoreError::Io`], or the caller goes away before the
    /// answer, the batch may or may not be applied, never half of it. After any other error nothing
    /// was changed.
    ///
    /// Batches are applied in the order in which their futures are first polled, which for one caller
    /// that awaits (or joins) them in order is the order in which `append` was called.
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

    /// Deletes every key that starts with `prefix`, durably. Not atomic: after a crash some may remain, and
    /// calling it again finishes the work.
    async fn delete_range(&self, prefix: &[u8]) -> Result<(), StoreError>;

    /// Tells of all changes that become durable from now on, in order, each before anybody can read it. With the
    /// entries that are there, a copy of them is one of the store at a moment. None: this backend cannot.
    fn follow(&self) -> Option<mpsc::UnboundedReceiver<Changes>> {
        None
    }

    /// Waits for what was appended and lets go of files. Later calls answer [`StoreError::Closed`],
    /// except that closing again is fine.
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
    /// A key, a value or the batch is larger than [`MAX_KEY`], [`MAX_VALUE`] or [`MAX_BATCH`].
    #[error("a {what} of {size} bytes is larger than the store takes ({limit})")]
    TooLarge {
        /// `key`, `value` or `batch`.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The most there may be.
        limit: usize,
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
    /// The files are damaged, so that something is missing.
    #[error(
        "the store in {path} is damaged: {reason}. Nothing is served of it. To go back to a backup, move the data folder \
         away and use `slipstream-coordinator restore`. To go on with what can be read, use `slipstream-coordinator \
         export --damaged FILE`, move the store away, and use `slipstream-coordinator import FILE`"
    )]
    Damaged {
        /// The folder of the store.
        path: String,
        /// What is wrong, and what is lost.
        reason: String,
    },
    /// The files are of another format.
    #[error(
        "the store in {path} has format {found}, this coordinator reads up to {}; use the coordinator that wrote it, \
         or a newer one (nothing was changed)",
        layout::VERSION
    )]
    Format {
        /// The folder of the store.
        path: String,
        /// Its format.
        found: String,
    },
    /// Records of one thing are damaged or missing; everything else can be used.
    #[error("{what} is damaged: {reason}")]
    Lost {
        /// What it is, such as `run 4e76c5e3`.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Reading or writing failed. After a failed [`Backend::append`] it is not known whether the batch
    /// is applied; the backend reads its files again before it answers anything else.
    #[error("cannot access the store in {path}")]
    Io {
        /// The folder of the store.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
