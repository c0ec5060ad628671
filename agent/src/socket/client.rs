//! The commands' side of the socket, without a runtime: a whole `ss-get` takes a millisecond or two.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use super::{Again, Answer, MAX_LINE, Request};
use crate::{RUN_DIR, exit::End};

/// Between two looks whether the daemon is back.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a daemon that has left its socket behind has to be there again: twice what our unit takes.
const START_WITHIN: Duration = Duration::from_secs(5);

/// How long a request that waits for nothing else waits for a daemon that went away.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// A request under way. When the daemon goes away, what may be asked again is asked again as soon as it is
/// back, until the request's own deadline.
#[derive(Debug)]
pub struct Pending {
    stream: Option<BufReader<UnixStream>>,
    line: Vec<u8>,
    request: Request,
    deadline: Option<Instant>,
    /// Since when the daemon that was asked first is not there any more.
    gone: Option<Instant>,
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

/// Sends a request. A daemon that has just ended has a moment to be started again.
///
/// # Errors
/// Nobody listens.
pub fn ask(request: &Request) -> io::Result<Pending> {
    let began = Instant::now();
    let deadline = request.timeout().and_then(|seconds| began.checked_add(Duration::from_secs(seconds)));
    let stream = loop {
        match send(request) {
            // Its end may also come between the connection and the request, which it then has not read.
            Err(e)
                if (is_gone(&e) || e.kind() == io::ErrorKind::ConnectionRefused) && began.elapsed() < START_WITHIN =>
            {
                sleep(LOOK_AGAIN);
            }
            sent => break Some(sent?),
        }
    };
    Ok(Pending { stream, line: Vec::new(), request: request.clone(), deadline, gone: None })
}

fn send(request: &Request) -> io::Result<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(socket())?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(BufReader::new(stream))
}

impl Pending {
    /// The answer, or `None` if it does not come within `patience` (none: wait).
    ///
    /// # Errors
    /// The daemon went away and did not come back in time, or the request may not be made twice.
    pub fn answer(&mut self, patience: Option<Duration>) -> io::Result<Option<Answer>> {
        let patience = patience.map(|patience| Instant::now() + patience);
        loop {
            let error = match self.read(patience) {
                // One that has just started does not know its run yet.
                Ok(Some(Answer::Failed { end: End::Unreachable, message })) if self.gone.is_some() => {
                    io::Error::other(message)
                }
                Err(e) if is_gone(&e) => e,
                other => return other,
            };
            self.stream = None;
            self.line.clear();
            let gone = *self.gone.get_or_insert_with(Instant::now);
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                let message = format!("the agent of this machine went away, and there is no answer in time: {error}");
                return Ok(Some(Answer::Failed { end: End::Timeout, message }));
            }
            match self.request.again() {
                Again::Never => return Err(error),
                Again::Soon if now >= gone + BACK_WITHIN => return Err(error),
                Again::Soon | Again::Always => {}
            }
            if patience.is_some_and(|patience| patience <= now) {
                return Ok(None);
            }
            sleep(LOOK_AGAIN);
            if let Some(deadline) = self.deadline {
                self.request.shorten(deadline.saturating_duration_since(Instant::now()));
            }
            self.stream = send(&self.request).ok();
        }
    }

    fn read(&mut self, patience: Option<Instant>) -> io::Result<Option<Answer>> {
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        let left = patience.map(|at| at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
        stream.get_ref().set_read_timeout(left)?;
        let room = MAX_LINE - self.line.len() as u64;
        match stream.take(room).read_until(b'\n', &mut self.line) {
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
            Err(e) => Err(e),
            Ok(_) if self.line.ends_with(b"\n") => Ok(Some(serde_json::from_slice(&self.line)?)),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// True when the daemon is not there any more.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
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
