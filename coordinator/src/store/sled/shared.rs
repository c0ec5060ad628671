//! What readers and the writer of a store share.
//!
//! A reader sees a group of batches from the moment it is applied in memory, but keeps what it saw to
//! itself until the group is durable. When the group is lost instead, it reads again.

use std::{
    io,
    path::PathBuf,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::watch;

use super::files::{guard, io_error};
use crate::store::{StoreError, followers::Followers};

/// Why a store is not open.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gone {
    Closed,
    /// A write failed, and the files could not be opened anew yet.
    Broken,
}

/// A moment in the life of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// How often the store was opened or let go of. Group numbers compare within one opening.
    era: u64,
    group: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    path: PathBuf,
    /// Locked for writing only while a group is applied in memory, and to open or let go.
    slot: RwLock<Slot>,
    durable: watch::Sender<Moment>,
    pub(super) followers: Followers,
}

struct Slot {
    db: Result<sled::Db, Gone>,
    applied: Moment,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // sled would print every entry.
        let db = self.db.as_ref().map(|_| "open");
        f.debug_struct("Slot").field("db", &db).field("applied", &self.applied).finish()
    }
}

impl Shared {
    pub(super) fn new(path: PathBuf, db: sled::Db, group: u64) -> Self {
        let now = Moment { era: 0, group };
        Shared {
            path,
            slot: RwLock::new(Slot { db: Ok(db), applied: now }),
            durable: watch::Sender::new(now),
            followers: Followers::default(),
        }
    }

    /// Reads, for a caller who must wait for [`Shared::is_durable`] before it believes the answer.
    pub(super) fn look<T>(&self, read: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<(T, Moment), StoreError> {
        let slot = self.read();
        let read = match &slot.db {
            Ok(db) => guard(|| read(db)),
            Err(Gone::Closed) => return Err(StoreError::Closed),
            Err(Gone::Broken) => Err(broken()),
        };
        let value = read.map_err(|error| io_error(&self.path, error))?;
        Ok((value, slot.applied))
    }

    /// Waits until what was seen at a moment is durable. False when it was lost.
    pub(super) async fn is_durable(&self, seen: Moment) -> bool {
        let mut durable = self.durable.subscribe();
        let settled = durable.wait_for(|now| now.era != seen.era || now.group >= seen.group).await;
        settled.is_ok_and(|now| now.era == seen.era)
    }

    /// Reads, for the writer, which knows what is durable.
    pub(super) fn with<T>(&self, read: impl FnOnce(&sled::Db) -> sled::Result<T>) -> io::Result<T> {
        match &self.read().db {
            Ok(db) => guard(|| read(db)),
            Err(_) => Err(broken()),
        }
    }

    /// Applies a group in memory.
    pub(super) fn apply(&self, group: u64, batch: sled::Batch) -> io::Result<()> {
        let mut slot = self.write();
        slot.applied.group = group;
        match &slot.db {
            Ok(db) => guard(|| db.apply_batch(batch)),
            Err(_) => Err(broken()),
        }
    }

    /// Says that a group is durable.
    pub(super) fn settle(&self, group: u64) {
        self.durable.send_modify(|now| now.group = group);
    }

    /// Lets go of the files, once all who read have finished. Who waits for a group reads again.
    pub(super) fn let_go(&self, why: Gone) {
        self.replace(Err(why), 0);
    }

    /// Has the store open again, in a state that is durable.
    pub(super) fn open(&self, db: sled::Db, group: u64) {
        self.replace(Ok(db), group);
    }

    /// A failure of the backend itself.
    pub(super) fn failed(&self, reason: &str) -> StoreError {
        io_error(&self.path, io::Error::other(reason))
    }

    fn replace(&self, db: Result<sled::Db, Gone>, group: u64) {
        let mut slot = self.write();
        let now = Moment { era: slot.applied.era + 1, group };
        let before = std::mem::replace(&mut *slot, Slot { db, applied: now });
        self.durable.send_replace(now);
        drop(slot);
        // sled flushes and syncs when it is dropped, and panics when that fails. What had to be durable is.
        let _ = guard(|| {
            drop(before);
            Ok(())
        });
    }

    fn read(&self) -> RwLockReadGuard<'_, Slot> {
        // Panics of sled are caught inside, ours do not happen between two changes.
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slot> {
        self.slot.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broken() -> io::Error {
    io::Error::other("a write has failed, and the store could not be opened anew since")
}
