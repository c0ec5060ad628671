//! The processes of machines on this host.
//!
//! They are known by a variable in their environment, which children inherit even when they leave their
//! session and their parent. A program may overwrite its own environment (those that set their title do),
//! so the descendants of a marked process count as well; one that does both is lost from sight once its
//! parent has ended. A process number alone is never trusted: numbers are used again.

use std::{
    collections::HashMap,
    fmt, fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use slipstream_shared::id::RunId;
use tokio::sync::Mutex;

use super::{blocking, failed};
use crate::cloud::CloudError;

/// How long processes have to end between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Of the clock of `/proc/<pid>/stat`, in a second, on all that Linux runs on today.
const TICKS: u64 = 100;
/// For so many seconds a process that has no environment yet may be about to get one.
const YOUNG: u64 = 10;
/// How long killed processes may take to be gone.
const KILLED: Duration = Duration::from_secs(5);

/// The mark of one machine's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cloud) struct Marker(String);

impl Marker {
    /// The variable that holds it.
    pub(in crate::cloud) const VARIABLE: &str = "SLIPSTREAM_MACHINE";

    pub(in crate::cloud) fn new(coordinator: &str, run: RunId, machine: &str) -> Self {
        Marker(format!("{coordinator}/{run}/{machine}"))
    }

    /// True while the process of that number has this mark and runs. While a program takes a process over, its
    /// environment is empty for a moment; one that has just begun is believed.
    pub(in crate::cloud) fn is_on(&self, pid: i32) -> bool {
        let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else { return false };
        if environ.is_empty() {
            return Stat::of(pid).is_some_and(|stat| stat.runs && stat.is_young());
        }
        mark_in(&environ).is_some_and(|mark| mark == self.0)
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One process: its number, and when it began, in ticks since the host did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    began: u64,
}

impl Process {
    fn runs(self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.began == self.began && stat.runs)
    }

    fn signal(self, signal: Signal) {
        if self.runs() {
            // It may have ended since; whoever cannot be signalled is seen at the next look.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// Processes by mark.
type Marked = HashMap<String, Vec<Process>>;

/// All marked processes of this host.
#[derive(Debug, Default)]
pub(in crate::cloud) struct Processes {
    begun: AtomicU64,
    latest: Mutex<(u64, Arc<Marked>)>,
}

impl Processes {
    /// The process with the mark that began first.
    pub(in crate::cloud) async fn oldest(&self, marker: &Marker) -> Result<Option<i32>, CloudError> {
        let marked = self.marked(marker).await?;
        Ok(marked.into_iter().min_by_key(|process| process.began).map(|process| process.pid))
    }

    /// Ends all processes with the mark: asks, waits up to `grace`, kills.
    pub(in crate::cloud) async fn end(&self, marker: &Marker, grace: Duration) -> Result<(), CloudError> {
        let asked = self.marked(marker).await?;
        asked.iter().for_each(|process| process.signal(Signal::SIGTERM));
        let all_gone = async {
            while asked.iter().any(|process| process.runs()) {
                tokio::time::sleep(LOOK).await;
            }
        };
        // Late ones are killed below.
        drop(tokio::time::timeout(grace, all_gone).await);
        // What was born meanwhile is found by looking until there is nothing.
        let killing = async {
            loop {
                let left = self.marked(marker).await?;
                if left.is_empty() {
                    return Ok(());
                }
                left.iter().for_each(|process| process.signal(Signal::SIGKILL));
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(KILLED, killing).await.unwrap_or_else(|_| {
            Err(CloudError::Transient(format!("processes of {marker} do not end even when killed")))
        })
    }

    /// The running processes with the mark. Callers that come while somebody looks share the next look:
    /// thousands of machines may end at once.
    async fn marked(&self, marker: &Marker) -> Result<Vec<Process>, CloudError> {
        let before = self.begun.load(Ordering::SeqCst);
        let mut latest = self.latest.lock().await;
        if latest.0 <= before {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let found = blocking(|| look().map_err(|e| failed("read", Path::new("/proc"), &e))).await?;
            *latest = (number, Arc::new(found));
        }
        Ok(latest.1.get(&marker.0).cloned().unwrap_or_default())
    }
}

/// Finds all marked processes and their descendants, by mark.
fn look() -> io::Result<Marked> {
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let stats: HashMap<i32, Stat> = pids.filter_map(|pid| Some((pid, Stat::of(pid)?))).collect();
    let marks: HashMap<i32, String> = stats.keys().filter_map(|pid| Some((*pid, mark_of(*pid)?))).collect();
    let mut found = Marked::new();
    for (&pid, stat) in stats.iter().filter(|(_, stat)| stat.runs) {
        // The nearest ancestor with a mark decides. Bounded: parents change while we look.
        let line = std::iter::successors(Some(pid), |pid| stats.get(pid).map(|stat| stat.parent)).take(64);
        if let Some(mark) = line.into_iter().find_map(|pid| marks.get(&pid)) {
            found.entry(mark.clone()).or_default().push(Process { pid, began: stat.began });
        }
    }
    Ok(found)
}

/// The mark in the environment a process was started with. None for a zombie: it has none left.
fn mark_of(pid: i32) -> Option<String> {
    mark_in(&fs::read(format!("/proc/{pid}/environ")).ok()?)
}

fn mark_in(environ: &[u8]) -> Option<String> {
    environ.split(|byte| *byte == 0).find_map(|variable| {
        let value = variable.strip_prefix(Marker::VARIABLE.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

/// What `/proc/<pid>/stat` says.
struct Stat {
    runs: bool,
    parent: i32,
    began: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses and may hold anything.
        let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let began = fields.nth(17)?.parse().ok()?;
        Some(Stat { runs: !matches!(state, "Z" | "X"), parent, began })
    }

    /// Whether it has begun within the last seconds, by the clock of the host.
    fn is_young(&self) -> bool {
        let seconds = || fs::read_to_string("/proc/uptime").ok()?.split('.').next()?.parse::<u64>().ok();
        seconds().is_some_and(|now| self.began / TICKS + YOUNG > now)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn daemons_and_those_without_environment_are_found_and_ended() {
        let marker = Marker::new("test", RunId::new(1, [9; 10]), &format!("m{}", std::process::id()));
        // The first sleep is a daemon; the second has an empty environment, but a marked parent; the
        // shell ignores TERM.
        let mut shell = Command::new("sh")
            .args(["-c", "trap '' TERM; setsid -f sleep 1000; env -i sleep 1000 & echo ready; wait; sleep 1000"])
            .env(Marker::VARIABLE, marker.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        let mut line = String::new();
        let output = shell.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("line");
        let processes = Processes::default();
        while processes.marked(&marker).await.expect("read").len() < 3 {
            tokio::task::yield_now().await;
        }
        processes.end(&marker, Duration::from_millis(100)).await.expect("ended");
        assert_eq!(processes.oldest(&marker).await, Ok(None));
        shell.wait().expect("killed");
    }

    #[test]
    fn a_process_that_has_no_environment_yet_is_believed_for_some_seconds() {
        let marker = Marker::new("test", RunId::new(1, [9; 10]), "m");
        // It never gets one, so that what is a moment otherwise lasts.
        let mut sleep = Command::new("sleep").arg("1000").env_clear().spawn().expect("sleep");
        let pid = i32::try_from(sleep.id()).expect("fits");
        assert!(marker.is_on(pid), "it has just begun");
        let stat = Stat::of(pid).expect("runs");
        assert!(stat.is_young() && !Stat { began: 0, ..stat }.is_young(), "but nothing is that began with the host");
        sleep.kill().expect("killed");
        while Stat::of(pid).is_some_and(|stat| stat.runs) {
            std::thread::yield_now();
        }
        assert!(!marker.is_on(pid), "it has ended");
        sleep.wait().expect("ended");
    }

    #[test]
    fn a_number_used_again_is_another_process() {
        let me = i32::try_from(std::process::id()).expect("fits");
        let began = Stat::of(me).expect("runs").began;
        assert!(Process { pid: me, began }.runs());
        let other = Process { pid: me, began: began + 1 };
        assert!(!other.runs());
        other.signal(Signal::SIGKILL);
    }
}
