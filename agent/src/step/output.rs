//! What a script writes: to its log, to the coordinator, to the journal.
//!
//! Standard output and error are named pipes, which the script holds open for reading as well. So what
//! a successful step leaves running never gets a broken pipe: not while the agent reads on in the
//! background, not while the agent is being restarted or upgraded. A new agent finds the pipes again.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use tokio::{io::AsyncReadExt as _, net::unix::pipe, task::JoinHandle};

use crate::{agent::Agent, trouble::say};

/// Longer lines are shown in pieces.
const MAX_LINE: usize = 4096;

/// The last line of a script's standard error that is not blank.
pub(super) type LastLine = Arc<Mutex<Option<String>>>;

/// Makes a pipe and begins to read it. Returns the end for the script, and the reading.
pub(super) fn capture(agent: &Arc<Agent>, path: &Path, target: Target) -> io::Result<(File, JoinHandle<()>)> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => mkfifo(path, Mode::from_bits_truncate(0o600))?,
    }
    // Opened for both first: without a writer the reader would see its end at once.
    let script = OpenOptions::new().read(true).write(true).open(path)?;
    let pipe = pipe::OpenOptions::new().open_receiver(path)?;
    Ok((script, read_in_background(agent, path, target, Vec::new(), Some(pipe))))
}

/// Where the bytes of a pipe belong.
pub(super) struct Target {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) err: bool,
    pub(super) last: LastLine,
}

/// Reads to the end of a pipe; `early` is what was read of it before. Without a pipe that is all.
fn read_in_background(
    agent: &Arc<Agent>,
    path: &Path,
    target: Target,
    early: Vec<u8>,
    mut pipe: Option<pipe::Receiver>,
) -> JoinHandle<()> {
    let (agent, path) = (Arc::clone(agent), path.to_owned());
    let tasks = agent.tasks.clone();
    tasks.spawn(async move {
        let mut sink = Sink { agent: &agent, target, held: Vec::new(), line: Vec::new(), complained: false };
        sink.take(&early);
        let mut buffer = vec![0; 16 * 1024];
        while let Some(pipe) = &mut pipe
            && let Ok(size) = pipe.read(&mut buffer).await
            && size > 0
        {
            sink.take(&buffer[..size]);
        }
        sink.end();
        drop(fs::remove_file(path));
    })
}

/// Reads on what an earlier agent has begun to read of one step.
pub(super) fn resume(agent: &Arc<Agent>, index: u32, last: &LastLine) -> Vec<JoinHandle<()>> {
    let mut readings = Vec::new();
    for (path, err) in agent.folder.pipes(index).into_iter().zip([false, true]) {
        match resume_one(agent, &path, index, err, last) {
            Ok(reading) => readings.extend(reading),
            Err(e) => say(format_args!("cannot read {} on: {e}", path.display())),
        }
    }
    readings
}

fn resume_one(
    agent: &Arc<Agent>,
    path: &Path,
    index: u32,
    err: bool,
    last: &LastLine,
) -> io::Result<Option<JoinHandle<()>>> {
    if !path.exists() {
        return Ok(None);
    }
    // The name of the step is in that of its log.
    let prefix = format!("{index}-");
    let log =
        fs::read_dir(agent.folder.file("log"))?.filter_map(Result::ok).map(|entry| entry.path()).find_map(|log| {
            let name = log.file_stem()?.to_str()?.strip_prefix(&prefix)?.to_owned();
            Some((log, name))
        });
    let Some((log, name)) = log else { return fs::remove_file(path).map(|()| None) };
    agent.link.open_log(index, &log, &agent.folder.sent(index))?;
    let target = Target { index, name, err, last: Arc::clone(last) };
    let mut file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    let mut early = Vec::new();
    // A pipe whose writers are gone never becomes readable: its end must be looked for.
    let pipe = match file.read_to_end(&mut early) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Some(pipe::Receiver::from_file(file)?),
        other => other.map(|_| None)?,
    };
    Ok(Some(read_in_background(agent, path, target, early, pipe)))
}

/// Goes on with the output of finished steps: what an earlier agent had not sent, and what those steps
/// have left running.
pub(super) fn resume_finished(agent: &Arc<Agent>) {
    for log in fs::read_dir(agent.folder.file("log")).into_iter().flatten().filter_map(Result::ok) {
        let name = log.file_name();
        if let Some(index) = name.to_str().and_then(|name| name.split_once('-')?.0.parse().ok())
            && let Err(e) = agent.link.open_log(index, &log.path(), &agent.folder.sent(index))
        {
            say(format_args!("cannot read {} on: {e}", log.path().display()));
        }
    }
    let pipes = fs::read_dir(agent.folder.file("pipes")).into_iter().flatten().filter_map(Result::ok);
    let steps = pipes.filter_map(|entry| entry.path().file_stem()?.to_str()?.parse().ok());
    for index in steps.collect::<BTreeSet<u32>>() {
        if agent.folder.finished(index).is_some() {
            resume(agent, index, &LastLine::default());
        }
    }
}

struct Sink<'a> {
    agent: &'a Agent,
    target: Target,
    /// Output that may be the beginning of a secret.
    held: Vec<u8>,
    line: Vec<u8>,
    complained: bool,
}

impl Sink<'_> {
    fn take(&mut self, bytes: &[u8]) {
        let (clean, held) = self.agent.scrub.clean(&[&self.held, bytes].concat());
        self.held = held;
        self.keep(&clean);
    }

    /// Nothing more will come.
    fn end(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.keep(&held);
        self.end_of_line();
    }

    fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Err(e) = self.agent.link.log(self.target.index, self.target.err, bytes)
            && !self.complained
        {
            say(format_args!("cannot keep the output of {}: {e}", self.target.name));
            self.complained = true;
        }
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() >= MAX_LINE {
                self.end_of_line();
            }
        }
    }

    fn end_of_line(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end();
        eprintln!("[{}] {line}", self.target.name);
        if self.target.err && !line.trim().is_empty() {
            *self.target.last.lock().expect("nothing panics while holding it") = Some(line.to_owned());
        }
        self.line.clear();
    }
}
