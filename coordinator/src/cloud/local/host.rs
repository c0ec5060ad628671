//! Launching, finding and ending machines of this host, whatever they are made of.
//!
//! A machine is claimed (its folder is made), then started (its processes run), then that is noted in
//! `started`. When the coordinator dies between claim and start, nothing runs: such a machine does not
//! count as one, and the next launch with its key makes it again. When it dies between start and note,
//! the mark of its processes tells.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use slipstream_shared::id::{AttemptKey, RunId};

use super::{Folders, Machine, Marker, Processes, blocking, failed, write_atomic};
use crate::cloud::{CloudEnv, CloudError, LaunchRequest};

/// Holds the number of the machine's main process.
const STARTED: &str = "started";

/// The machines of one cloud on this host.
#[derive(Debug)]
pub(in crate::cloud) struct Host {
    pub folders: Folders,
    pub processes: Processes,
    coordinator: String,
    /// Held while it is decided which launch of a key is the first.
    claiming: tokio::sync::Mutex<()>,
    /// Claimed, and about to be started by this coordinator.
    starting: Arc<Starting>,
}

type Starting = Mutex<HashSet<AttemptKey>>;

/// What a machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cloud) enum Life {
    Starting,
    /// Its main process runs; this is its number.
    Running(i32),
    /// Its main process ran.
    Ended,
    Terminating,
}

impl Host {
    pub(in crate::cloud) fn new(env: &CloudEnv) -> Self {
        Host {
            coordinator: env.coordinator_id.clone(),
            folders: Folders::new(&env.data),
            processes: Processes::default(),
            claiming: tokio::sync::Mutex::default(),
            starting: Arc::default(),
        }
    }

    pub(in crate::cloud) fn marker(&self, run: RunId, machine: &str) -> Marker {
        Marker::new(&self.coordinator, run, machine)
    }

    /// Gives the machine of the request's key, made by `claim` and `start` if there is none. `start` gives
    /// the number of its main process.
    pub(in crate::cloud) async fn launch<F>(
        &self,
        request: &LaunchRequest,
        claim: impl FnOnce() -> Result<Machine, CloudError> + Send + 'static,
        start: impl FnOnce(Machine) -> F + Send,
    ) -> Result<String, CloudError>
    where
        F: Future<Output = Result<i32, CloudError>> + Send,
    {
        let claiming = self.claiming.lock().await;
        if let Some(machine) = self.known(request).await? {
            return Ok(machine.name);
        }
        let _starting = Start::new(&self.starting, &request.key);
        let machine = blocking(claim).await?;
        drop(claiming);
        let (name, dir) = (machine.name.clone(), machine.dir.clone());
        let started = start(machine).await.and_then(|pid| note_start(&dir, pid));
        if let Err(error) = started {
            let removed = self.terminate(request.key.run, &name, Duration::ZERO).await;
            removed.map_err(|e| CloudError::Ambiguous(format!("{error}; then {e}")))?;
            return Err(error);
        }
        Ok(name)
    }

    /// The machine of a request. One that was never started is removed.
    async fn known(&self, request: &LaunchRequest) -> Result<Option<Machine>, CloudError> {
        let (folders, starting, coordinator) =
            (self.folders.clone(), Arc::clone(&self.starting), self.coordinator.clone());
        let (key, name) = (request.key.clone(), request.name.clone());
        let found = blocking(move || {
            let machine = folders.of(&name, &key)?;
            Ok(machine.map(|machine| (noted_life(&machine, &starting, &coordinator), machine)))
        });
        let Some((noted, machine)) = found.await? else { return Ok(None) };
        if noted.is_some() || self.marked_life(&machine).await?.is_some() {
            return Ok(Some(machine));
        }
        let folders = self.folders.clone();
        blocking(move || folders.remove(&machine)).await.map(|()| None)
    }

    /// All machines of a run that were started, or are just being.
    pub(in crate::cloud) async fn find(&self, run: RunId) -> Result<Vec<(Machine, Life)>, CloudError> {
        let (folders, starting, coordinator) =
            (self.folders.clone(), Arc::clone(&self.starting), self.coordinator.clone());
        let noted = blocking(move || {
            let machines = folders.list(run)?.into_iter();
            Ok(machines.map(|machine| (noted_life(&machine, &starting, &coordinator), machine)).collect::<Vec<_>>())
        });
        let mut found = Vec::new();
        for (life, machine) in noted.await? {
            let life = match life {
                None => self.marked_life(&machine).await?,
                known => known,
            };
            found.extend(life.map(|life| (machine, life)));
        }
        Ok(found)
    }

    /// What a machine does that has no note. None: it was never started.
    async fn marked_life(&self, machine: &Machine) -> Result<Option<Life>, CloudError> {
        let marker = self.marker(machine.record.key.run, &machine.name);
        let Some(pid) = self.processes.oldest(&marker).await? else { return Ok(None) };
        note_start(&machine.dir, pid)?;
        Ok(Some(Life::Running(pid)))
    }

    /// Ends a machine and removes its folder; gives what was known of it.
    pub(in crate::cloud) async fn terminate(
        &self,
        run: RunId,
        name: &str,
        grace: Duration,
    ) -> Result<Option<Machine>, CloudError> {
        let (folders, wanted) = (self.folders.clone(), name.to_owned());
        let found = blocking(move || {
            let machine = folders.get(run, &wanted)?;
            machine.as_ref().map(Machine::mark_terminating).transpose()?;
            Ok(machine)
        });
        let found = found.await?;
        // Even without a folder: somebody may have removed it by hand.
        let marker = self.marker(run, name);
        self.processes.end(&marker, grace).await?;
        if let Some(machine) = found.clone() {
            let folders = self.folders.clone();
            blocking(move || folders.remove(&machine)).await?;
            // A launch of the same moment: without the folder no further process can start.
            self.processes.end(&marker, Duration::ZERO).await?;
        }
        Ok(found)
    }

    /// Removes the folder of a run, with machines that were never started, unless others are left.
    pub(in crate::cloud) async fn release(&self, run: RunId) -> Result<(), CloudError> {
        let left = self.find(run).await?;
        let folders = self.folders.clone();
        if left.is_empty() { blocking(move || folders.release(run)).await } else { Ok(()) }
    }

    /// The folder of a machine, if there is one.
    pub(in crate::cloud) async fn get(&self, run: RunId, name: &str) -> Result<Option<Machine>, CloudError> {
        let (folders, name) = (self.folders.clone(), name.to_owned());
        blocking(move || folders.get(run, &name)).await
    }
}

/// What a machine does, as far as its folder tells.
fn noted_life(machine: &Machine, starting: &Starting, coordinator: &str) -> Option<Life> {
    if machine.is_terminating() {
        return Some(Life::Terminating);
    }
    // Asked before the note is read, which is written before this ends.
    if starting.lock().unwrap_or_else(PoisonError::into_inner).contains(&machine.record.key) {
        return Some(Life::Starting);
    }
    let pid = fs::read_to_string(machine.dir.join(STARTED)).ok()?.parse().ok()?;
    let marker = Marker::new(coordinator, machine.record.key.run, &machine.name);
    Some(if marker.is_on(pid) { Life::Running(pid) } else { Life::Ended })
}

pub(super) fn note_start(dir: &Path, pid: i32) -> Result<(), CloudError> {
    let file = dir.join(STARTED);
    write_atomic(&file, pid.to_string().as_bytes()).map_err(|e| failed("write", &file, &e))
}

/// Holds a key in `starting`, also when the launch is dropped on its way.
struct Start<'a>(&'a Starting, &'a AttemptKey);

impl<'a> Start<'a> {
    fn new(starting: &'a Starting, key: &'a AttemptKey) -> Self {
        starting.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        Start(starting, key)
    }
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(self.1);
    }
}
