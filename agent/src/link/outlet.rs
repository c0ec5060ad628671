//! The output of one step on its way to the coordinator.
//!
//! The log file is the queue: pieces are remembered by place and size, read again to be sent, and at
//! most [`WINDOW`] bytes are under way. A step that writes faster than the network carries costs disk,
//! not memory. A second file lists the pieces and what is acknowledged, so that an agent that is
//! restarted leaves no hole.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use slipstream_shared::link::{LOG_CHUNK, Up};

use super::Sender;

/// The most bytes sent and not acknowledged.
const WINDOW: u64 = 256 * 1024;

/// The log file of a step and which pieces of it the coordinator does not have.
#[derive(Debug)]
pub struct Outlet {
    index: u32,
    file: File,
    list: File,
    end: u64,
    pieces: VecDeque<Piece>,
    /// How many of the first pieces were sent on this connection.
    sent: usize,
    under_way: u64,
    /// Everything before this place was sent on some connection; such pieces are never joined with
    /// newer ones, so that a piece sent again is the same.
    known: u64,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    offset: u64,
    size: usize,
    err: bool,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset + self.size as u64
    }
}

/// One entry of the list: place, size, and what it is.
const ENTRY: usize = 13;
const OUT: u8 = 0;
const ERR: u8 = 1;
/// Everything before the place is acknowledged.
const ACKNOWLEDGED: u8 = 2;

impl Outlet {
    /// Opens log and list; what an earlier life of the agent has written stays, and is sent if it was
    /// not acknowledged. In its entries, not joined: those start wherever the coordinator may be.
    pub(super) fn open(index: u32, log: &Path, list: &Path) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path);
        let (file, list) = (open(log)?, open(list)?);
        let end = file.metadata()?.len();
        let whole = list.metadata()?.len() / ENTRY as u64 * ENTRY as u64;
        list.set_len(whole)?;
        let mut entries = vec![0; usize::try_from(whole).map_err(io::Error::other)?];
        list.read_exact_at(&mut entries, 0)?;
        let mut pieces = VecDeque::new();
        let mut listed = 0;
        for entry in entries.chunks_exact(ENTRY) {
            let offset = u64::from_le_bytes(entry[..8].try_into().expect("eight of thirteen bytes"));
            let size = u32::from_le_bytes(entry[8..12].try_into().expect("four of thirteen bytes")) as usize;
            if entry[12] == ACKNOWLEDGED {
                while pieces.front().is_some_and(|piece: &Piece| piece.end() <= offset) {
                    pieces.pop_front();
                }
            } else if offset == listed && offset + size as u64 <= end {
                pieces.push_back(Piece { offset, size, err: entry[12] == ERR });
                listed = offset + size as u64;
            }
        }
        let mut outlet = Outlet { index, file, list, end, pieces, sent: 0, under_way: 0, known: end };
        // A crash between log and list: which stream it was is not known any more.
        while listed < end {
            let size = usize::try_from(end - listed).map_or(LOG_CHUNK, |rest| rest.min(LOG_CHUNK));
            outlet.write_entry(listed, size, OUT)?;
            outlet.pieces.push_back(Piece { offset: listed, size, err: false });
            listed += size as u64;
        }
        Ok(outlet)
    }

    fn write_entry(&mut self, offset: u64, size: usize, what: u8) -> io::Result<()> {
        let size = u32::try_from(size).map_err(io::Error::other)?;
        self.list.write_all(&[&offset.to_le_bytes()[..], &size.to_le_bytes(), &[what]].concat())
    }

    pub(super) fn append(&mut self, err: bool, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(LOG_CHUNK) {
            self.file.write_all(part)?;
            let offset = self.end;
            self.end += part.len() as u64;
            self.write_entry(offset, part.len(), if err { ERR } else { OUT })?;
            match self.pieces.back_mut() {
                Some(last) if last.err == err && last.offset >= self.known && last.size + part.len() <= LOG_CHUNK => {
                    last.size += part.len();
                }
                _ => self.pieces.push_back(Piece { offset, size: part.len(), err }),
            }
        }
        Ok(())
    }

    /// Sends as much as may be under way.
    pub(super) fn pump(&mut self, out: Option<&Sender>) {
        let Some(out) = out else { return };
        while self.under_way < WINDOW
            && let Some(piece) = self.pieces.get(self.sent)
        {
            let mut bytes = vec![0; piece.size];
            if self.file.read_exact_at(&mut bytes, piece.offset).is_err() {
                // Somebody has cut the log; there is nothing left to send.
                self.pieces.truncate(self.sent);
                return;
            }
            let data = STANDARD.encode(bytes);
            let _ = out.send(Up::Log { index: self.index, offset: piece.offset, err: piece.err, data });
            self.known = self.known.max(piece.end());
            self.under_way += piece.size as u64;
            self.sent += 1;
        }
    }

    /// The coordinator has everything before `offset`.
    pub(super) fn acknowledged(&mut self, offset: u64) {
        // If it can not be written the worst is that something is sent twice.
        let _ = self.write_entry(offset, 0, ACKNOWLEDGED);
        while let Some(piece) = self.pieces.front()
            && piece.end() <= offset
        {
            if self.sent > 0 {
                self.sent -= 1;
                self.under_way -= piece.size as u64;
            }
            self.pieces.pop_front();
        }
    }

    /// All that is not acknowledged is to be sent again.
    pub(super) fn disconnected(&mut self) {
        self.sent = 0;
        self.under_way = 0;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn sent(from: &mut UnboundedReceiver<Up>) -> Vec<(u64, bool, String)> {
        std::iter::from_fn(|| from.try_recv().ok())
            .map(|up| match up {
                Up::Log { offset, err, data, .. } => {
                    (offset, err, String::from_utf8(STANDARD.decode(data).unwrap()).unwrap())
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn open(folder: &tempfile::TempDir) -> Outlet {
        Outlet::open(0, &folder.path().join("log"), &folder.path().join("list")).unwrap()
    }

    fn outlet() -> (tempfile::TempDir, Outlet) {
        let folder = tempfile::tempdir().unwrap();
        let outlet = open(&folder);
        (folder, outlet)
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_in_the_same_pieces() {
        let (_folder, mut outlet) = outlet();
        let (out, mut wire) = unbounded_channel();
        outlet.append(false, b"one\n").unwrap();
        outlet.append(false, b"two\n").unwrap();
        outlet.append(true, b"oops\n").unwrap();
        outlet.pump(Some(&out));
        let first = sent(&mut wire);
        assert_eq!(first, [(0, false, "one\ntwo\n".into()), (8, true, "oops\n".into())]);
        outlet.acknowledged(8);
        outlet.disconnected();
        outlet.append(true, b"more\n").unwrap();
        outlet.pump(Some(&out));
        assert_eq!(sent(&mut wire), [(8, true, "oops\n".into()), (13, true, "more\n".into())]);
    }

    #[test]
    fn a_restarted_agent_leaves_no_hole() {
        let (folder, mut outlet) = outlet();
        for (err, text) in [(false, "one\n"), (false, "two\n"), (true, "oops\n")] {
            outlet.append(err, text.as_bytes()).unwrap();
        }
        outlet.acknowledged(4);
        outlet.file.write_all(b"unlisted\n").unwrap();
        drop(outlet);
        let mut outlet = open(&folder);
        outlet.append(false, b"new\n").unwrap();
        drop(outlet);
        let mut outlet = open(&folder);
        let (out, mut wire) = unbounded_channel();
        outlet.pump(Some(&out));
        let expected = [(4, false, "two\n"), (8, true, "oops\n"), (13, false, "unlisted\n"), (22, false, "new\n")];
        assert_eq!(sent(&mut wire), expected.map(|(offset, err, text)| (offset, err, text.to_owned())));
    }

    #[test]
    fn no_more_than_the_window_is_under_way() {
        let (_folder, mut outlet) = outlet();
        let (out, mut wire) = unbounded_channel();
        outlet.append(false, &vec![b'x'; 1_000_000]).unwrap();
        outlet.pump(Some(&out));
        let first = sent(&mut wire);
        assert_eq!(first.len() as u64, WINDOW / LOG_CHUNK as u64);
        outlet.acknowledged(2 * LOG_CHUNK as u64);
        outlet.pump(Some(&out));
        assert_eq!(sent(&mut wire).len(), 2);
    }
}
