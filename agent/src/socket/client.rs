//! The commands' side of the socket, without a runtime: a whole `ss-get` takes a millisecond or two.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use super::{Answer, MAX_LINE, Request};
use crate::{RUN_DIR, exit::End};

/// A request under way.
#[derive(Debug)]
pub struct Pending {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

/// Where the daemon of this machine listens: `SLIPSTREAM_SOCKET`, which every script has, or the usual
/// place.
#[must_use]
pub fn socket() -> PathBuf {
    match std::env::var_os("SLIPSTREAM_SOCKET") {
        Some(path) if !path.is_empty() => path.into(),
        _ => super::path(RUN_DIR.as_ref()),
    }
}

/// Sends a request.
///
/// # Errors
/// Nobody listens.
pub fn ask(request: &Request) -> io::Result<Pending> {
    let mut stream = UnixStream::connect(socket())?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(Pending { stream: BufReader::new(stream), line: Vec::new() })
}

impl Pending {
    /// The answer, or `None` if it does not come within `patience` (none: wait).
    ///
    /// # Errors
    /// The daemon went away.
    pub fn answer(&mut self, patience: Option<Duration>) -> io::Result<Option<Answer>> {
        self.stream.get_ref().set_read_timeout(patience)?;
        let room = MAX_LINE - self.line.len() as u64;
        match (&mut self.stream).take(room).read_until(b'\n', &mut self.line) {
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
            Err(e) => Err(e),
            Ok(_) if self.line.ends_with(b"\n") => Ok(Some(serde_json::from_slice(&self.line)?)),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Sends a request and waits for its answer. A daemon that is not there is an answer too.
#[must_use]
pub fn call(request: &Request) -> Answer {
    match ask(request).and_then(|mut pending| pending.answer(None)) {
        Ok(Some(answer)) => answer,
        Ok(None) => unreachable(&io::ErrorKind::TimedOut.into()),
        Err(e) => unreachable(&e),
    }
}

/// What to say when the daemon is not there.
#[must_use]
pub fn unreachable(e: &io::Error) -> Answer {
    let message = format!("cannot reach the agent of this machine at {}: {e}", socket().display());
    Answer::Failed { end: End::Unreachable, message }
}
