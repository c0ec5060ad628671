//! A coordinator that `up` starts for itself: found, started, waited for, stopped.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use slipstream_shared::client::Client;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    context::connect,
    exit::{Exit, fail},
    profile,
};

const NAME: &str = "slipstream-coordinator";

/// How long it may take to come up.
const START: Duration = Duration::from_secs(60);

/// How long it may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(30);

/// A running coordinator of ours.
pub(crate) struct Started {
    child: Child,
    group: Pid,
    data: PathBuf,
    /// The data folder if it is to vanish with the coordinator.
    scratch: Option<tempfile::TempDir>,
    written_before: Option<SystemTime>,
}

impl Started {
    /// Starts a coordinator with its data in `data`, or in a folder that vanishes with it.
    pub(crate) fn start(data: Option<&Path>, images: Option<&Path>) -> anyhow::Result<Self> {
        let scratch = match data {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new()
                    .prefix("slipstream-up-")
                    .tempdir()
                    .context("cannot make a folder for the coordinator's data")?,
            ),
        };
        let data = match (data, &scratch) {
            (Some(data), _) => data.to_owned(),
            (None, Some(scratch)) => scratch.path().to_owned(),
            (None, None) => unreachable!("one of them is there"),
        };
        fs::create_dir_all(&data).with_context(|| format!("cannot make the folder {}", data.display()))?;
        let data = fs::canonicalize(&data).with_context(|| format!("cannot use the folder {}", data.display()))?;
        let log = fs::File::create(data.join("coordinator.log")).context("cannot write the coordinator's log")?;
        let written_before = modified(&data.join("cli.toml"));
        let program = find();
        let mut command = Command::new(&program);
        command.args(["serve", "--dev", "--data"]).arg(&data);
        if let Some(images) = images {
            command.arg("--images").arg(images);
        }
        // A group of its own: Ctrl-C must reach us alone, so that the run is ended before its coordinator.
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the coordinator's log")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                let path = program.display();
                fail(Exit::Unreachable, format!("cannot start a coordinator ({path}): {error}; is {NAME} installed beside slipstream or in PATH?"))
            })?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw)
            .context("the coordinator ended at once")?;
        Ok(Started { child, group, data, scratch, written_before })
    }

    /// The profile by which it is reached.
    pub(crate) fn profile(&self) -> PathBuf {
        self.data.join("cli.toml")
    }

    /// What it prints.
    pub(crate) fn log(&self) -> PathBuf {
        self.data.join("coordinator.log")
    }

    /// Waits until it answers.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<Client> {
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot watch the coordinator")? {
                return Err(self.ended(status));
            }
            let written = modified(&self.profile());
            if written.is_some() && written != self.written_before {
                let client = connect(&profile::read(&self.profile())?)?;
                if client.health().await.is_ok() {
                    return Ok(client);
                }
            }
            if Instant::now() > deadline {
                let text =
                    format!("the coordinator did not come up within {} s\n{}", START.as_secs(), self.last_words());
                return Err(fail(Exit::Unreachable, text));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends when it ends by itself, with the error that this is.
    pub(crate) async fn died(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => self.ended(status),
            Err(error) => anyhow::Error::new(error).context("cannot watch the coordinator"),
        }
    }

    fn ended(&mut self, status: ExitStatus) -> anyhow::Error {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("with exit code {code}"),
            (None, Some(signal)) => format!("by signal {signal}"),
            (None, None) => "somehow".to_owned(),
        };
        fail(Exit::Unreachable, format!("the coordinator ended {how}\n{}", self.last_words()))
    }

    /// The end of its log, which is kept from now on.
    fn last_words(&mut self) -> String {
        self.keep();
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(10)..].join("\n  ");
        format!("  {last}\n  (all of it: {})", self.log().display())
    }

    /// Leaves its data where it is.
    pub(crate) fn keep(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            let _ = scratch.keep();
        }
    }

    /// Tells it to stop and waits for that; false when it had to be killed.
    pub(crate) async fn stop(&mut self) -> bool {
        let _ = killpg(self.group, Signal::SIGTERM);
        if timeout(STOP, self.child.wait()).await.is_ok() {
            return true;
        }
        self.kill().await;
        false
    }

    /// Ends it at once. Its data stays: it tells what may be left.
    pub(crate) async fn kill(&mut self) {
        self.keep();
        let _ = killpg(self.group, Signal::SIGKILL);
        let _ = self.child.wait().await;
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|m| m.modified()).ok()
}

/// Beside this program, else in PATH.
fn find() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name(NAME)).filter(|path| path.is_file());
    beside.unwrap_or_else(|| PathBuf::from(NAME))
}
