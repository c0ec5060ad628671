//! Changes on disk until the coordinator has answered them.
//!
//! The file `ops` has one JSON line per change, in order, after at most one line `{"next":N}` that
//! keeps the counter when the file was rewritten. Such a line also stands for a change with a secret, whose
//! number is durable and whose value is only in memory. A line torn by a crash was never acknowledged to
//! anybody and is cut off.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use slipstream_shared::link::Change;

use crate::durable::{read_if_there, sync_folder, write_atomic};

/// The most bytes of the file; beyond it changes are refused rather than the disk filled.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Room kept for what must be told even when a script has filled the disk.
const RESERVE: usize = 64 * 1024;

/// The file is rewritten when it is larger than this and all of it is answered.
const REWRITE_BYTES: u64 = 256 * 1024;

/// Numbered changes.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    file: File,
    bytes: u64,
    next: u64,
    waiting: VecDeque<(u64, Change)>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    op: u64,
    #[serde(flatten)]
    change: Change,
}

#[derive(Serialize, Deserialize)]
struct Counter {
    next: u64,
}

impl Spool {
    /// Reads what an earlier life of the agent has left.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let content = read_if_there(path)?.unwrap_or_default();
        let mut waiting = VecDeque::new();
        let (mut next, mut bytes) = (1, 0);
        for line in content.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n")) {
            if let Ok(kept) = serde_json::from_slice::<Kept>(line) {
                next = kept.op + 1;
                waiting.push_back((kept.op, kept.change));
            } else if let Ok(counter) = serde_json::from_slice::<Counter>(line) {
                next = counter.next;
            } else {
                break;
            }
            bytes += line.len() as u64;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()?;
        keep_reserve(path);
        sync_folder(path.parent().unwrap_or(Path::new("/")))?;
        Ok(Spool { path: path.to_owned(), file, bytes, next, waiting })
    }

    /// Numbers a change and makes it durable.
    ///
    /// # Errors
    /// It is not durable; its number is not used.
    pub fn append(&mut self, change: &Change) -> io::Result<u64> {
        let op = self.next;
        let mut line = serde_json::to_vec(&Kept { op, change: change.clone() })?;
        line.push(b'\n');
        if self.bytes + line.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many changes wait for the coordinator"));
        }
        match self.write(&line) {
            // Without this, nobody would ever hear why the run does not go on.
            Err(e)
                if e.kind() == io::ErrorKind::StorageFull
                    && matches!(change, Change::StepFinished { .. } | Change::Abort { .. })
                    && fs::remove_file(reserve(&self.path)).is_ok() =>
            {
                self.write(&line)?;
            }
            written => written?,
        }
        self.bytes += line.len() as u64;
        self.next += 1;
        self.waiting.push_back((op, change.clone()));
        Ok(op)
    }

    /// Numbers a change and makes its number durable, but nothing else of it.
    ///
    /// # Errors
    /// The number is not durable; it is not used.
    pub fn append_unwritten(&mut self, change: Change) -> io::Result<u64> {
        let op = self.next;
        let line = serde_json::to_string(&Counter { next: op + 1 })? + "\n";
        self.write(line.as_bytes())?;
        self.bytes += line.len() as u64;
        self.next += 1;
        self.waiting.push_back((op, change));
        Ok(op)
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(line).and_then(|()| self.file.sync_data());
        if written.is_err() {
            let _ = self.file.set_len(self.bytes);
        }
        written
    }

    /// Changes without an answer, in order.
    pub fn unanswered(&self) -> impl Iterator<Item = &(u64, Change)> {
        self.waiting.iter()
    }

    /// A change was answered.
    pub fn answered(&mut self, op: u64) {
        if let Ok(at) = self.waiting.binary_search_by_key(&op, |(waiting, _)| *waiting) {
            self.waiting.remove(at);
        }
        self.tidy();
    }

    /// All changes up to `last_op` were applied; returns those whose answers were lost.
    pub fn applied(&mut self, last_op: u64) -> Vec<u64> {
        let lost = self.waiting.iter().map(|(op, _)| *op).filter(|op| *op <= last_op).collect();
        self.waiting.retain(|(op, _)| *op > last_op);
        // A state folder that lost its tail must not use a number twice.
        self.next = self.next.max(last_op + 1);
        self.tidy();
        lost
    }

    fn tidy(&mut self) {
        if self.bytes < REWRITE_BYTES || !self.waiting.is_empty() {
            return;
        }
        let counter = serde_json::to_string(&Counter { next: self.next }).expect("a number serializes") + "\n";
        let renewed = write_atomic(&self.path, counter.as_bytes(), 0o600)
            .and_then(|()| OpenOptions::new().append(true).open(&self.path));
        // If it fails the file is larger than it need be, that is all.
        if let Ok(file) = renewed {
            self.file = file;
            self.bytes = counter.len() as u64;
        }
    }
}

/// The file that is removed when there is no other room.
fn reserve(path: &Path) -> PathBuf {
    path.with_extension("reserve")
}

/// Makes that file, unless it is there. Without it everything works, but on a full disk.
fn keep_reserve(path: &Path) {
    let file = reserve(path);
    if !file.exists() && write_atomic(&file, &vec![0; RESERVE], 0o600).is_err() {
        let _ = fs::remove_file(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(value: &str) -> Change {
        Change::Set { key: "web.1:x".parse().unwrap(), value: Some(value.to_owned()), ignore_abort: false }
    }

    fn numbers(spool: &Spool) -> Vec<u64> {
        spool.unanswered().map(|(op, _)| *op).collect()
    }

    #[test]
    fn changes_survive_a_restart_in_order_with_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops");
        let mut spool = Spool::open(&path).unwrap();
        for value in ["a", "b", "c"] {
            spool.append(&set(value)).unwrap();
        }
        drop(spool);
        let mut spool = Spool::open(&path).unwrap();
        assert_eq!(spool.unanswered().cloned().collect::<Vec<_>>(), [(1, set("a")), (2, set("b")), (3, set("c"))]);
        assert_eq!(spool.applied(2), [1, 2]);
        assert_eq!(spool.append(&Change::CancelAbort).unwrap(), 4);
        spool.answered(3);
        assert_eq!(numbers(&spool), [4]);
    }

    #[test]
    fn a_torn_line_is_cut_off_wherever_the_crash_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops");
        let mut spool = Spool::open(&path).unwrap();
        spool.append(&set("a")).unwrap();
        let one = std::fs::metadata(&path).unwrap().len();
        spool.append(&set("b")).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for end in one..whole.len() as u64 {
            std::fs::write(&path, &whole[..usize::try_from(end).unwrap()]).unwrap();
            let mut spool = Spool::open(&path).unwrap();
            assert_eq!(numbers(&spool), [1], "cut at {end}");
            assert_eq!(spool.append(&set("again")).unwrap(), 2);
            assert_eq!(numbers(&Spool::open(&path).unwrap()), [1, 2]);
        }
    }

    #[test]
    fn of_a_secret_only_the_number_is_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops");
        let mut spool = Spool::open(&path).unwrap();
        spool.append(&set("a")).unwrap();
        assert_eq!(spool.append_unwritten(set("hunter2")).unwrap(), 2);
        spool.append(&set("b")).unwrap();
        assert_eq!(numbers(&spool), [1, 2, 3]);
        assert!(!String::from_utf8(std::fs::read(&path).unwrap()).unwrap().contains("hunter2"));
        let mut spool = Spool::open(&path).unwrap();
        assert_eq!(numbers(&spool), [1, 3], "it was never acknowledged");
        assert_eq!(spool.append(&set("c")).unwrap(), 4);
    }

    #[test]
    fn the_file_shrinks_but_the_counter_never_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops");
        let mut spool = Spool::open(&path).unwrap();
        let long = "x".repeat(60_000);
        for op in 1..=6 {
            assert_eq!(spool.append(&set(&long)).unwrap(), op);
            spool.answered(op);
        }
        assert!(std::fs::metadata(&path).unwrap().len() < REWRITE_BYTES);
        let mut spool = Spool::open(&path).unwrap();
        spool.applied(6);
        assert_eq!(spool.append(&set("y")).unwrap(), 7);
    }
}
