//! Finding what a test has started, however it was started.

use std::{fs, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A process that belongs to a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command line.
    pub command: String,
}

/// All processes that have a folder in their command line or environment.
#[must_use]
pub fn processes_of(folder: &Path) -> Vec<Process> {
    let needle = folder.display().to_string();
    let Ok(all) = fs::read_dir("/proc") else { return vec![] };
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    all.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let text = |file: &str| {
                fs::read(format!("/proc/{pid}/{file}")).map(|b| String::from_utf8_lossy(&b).replace('\0', " "))
            };
            let command = text("cmdline").ok()?;
            // A zombie has neither; it is not left running.
            let belongs = command.contains(&needle) || text("environ").is_ok_and(|e| e.contains(&needle));
            belongs.then_some(Process { pid, command })
        })
        .collect()
}

impl Process {
    /// Kills it.
    pub fn kill(&self) {
        // It may have ended meanwhile.
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
    }
}
