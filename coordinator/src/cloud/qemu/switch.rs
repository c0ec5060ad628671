//! One VDE switch per run: started before its first VM, stopped after its last.
//!
//! The switch is a daemon with a mark of its own, so that the next coordinator finds it as well.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use slipstream_shared::id::RunId;
use tokio::process::Command;

use crate::cloud::{
    CloudError,
    local::{Host, Marker, blocking, failed, make_socket_dir, socket_path, spawn_failed},
};

/// How many VMs a run may have.
const PORTS: &str = "4096";
const GRACE: Duration = Duration::from_secs(2);
const START: Duration = Duration::from_secs(20);

/// The switches of all runs.
#[derive(Debug)]
pub(super) struct Switches {
    pub program: PathBuf,
    /// Held while one is started or stopped.
    changing: tokio::sync::Mutex<()>,
}

impl Switches {
    pub(super) fn new(program: PathBuf) -> Self {
        Switches { program, changing: tokio::sync::Mutex::default() }
    }

    /// Starts the switch of a run unless it runs; gives the folder VMs connect to. The run must have a
    /// machine by then: that keeps the switch.
    pub(super) async fn start(&self, host: &Host, run: RunId) -> Result<PathBuf, CloudError> {
        let _changing = self.changing.lock().await;
        let (wish, marker) = (folder(host, run), marker(host, run));
        let (sockets, pidfile) = (socket_path(&wish).join("net"), socket_path(&wish).join("pid"));
        let pid = fs::read_to_string(&pidfile).ok().and_then(|text| text.trim().parse().ok());
        if pid.is_some_and(|pid| marker.is_on(pid)) {
            return Ok(sockets);
        }
        // One that died, or was started by a coordinator that died at that moment.
        host.processes.end(&marker, GRACE).await?;
        remove(&wish).await?;
        make_socket_dir(&wish)?;
        // Once it is a daemon, its sockets are there.
        let started = Command::new(&self.program)
            .args(["-daemon", "-mode", "0600", "-numports", PORTS])
            .args([Path::new("-sock"), &sockets])
            .args([Path::new("-pidfile"), &pidfile])
            .env_clear()
            .env(Marker::VARIABLE, marker.to_string())
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(START, started).await;
        let output = output.map_err(|_| CloudError::Transient("vde_switch does not start".to_owned()))?;
        let output = output.map_err(|e| spawn_failed(&self.program, &e))?;
        if !output.status.success() || !sockets.join("ctl").exists() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(CloudError::Transient(format!("{} failed: {why}", self.program.display())));
        }
        Ok(sockets)
    }

    /// Stops the switch of a run that has no machine left.
    pub(super) async fn stop_unused(&self, host: &Host, run: RunId) -> Result<(), CloudError> {
        let _changing = self.changing.lock().await;
        // Machines about to be started count.
        let folders = host.folders.clone();
        let wish = folder(host, run);
        let unused = blocking(move || Ok(folders.list(run)?.is_empty())).await?;
        if !unused || !socket_path(&wish).exists() {
            return Ok(());
        }
        host.processes.end(&marker(host, run), GRACE).await?;
        remove(&wish).await
    }
}

fn marker(host: &Host, run: RunId) -> Marker {
    host.marker(run, ".switch")
}

fn folder(host: &Host, run: RunId) -> PathBuf {
    host.folders.run(run).join(".switch")
}

async fn remove(wish: &Path) -> Result<(), CloudError> {
    let dir = socket_path(wish);
    blocking(move || match fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", &dir, &e)),
        _ => Ok(()),
    })
    .await
}
