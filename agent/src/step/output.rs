//! What a script writes: to its log, to the coordinator, to the journal.
//!
//! Standard output and error are named pipes, which the script holds open for reading as well. So what
//! a successful step leaves running never gets a broken pipe: not while the agent reads on in the
//! background, not while the agent is being restarted or upgraded. A new agent finds the pipes again.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
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
    let reading = read_in_background(agent, path, target)?;
    Ok((script, reading))
}

/// Where the bytes of a pipe belong.
pub(super) struct Target {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) err: bool,
    pub(super) last: LastLine,
}

fn read_in_background(agent: &Arc<Agent>, path: &Path, target: Target) -> io::Result<JoinHandle<()>> {
    let mut pipe = pipe::OpenOptions::new().open_receiver(path)?;
    let (agent, path) = (Arc::clone(agent), path.to_owned());
    let tasks = agent.tasks.clone();
    Ok(tasks.spawn(async move {
        let mut sink = Sink { agent: &agent, target, line: Vec::new(), complained: false };
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(size) = pipe.read(&mut buffer).await
            && size > 0
        {
            sink.take(&buffer[..size]);
        }
        sink.end_of_line();
        drop(fs::remove_file(path));
    }))
}

/// Reads on what scripts of an earlier life of the agent have left running.
pub(super) fn resume(agent: &Arc<Agent>) {
    let pipes = fs::read_dir(agent.folder.file("pipes")).into_iter().flatten().filter_map(Result::ok);
    for path in pipes.map(|entry| entry.path()) {
        if let Err(e) = resume_one(agent, &path) {
            say(format_args!("cannot read {} on: {e}", path.display()));
        }
    }
}

fn resume_one(agent: &Arc<Agent>, path: &PathBuf) -> io::Result<()> {
    let index = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
    let err = path.extension().is_some_and(|e| e == "err");
    let log = index.and_then(|index: u32| {
        let logs = fs::read_dir(agent.folder.file("log")).ok()?;
        let prefix = format!("{index}-");
        logs.filter_map(Result::ok)
            .map(|e| e.path())
            .find(|p| p.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
    });
    let (Some(index), Some(log)) = (index, log) else { return fs::remove_file(path) };
    agent.link.open_log(index, &log)?;
    let name = log.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.split_once('-').map_or(name.clone(), |(_, name)| name.to_owned());
    read_in_background(agent, path, Target { index, name, err, last: LastLine::default() }).map(|_| ())
}

struct Sink<'a> {
    agent: &'a Agent,
    target: Target,
    line: Vec<u8>,
    complained: bool,
}

impl Sink<'_> {
    fn take(&mut self, bytes: &[u8]) {
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
