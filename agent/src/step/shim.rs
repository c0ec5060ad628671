//! The small process between the agent and a script: it waits for the script and writes down how it
//! ended, so that the answer is not lost when the agent is restarted or upgraded in the meantime.
//!
//! It leads the script's process group and is the same program under a hidden command. SIGTERM is for
//! the script alone. It ends when the script's output has been read: a named pipe nobody holds open
//! forgets what is in it.

use std::{
    ffi::OsString,
    fs, io,
    os::{fd::AsFd as _, unix::process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{SigSet, Signal},
    unistd::getppid,
};
use serde::{Deserialize, Serialize};
use slipstream_shared::event::StepResult;

use crate::{
    durable::{read_if_there, write_atomic},
    system::{self, System},
};

/// How a script has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    exit: Option<i32>,
    signal: Option<i32>,
    error: Option<String>,
}

/// The process that stands between, found again by a later agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Its number, which is that of the group.
    pub(super) pid: u32,
    /// When it began, in the kernel's ticks: tells it from a later process of that number.
    ticks: String,
    /// In which boot.
    boot: String,
    /// When the script began, in milliseconds since 1970.
    pub(super) began: i64,
}

/// Where the two are kept.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) record: PathBuf,
    mark: PathBuf,
}

impl Files {
    pub(super) fn of(script: &Path) -> Self {
        Files { record: script.with_extension("ended"), mark: script.with_extension("running") }
    }

    /// Forgets an earlier try.
    pub(super) fn clear(&self) -> io::Result<()> {
        for path in [&self.record, &self.mark] {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Remembers the process that was started.
    pub(super) fn keep(&self, pid: u32, system: &System) -> io::Result<()> {
        let ticks = system::process_ticks(pid).unwrap_or_default();
        let mark = Mark { pid, ticks, boot: system.boot_id(), began: System::now().as_millisecond() };
        write_atomic(&self.mark, &serde_json::to_vec(&mark)?, 0o600)
    }

    /// The process an earlier agent has started, if it lives or has left its record.
    pub(super) fn found(&self, system: &System) -> Option<Mark> {
        let mark: Mark = serde_json::from_slice(&read_if_there(&self.mark).ok()??).ok()?;
        let same_boot = mark.boot == system.boot_id();
        (same_boot && (mark.lives() || self.record.exists())).then_some(mark)
    }

    /// How the script has ended; none if the process was killed before it could tell.
    pub(super) fn result(&self) -> Option<StepResult> {
        let record: Record = serde_json::from_slice(&read_if_there(&self.record).ok()??).ok()?;
        let cause = record.error.map(|e| format!("cannot run it: {e}"));
        Some(StepResult { exit: record.exit, signal: record.signal, cause, ..StepResult::default() })
    }
}

impl Mark {
    /// True while the process is there.
    pub(super) fn lives(&self) -> bool {
        system::process_ticks(self.pid).is_some_and(|ticks| ticks == self.ticks)
    }
}

/// The hidden command: runs `command` and records its end.
///
/// # Errors
/// The record can not be written.
pub fn run(record: &Path, command: &[OsString]) -> io::Result<()> {
    let agent = getppid();
    // Room for the record, should the script fill the disk.
    let reserve = record.with_extension("reserve");
    let _ = fs::write(&reserve, [0; 4096]);
    let ended = match start(command).and_then(|mut child| {
        // Not before: what is started would inherit it.
        let mut term = SigSet::empty();
        term.add(Signal::SIGTERM);
        term.thread_block()?;
        child.wait()
    }) {
        Ok(status) => Record { exit: status.code(), signal: status.signal(), error: None },
        Err(e) => Record { exit: None, signal: None, error: Some(e.to_string()) },
    };
    let _ = fs::remove_file(&reserve);
    write_atomic(record, &serde_json::to_vec(&ended)?, 0o600)?;
    let began = Instant::now();
    // Something left running may write for ever, so an agent that is there is not waited for long.
    while unread() && (began.elapsed() < DRAIN || getppid() != agent) {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// How long after a script's end its output may take to be read.
const DRAIN: Duration = Duration::from_millis(500);

/// True while there is output that nobody has read. Both pipes are open for reading as well.
fn unread() -> bool {
    let (out, err) = (io::stdout(), io::stderr());
    let mut pipes = [PollFd::new(out.as_fd(), PollFlags::POLLIN), PollFd::new(err.as_fd(), PollFlags::POLLIN)];
    poll(&mut pipes, PollTimeout::ZERO).is_ok_and(|readable| readable > 0)
}

fn start(command: &[OsString]) -> io::Result<std::process::Child> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut tries = 0;
    loop {
        match Command::new(program).args(arguments).spawn() {
            // A process being started elsewhere may hold the script open for writing for a moment.
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries < 50 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            started => return started,
        }
    }
}
