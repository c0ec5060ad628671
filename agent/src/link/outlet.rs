//! The output of one step on its way to the coordinator.
//!
//! The log file is the queue: pieces are remembered by place and size, read again to be sent, and at
//! most [`WINDOW`] bytes are under way. A step that writes faster than the network carries costs disk,
//! not memory.

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

impl Outlet {
    /// Opens the log file; what an earlier life of the agent has written stays.
    pub(super) fn open(index: u32, path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
        let end = file.metadata()?.len();
        Ok(Outlet { index, file, end, pieces: VecDeque::new(), sent: 0, under_way: 0, known: end })
    }

    pub(super) fn append(&mut self, err: bool, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(LOG_CHUNK) {
            self.file.write_all(part)?;
            let offset = self.end;
            self.end += part.len() as u64;
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
            self.known = self.known.max(piece.offset + piece.size as u64);
            self.under_way += piece.size as u64;
            self.sent += 1;
        }
    }

    /// The coordinator has everything before `offset`.
    pub(super) fn acknowledged(&mut self, offset: u64) {
        while let Some(piece) = self.pieces.front()
            && piece.offset + piece.size as u64 <= offset
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

    fn outlet() -> (tempfile::TempDir, Outlet) {
        let folder = tempfile::tempdir().unwrap();
        let outlet = Outlet::open(0, &folder.path().join("log")).unwrap();
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
