//! The only thread that changes the store.
//!
//! It takes all batches that wait (a group), checks each against the tree and the batches before it, and
//! writes them as one sled batch with one flush and one sync: the cost of a commit is shared by all who
//! wait for it. One sled batch rather than one each, because sled pays two small writes per batch, and
//! because the group is then there as a whole or not at all, even after a crash: its number, kept in the
//! tree, says which.
//!
//! After a failed write sled refuses all others, and after a failed sync nobody knows what is on the
//! disk. So the store is then opened anew from its files, at once or, if that fails too, before the next
//! group. The number of the group decides what its callers are told. While the store is not open, every
//! call fails.

use std::{
    collections::HashMap,
    fs::File,
    io,
    sync::{Arc, mpsc},
};

use tokio::sync::oneshot;

use super::{
    entry,
    files::{Files, Opened, Want, io_error},
    mark,
    shared::{Gone, Shared},
};
use crate::store::{Batch, MAX_BATCH, StoreError};

/// Batches in a group. More would only make the first ones wait.
const MAX_GROUP: usize = 1024;

/// A batch and who waits for it.
pub(super) struct Request {
    pub(super) batch: Batch,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    files: Files,
    /// sled's data file and the mark, while the store is open.
    open: Option<(File, File)>,
    /// The number of the last durable group.
    durable: u64,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, files: Files, open: (File, File), durable: u64) -> Self {
        Writer { shared, files, open: Some(open), durable }
    }

    /// Serves requests until there can be no more, then lets go of the files.
    pub(super) fn run(mut self, requests: &mpsc::Receiver<Request>) {
        let mut left_over = None;
        while let Some(first) = left_over.take().or_else(|| requests.recv().ok()) {
            let group;
            (group, left_over) = collect(first, requests);
            self.commit(group);
        }
        self.let_go(Gone::Closed);
        if let Err(error) = self.files.wait_let_go() {
            tracing::warn!(%error, path = %self.files.path.display(), "the store is still locked after closing");
        }
    }

    fn commit(&mut self, group: Vec<Request>) {
        // sled may have failed to write something earlier, on a full disk, and tell only now: so the store that was
        // opened anew for it is asked once more.
        let written =
            self.write(&group).or_else(|failure| if failure.again { self.write(&group) } else { Err(failure) });
        match written {
            Ok(verdicts) => {
                for (request, verdict) in group.into_iter().zip(verdicts) {
                    // Whoever went away does not want to know.
                    let _ = request.answer.send(verdict.map_err(|key| StoreError::Conflict { key }));
                }
            }
            Err(failure) => {
                let path = self.files.path.display();
                tracing::error!(error = %failure.error, %path, batches = group.len(), "cannot write to the store");
                for request in group {
                    let _ = request.answer.send(Err(failure.answer(&self.files)));
                }
            }
        }
    }

    /// Makes a group durable. Answers for each batch whether it was applied or lost because of a key.
    fn write(&mut self, group: &[Request]) -> Result<Vec<Verdict>, Failure> {
        if self.open.is_none() {
            self.reopen().map_err(Failure::unknown)?;
        }
        self.files.check_room().map_err(Failure::unchanged)?;
        let number = self.durable + 1;
        let staged = self.shared.with(|db| {
            let (verdicts, writes) = judge(db, group)?;
            let batch = if writes.is_empty() { None } else { Some((entry::stage(db, &writes, number)?, writes)) };
            Ok((verdicts, batch))
        });
        let (verdicts, batch) = staged.map_err(|error| self.open_anew(error))?;
        if let Some((batch, writes)) = batch {
            self.apply(number, batch)?;
            // Before anybody can read them.
            self.shared.followers.tell(|| writes.into_iter().collect());
            self.durable = number;
            self.shared.settle(number);
        }
        Ok(verdicts)
    }

    fn apply(&mut self, number: u64, batch: sled::Batch) -> Result<(), Failure> {
        let (data, mark) = self.open.as_ref().expect("the caller has opened it");
        let written = self.shared.apply(number, batch).and_then(|()| self.shared.with(|db| db.flush()));
        let written = written.and_then(|_| self.files.disk.sync(data));
        if let Err(error) = written.and_then(|()| mark::write(mark, number)) {
            if let Err(again) = self.reopen() {
                self.cannot_reopen(&again);
                return Err(Failure::unknown(error));
            }
            if self.durable != number {
                return Err(Failure { again: true, ..Failure::unchanged(error) });
            }
        }
        Ok(())
    }

    /// The failure of a group of which nothing was written, once the store is open again.
    fn open_anew(&mut self, error: io::Error) -> Failure {
        let reopened = self.reopen();
        let again = reopened.map_err(|error| self.cannot_reopen(&error)).is_ok();
        Failure { again, ..Failure::unchanged(error) }
    }

    fn cannot_reopen(&self, error: &io::Error) {
        tracing::error!(%error, path = %self.files.path.display(), "cannot open the store anew");
    }

    /// Opens the store anew from its files, with what is in them made durable first.
    fn reopen(&mut self) -> io::Result<()> {
        self.let_go(Gone::Broken);
        self.files.rewrite()?;
        let Opened { db, data, mark, group, .. } = self.files.open(Want::Whole).map_err(io::Error::other)?;
        self.durable = group;
        self.open = Some((data, mark));
        self.shared.open(db, group);
        Ok(())
    }

    fn let_go(&mut self, why: Gone) {
        self.open = None;
        self.shared.let_go(why);
    }
}

/// Whether a batch is applied, or the key of an expectation that does not hold.
type Verdict = Result<(), Vec<u8>>;

/// The last value of each key.
type Writes = HashMap<Vec<u8>, Option<Vec<u8>>>;

/// Takes what waits, `first` included. What does not fit any more is left over.
fn collect(first: Request, requests: &mpsc::Receiver<Request>) -> (Vec<Request>, Option<Request>) {
    let mut size = first.batch.size();
    let mut group = vec![first];
    while group.len() < MAX_GROUP {
        let Ok(request) = requests.try_recv() else { break };
        size += request.batch.size();
        if size > MAX_BATCH {
            return (group, Some(request));
        }
        group.push(request);
    }
    (group, None)
}

/// Checks each batch against the tree and the batches before it.
fn judge(db: &sled::Db, group: &[Request]) -> sled::Result<(Vec<Verdict>, Writes)> {
    let mut writes = Writes::new();
    let mut verdicts = Vec::with_capacity(group.len());
    for Request { batch, .. } in group {
        let mut verdict = Ok(());
        for (key, expected) in &batch.expect {
            let holds = match writes.get(key) {
                Some(value) => value == expected,
                None => entry::get(db, key)? == *expected,
            };
            if !holds {
                verdict = Err(key.clone());
                break;
            }
        }
        if verdict.is_ok() {
            writes.extend(batch.writes.iter().cloned());
        }
        verdicts.push(verdict);
    }
    Ok((verdicts, writes))
}

/// Why a group was not made durable.
struct Failure {
    error: Arc<io::Error>,
    /// None of its batches is applied; otherwise nobody knows.
    unchanged: bool,
    /// The store is open, so it can be tried again.
    again: bool,
}

impl Failure {
    fn unchanged(error: io::Error) -> Self {
        Failure { error: Arc::new(error), unchanged: true, again: false }
    }

    fn unknown(error: io::Error) -> Self {
        Failure { error: Arc::new(error), unchanged: false, again: false }
    }

    fn answer(&self, files: &Files) -> StoreError {
        let source = io::Error::new(self.error.kind(), Arc::clone(&self.error));
        if self.unchanged {
            io_error(&files.path, source)
        } else {
            StoreError::Io { path: files.path.display().to_string(), source }
        }
    }
}
