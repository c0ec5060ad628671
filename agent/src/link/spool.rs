//! Changes on disk until the coordinator has answered them.
//!
//! The file `ops` has one JSON line per change, in order, after at most one line `{"next":N}` that
//! keeps the counter, and what was asked for by name lately, when the file was rewritten. A line
//! `{"unwritten":N}` stands for a change with a secret, whose number is durable and whose value is only in
//! memory. A line torn by a crash was never acknowledged to anybody and is cut off.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use slipstream_shared::link::{Change, RefusedChange, RefusedOp};

use super::requested::{self, Outcome, Requested};
use crate::durable::{read_if_there, sync_folder, write_atomic};

/// The most bytes of the file; beyond it changes are refused rather than the disk filled.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Room kept for what must be told even when a script has filled the disk.
const RESERVE: usize = 64 * 1024;

/// The file is rewritten when it is larger than this, and twice as large as after the last time.
const REWRITE_BYTES: u64 = 256 * 1024;

/// Numbered changes.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// It is rewritten when it has so many.
    rewrite_at: u64,
    next: u64,
    waiting: VecDeque<(u64, Change)>,
    /// Those of them that may not be on disk.
    unwritten: BTreeSet<u64>,
    requested: VecDeque<Requested>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    op: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(flatten)]
    change: Change,
}

#[derive(Serialize, Deserialize)]
struct Counter {
    next: u64,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    requested: VecDeque<Requested>,
}

#[derive(Serialize, Deserialize)]
struct Unwritten {
    unwritten: u64,
}

impl Spool {
    /// Reads what an earlier life of the agent has left.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let content = read_if_there(path)?.unwrap_or_default();
        let (mut waiting, mut requested) = (VecDeque::new(), VecDeque::new());
        let (mut next, mut bytes) = (1, 0);
        for line in content.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n")) {
            if let Ok(kept) = serde_json::from_slice::<Kept>(line) {
                next = next.max(kept.op + 1);
                if let Some(request) = kept.request {
                    remember(&mut requested, request, kept.op);
                }
                waiting.push_back((kept.op, kept.change));
            } else if let Ok(counter) = serde_json::from_slice::<Counter>(line) {
                (next, requested) = (counter.next, counter.requested);
            } else if let Ok(Unwritten { unwritten }) = serde_json::from_slice(line) {
                next = next.max(unwritten + 1);
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
        let rewrite_at = REWRITE_BYTES.max(2 * bytes);
        let unwritten = BTreeSet::new();
        Ok(Spool { path: path.to_owned(), file, bytes, rewrite_at, next, waiting, unwritten, requested })
    }

    /// Numbers a change and makes it durable, with the name of the request for it.
    ///
    /// # Errors
    /// It is not durable; its number is not used.
    pub fn append(&mut self, change: &Change, request: Option<String>) -> io::Result<u64> {
        let op = self.next;
        let line = line(&Kept { op, request: request.clone(), change: change.clone() })?;
        if self.bytes + line.len() as u64 > MAX_BYTES {
            self.rewrite();
        }
        if self.bytes + line.len() as u64 > MAX_BYTES {
            let waiting = self.waiting.len();
            let most = MAX_BYTES / 1024 / 1024;
            return Err(io::Error::other(format!(
                "{waiting} changes, {most} MiB, wait for the coordinator already; try again when it is back"
            )));
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
        if let Some(request) = request {
            remember(&mut self.requested, request, op);
        }
        Ok(op)
    }

    /// Numbers a change and makes its number durable, but nothing else of it.
    ///
    /// # Errors
    /// The number is not durable; it is not used.
    pub fn append_unwritten(&mut self, change: Change) -> io::Result<u64> {
        let op = self.next;
        let line = line(&Unwritten { unwritten: op })?;
        self.write(&line)?;
        self.bytes += line.len() as u64;
        self.next += 1;
        self.waiting.push_back((op, change));
        self.unwritten.insert(op);
        Ok(op)
    }

    /// The change that a request has made, if it is not too long ago.
    pub(super) fn requested(&self, request: &str) -> Option<&Requested> {
        self.requested.iter().rev().find(|known| known.request == request)
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
    pub fn answered(&mut self, op: u64, refused: Option<&RefusedChange>) {
        if let Ok(at) = self.waiting.binary_search_by_key(&op, |(waiting, _)| *waiting) {
            self.waiting.remove(at);
        }
        self.note(op, refused);
        self.tidy();
    }

    /// The number of the last change there was.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// All changes up to `last_op` were applied, but for those that were refused; returns those whose answers
    /// were lost.
    pub fn settled(&mut self, last_op: u64, refused: &[RefusedOp]) -> Vec<(u64, Option<RefusedChange>)> {
        let mut lost = Vec::new();
        while let Some(op) = self.waiting.front().map(|(op, _)| *op).filter(|op| *op <= last_op) {
            self.waiting.pop_front();
            let refused = refused.iter().find(|known| known.op == op).map(|known| known.refused.clone());
            self.note(op, refused.as_ref());
            lost.push((op, refused));
        }
        // A state folder that lost its tail must not use a number twice.
        self.next = self.next.max(last_op + 1);
        self.tidy();
        lost
    }

    fn note(&mut self, op: u64, refused: Option<&RefusedChange>) {
        self.unwritten.remove(&op);
        if let Some(known) = self.requested.iter_mut().rev().find(|known| known.op == op) {
            known.answer = Some(Outcome { refused: refused.cloned() });
        }
    }

    fn tidy(&mut self) {
        if self.bytes >= self.rewrite_at {
            self.rewrite();
        }
    }

    /// Leaves out of the file what was answered.
    fn rewrite(&mut self) {
        let counter = Counter { next: self.next, requested: self.requested.clone() };
        let mut content = line(&counter).expect("plain data serializes");
        for (op, change) in self.waiting.iter().filter(|(op, _)| !self.unwritten.contains(op)) {
            let request = self.requested.iter().find(|known| known.op == *op).map(|known| known.request.clone());
            let kept = Kept { op: *op, request, change: change.clone() };
            content.extend(line(&kept).expect("it was serialized before"));
        }
        let renewed =
            write_atomic(&self.path, &content, 0o600).and_then(|()| OpenOptions::new().append(true).open(&self.path));
        // If it fails the file is larger than it need be, that is all.
        if let Ok(file) = renewed {
            self.file = file;
            self.bytes = content.len() as u64;
        }
        self.rewrite_at = REWRITE_BYTES.max(2 * self.bytes);
    }
}

fn remember(all: &mut VecDeque<Requested>, request: String, op: u64) {
    if all.iter().any(|known| known.op == op) {
        return;
    }
    all.push_back(Requested { request, op, answer: None });
    if all.len() > requested::MOST {
        all.pop_front();
    }
}

fn line(of: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(of)?;
    line.push(b'\n');
    Ok(line)
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
            spool.append(&set(value), None).unwrap();
        }
        drop(spool);
        let mut spool = Spool::open(&path).unwrap();
        assert_eq!(spool.unanswered().cloned().collect::<Vec<_>>(), [(1, set("a")), (2, set("b")), (3, set("c"))]);
        assert_eq!(spool.settled(2, &[]), [(1, None), (2, None)]);
        assert_eq!(spool.append(&Change::CancelAbort, None).unwrap(), 4);
        spool.answered(3, None);
        assert_eq!(numbers(&spool), [4]);
    }

    #[test]
    fn a_torn_line_is_cut_off_wherever_the_crash_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops");
        let mut spool = Spool::open(&path).unwrap();
        spool.append(&set("a"), None).unwrap();
        let one = std::fs::metadata(&path).unwrap().len();
        spool.append(&set("b"), None).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for end in one..whole.len() as u64 {
            std::fs::write(&path, &whole[..usize::try_from(end).unwrap()]).unwrap();
            let mut spool = Spool::open(&path).unwrap();
            assert_eq!(numbers(&spool), [1], "cut at {end}");
            assert_eq!(spool.append(&set("again"), None).unwrap(), 2);
            assert_eq!(numbers(&Spool::open(&path).unwrap()), [1, 2]);
        }
    }

    #[test]
    fn of_a_secret_only_the_number_is_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops");
        let mut spool = Spool::open(&path).unwrap();
        spool.append(&set("a"), Some("asked".into())).unwrap();
        assert_eq!(spool.append_unwritten(set("hunter2")).unwrap(), 2);
        spool.append(&set("b"), None).unwrap();
        assert_eq!(numbers(&spool), [1, 2, 3]);
        let leaked = || String::from_utf8(std::fs::read(&path).unwrap()).unwrap().contains("hunter2");
        assert!(!leaked());
        spool.rewrite();
        assert!(!leaked(), "nor when the file is written again while it waits");
        assert_eq!(spool.append_unwritten(set("hunter2")).unwrap(), 4);
        let mut spool = Spool::open(&path).unwrap();
        assert_eq!(numbers(&spool), [1, 3], "it was never acknowledged");
        assert_eq!(spool.requested("asked").map(|known| known.op), Some(1));
        assert_eq!(spool.append(&set("c"), None).unwrap(), 5);
    }

    #[test]
    fn the_file_shrinks_but_the_counter_never_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops");
        let mut spool = Spool::open(&path).unwrap();
        let long = "x".repeat(60_000);
        for op in 1..=6 {
            assert_eq!(spool.append(&set(&long), None).unwrap(), op);
            spool.answered(op, None);
        }
        assert!(std::fs::metadata(&path).unwrap().len() < REWRITE_BYTES);
        let mut spool = Spool::open(&path).unwrap();
        spool.settled(6, &[]);
        assert_eq!(spool.append(&set("y"), None).unwrap(), 7);
    }

    #[test]
    fn a_request_makes_its_change_once_also_after_restarts_and_rewrites() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops");
        let mut spool = Spool::open(&path).unwrap();
        let no = RefusedChange { code: slipstream_shared::link::RefusedCode::Invalid, message: "no".into() };
        for (op, name) in [(1, "one"), (2, "two"), (3, "three")] {
            assert_eq!(spool.append(&set(name), Some(name.into())).unwrap(), op);
        }
        spool.answered(1, None);
        spool.answered(2, Some(&no));
        let answer = |spool: &Spool, name: &str| spool.requested(name).map(|known| (known.op, known.answer.clone()));
        spool.rewrite();
        let mut spool = Spool::open(&path).unwrap();
        assert_eq!(numbers(&spool), [3], "only what waits is kept");
        assert_eq!(answer(&spool, "one"), Some((1, Some(Outcome { refused: None }))));
        assert_eq!(answer(&spool, "two"), Some((2, Some(Outcome { refused: Some(no.clone()) }))));
        assert_eq!(answer(&spool, "three"), Some((3, None)));
        assert_eq!(answer(&spool, "four"), None);
        let refused = RefusedOp { op: 3, refused: no.clone() };
        assert_eq!(spool.settled(3, &[refused]), [(3, Some(no.clone()))]);
        assert_eq!(answer(&spool, "three"), Some((3, Some(Outcome { refused: Some(no) }))));
        assert_eq!(spool.append(&set("x"), None).unwrap(), 4);
    }

    #[test]
    fn the_file_shrinks_although_something_always_waits_and_is_bounded_when_all_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops");
        let mut spool = Spool::open(&path).unwrap();
        let long = "x".repeat(60_000);
        spool.append(&set(&long), None).unwrap();
        for op in 2..=40 {
            spool.append(&set(&long), None).unwrap();
            spool.answered(op - 1, None);
        }
        assert!(std::fs::metadata(&path).unwrap().len() < 2 * REWRITE_BYTES);
        let waiting = numbers(&Spool::open(&path).unwrap());
        assert!(
            waiting.len() < 10 && waiting.last() == Some(&40),
            "what was answered since is told again: {waiting:?}"
        );
        let long = "x".repeat(64 * 1024);
        let mut kept = 1;
        let error = loop {
            match spool.append(&set(&long), None) {
                Ok(_) => kept += 1,
                Err(e) => break e.to_string(),
            }
        };
        let wanted = format!("{kept} changes, 64 MiB, wait for the coordinator already; try again when it is back");
        assert_eq!(error, wanted);
        assert!(kept > 900 && std::fs::metadata(&path).unwrap().len() <= MAX_BYTES);
        let numbers = numbers(&spool);
        for op in numbers {
            spool.answered(op, None);
        }
        spool.append(&set(&long), None).expect("there is room again");
        assert!(std::fs::metadata(&path).unwrap().len() < MAX_BYTES / 2);
    }
}
