//! Kind `fake`: a cloud in memory that does what a script says, for tests and simulation.
//!
//! A [`World`] is the cloud, its connectors are only ways into it: what a coordinator left there is still
//! there for the next one. Time is the seam's, so that a paused clock drives boots and delays. Nothing
//! runs in its machines: whoever listens ([`World::starts`]) plays their agents.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use slipstream_shared::{
    disk::DiskName,
    id::{AttemptKey, RunId},
    plan::Size,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{CloudEnv, CloudError, Connector, Kind, LaunchRequest, MachineState, Observed};
use crate::seam::{Millis, Seam};

mod connector;

pub(super) const KIND: Kind = Kind { name: "fake", keys: &[], open };

fn open(_name: &str, _table: &toml::Table, env: &CloudEnv) -> Result<Arc<dyn Connector>, CloudError> {
    Ok(World::new(env.seam.clone()).connector())
}

/// The least memory that its machines have, in bytes.
const SMALLEST_RAM: u64 = 1 << 20;

/// What happens to a launch.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Refused; no machine is made.
    Refuse(CloudError),
    /// The machine is made, but the answer is lost.
    LoseAnswer,
    /// The request is lost: no machine, and the caller cannot know.
    LoseRequest,
    /// Accepted, but for that long nobody sees it.
    Hide(Duration),
    /// Accepted, but it never runs.
    NeverRun(String),
}

/// A machine that has begun to run.
#[derive(Debug)]
pub struct Started {
    /// Its identifier.
    pub machine: String,
    /// Whose it is.
    pub key: AttemptKey,
    /// What it was told.
    pub user_data: String,
    /// Its address.
    pub address: String,
    /// Cancelled when it ends, however it does.
    pub ended: CancellationToken,
}

/// How the cloud behaves until told otherwise.
#[derive(Debug, Clone)]
pub struct Habits {
    /// From accepted to running.
    pub boot: Duration,
    /// How long a terminated machine is still seen.
    pub linger: Duration,
    /// At most so many machines exist at once.
    pub capacity: usize,
    /// A second launch with the same key gives the first machine. Not every cloud can do that.
    pub idempotent: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Habits { boot: Duration::ZERO, linger: Duration::ZERO, capacity: usize::MAX, idempotent: true }
    }
}

/// A cloud in memory. Clones are the same cloud.
#[derive(Clone)]
pub struct World {
    seam: Seam,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    habits: Habits,
    launches: VecDeque<Fault>,
    refusals: VecDeque<CloudError>,
    finds: VecDeque<CloudError>,
    /// How often anybody asked what there is.
    asked: u32,
    terminations: VecDeque<CloudError>,
    /// Why nobody can reach it now.
    unreachable: Option<CloudError>,
    switches: VecDeque<CloudError>,
    changes: VecDeque<(CloudError, bool)>,
    /// How many disks anybody has made.
    disks: u32,
    /// It cannot do what not every cloud can.
    plain: bool,
    machines: BTreeMap<String, Machine>,
    launched: BTreeMap<AttemptKey, u32>,
    count: u32,
    listener: Option<mpsc::UnboundedSender<Started>>,
}

struct Machine {
    key: AttemptKey,
    number: u32,
    ordinal: u32,
    user_data: String,
    size: Size,
    disks: BTreeSet<DiskName>,
    visible: Millis,
    runs: Millis,
    /// Never runs, or ran once.
    halted: Option<MachineState>,
    gone: Option<Millis>,
    ended: CancellationToken,
}

impl World {
    /// An empty cloud.
    #[must_use]
    pub fn new(seam: Seam) -> Self {
        World { seam, state: Arc::default() }
    }

    /// A way into it.
    #[must_use]
    pub fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(self.clone())
    }

    /// Changes how it behaves.
    pub fn set_habits(&self, habits: Habits) {
        self.state().habits = habits;
    }

    /// What happens to the next launch that has no fault yet.
    pub fn fail_launch(&self, fault: Fault) {
        self.state().launches.push_back(fault);
    }

    /// Makes the next validation fail that does not yet.
    pub fn fail_validate(&self, error: CloudError) {
        self.state().refusals.push_back(error);
    }

    /// Makes the next find fail that does not yet.
    pub fn fail_find(&self, error: CloudError) {
        self.state().finds.push_back(error);
    }

    /// Makes the next termination fail that does not yet.
    pub fn fail_terminate(&self, error: CloudError) {
        self.state().terminations.push_back(error);
    }

    /// Makes every call fail from now on, until it is none again.
    pub fn set_unreachable(&self, why: Option<CloudError>) {
        self.state().unreachable = why;
    }

    /// Makes the next powering on or off fail that does not yet.
    pub fn fail_power(&self, error: CloudError) {
        self.state().switches.push_back(error);
    }

    /// Makes the next change of a machine's size or disks fail that does not yet; `done`: it is made all the same.
    pub fn fail_change(&self, error: CloudError, done: bool) {
        self.state().changes.push_back((error, done));
    }

    /// Makes it a cloud that can neither change sizes nor attach disks.
    pub fn make_plain(&self) {
        self.state().plain = true;
    }

    /// How many disks were ever made, those that came with a machine included.
    #[must_use]
    pub fn disks_made(&self) -> u32 {
        self.state().disks
    }

    /// Tells of every machine that begins to run from now on. There is one listener; the last one wins.
    #[must_use]
    pub fn starts(&self) -> mpsc::UnboundedReceiver<Started> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state().listener = Some(sender);
        receiver
    }

    /// How often a launch with this key reached the cloud.
    #[must_use]
    pub fn launches(&self, key: &AttemptKey) -> u32 {
        self.state().launched.get(key).copied().unwrap_or(0)
    }

    /// How often anybody asked what there is.
    #[must_use]
    pub fn finds(&self) -> u32 {
        self.state().asked
    }

    /// How many machines exist, seen or not.
    #[must_use]
    pub fn machines(&self) -> usize {
        let (now, mut state) = (self.seam.now(), self.state());
        state.bury(now);
        state.machines.len()
    }

    /// The machine powers off by itself.
    pub fn stop(&self, machine: &str) {
        if let Some(machine) = self.state().machines.get_mut(machine) {
            machine.halted = Some(MachineState::Stopped);
            machine.ended.cancel();
        }
    }

    /// The machine is gone, without a trace: somebody removed it behind our back.
    pub fn vanish(&self, machine: &str) {
        if let Some(machine) = self.state().machines.remove(machine) {
            machine.ended.cancel();
        }
    }

    /// Changes a machine, unless the script says otherwise.
    fn change(
        &self,
        run: RunId,
        machine: &str,
        change: impl FnOnce(&mut Machine, &mut u32) -> Result<(), CloudError>,
    ) -> Result<(), CloudError> {
        let mut state = self.state();
        let fault = state.changes.pop_front();
        if let Some(error) = state.unreachable.clone().or(fault.clone().filter(|(_, done)| !done).map(|(e, _)| e)) {
            return Err(error);
        }
        let State { machines, disks, .. } = &mut *state;
        let found = machines.get_mut(machine).filter(|found| found.key.run == run && found.gone.is_none());
        let found = found.ok_or_else(|| CloudError::Permanent(format!("there is no machine {machine}")))?;
        change(found, disks)?;
        fault.map_or(Ok(()), |(error, _)| Err(error))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the listener, once the machine runs.
    fn begin(&self, name: String, boot: Duration) {
        let world = self.clone();
        let tell = move || {
            let state = world.state();
            let (Some(machine), Some(listener)) = (state.machines.get(&name), &state.listener) else { return };
            if machine.halted.is_none() && machine.gone.is_none() {
                // Nobody has to listen.
                drop(listener.send(machine.started(&name)));
            }
        };
        if boot.is_zero() {
            return tell();
        }
        self.seam.spawn(async move {
            tokio::time::sleep(boot).await;
            tell();
        });
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("machines", &self.state().machines.len()).finish_non_exhaustive()
    }
}

impl State {
    /// Removes what has lingered long enough.
    fn bury(&mut self, now: Millis) {
        self.machines.retain(|_, machine| machine.gone.is_none_or(|gone| gone > now));
    }

    /// Makes a machine; gives its name, and true if it is a new one.
    fn make(&mut self, request: &LaunchRequest, now: Millis) -> Result<(String, bool), CloudError> {
        *self.launched.entry(request.key.clone()).or_default() += 1;
        let user_data = request.user_data.0.to_user_data().map_err(|e| CloudError::Permanent(e.to_string()))?;
        let first = self.machines.iter().find(|(_, machine)| machine.key == request.key);
        if let Some((name, _)) = first.filter(|_| self.habits.idempotent) {
            return Ok((name.clone(), false));
        }
        if self.machines.len() >= self.habits.capacity {
            return Err(CloudError::Capacity(format!("{} machines are all there is room for", self.habits.capacity)));
        }
        self.count += 1;
        let name = format!("fake-{}", self.count);
        let machine = Machine {
            key: request.key.clone(),
            number: self.count,
            ordinal: request.ordinal,
            user_data,
            size: request.size.clone(),
            disks: request.disks.iter().map(|disk| disk.name).collect(),
            visible: now,
            runs: now + millis(self.habits.boot),
            halted: None,
            gone: None,
            ended: CancellationToken::new(),
        };
        self.disks += u32::try_from(machine.disks.len()).unwrap_or(u32::MAX);
        self.machines.insert(name.clone(), machine);
        Ok((name, true))
    }
}

impl Machine {
    fn public(&self) -> String {
        let [_, high, middle, low] = self.number.to_be_bytes();
        format!("198.{}.{middle}.{low}", 18 + (high & 1))
    }

    fn private(&self) -> String {
        let [_, _, high, low] = self.ordinal.to_be_bytes();
        format!("10.78.{high}.{low}")
    }

    fn started(&self, name: &str) -> Started {
        Started {
            machine: name.to_owned(),
            key: self.key.clone(),
            user_data: self.user_data.clone(),
            address: self.public(),
            ended: self.ended.clone(),
        }
    }

    fn observe(&self, name: &str, now: Millis) -> Observed {
        let state = match &self.halted {
            _ if self.gone.is_some() => MachineState::Terminating,
            Some(halted) => halted.clone(),
            None if now < self.runs => MachineState::Pending,
            None => MachineState::Running,
        };
        let has_address = now >= self.runs && !matches!(state, MachineState::Failed(_));
        Observed {
            machine: name.to_owned(),
            key: self.key.clone(),
            public: has_address.then(|| self.public()),
            private: has_address.then(|| self.private()),
            ssh: None,
            state,
            size: self.size.clone(),
            disks: self.disks.clone(),
        }
    }
}

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
