//! Kind `process`: machines that are nothing but an agent, each a process of this host.
//!
//! For development and for large numbers. A machine is a folder with its user data, the agent's state
//! and its log; its processes bear its mark; its address is a loopback address of its own. Scripts run
//! with the coordinator's rights on this host, so only trusted people may use such a cloud.
//!
//! The folder is there before the process, so a crash in between leaves a machine that failed and can be
//! terminated. Agents are no part of the coordinator's process group: they survive it and Ctrl-C.

use std::{
    collections::HashSet,
    fs,
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use slipstream_shared::id::{AttemptKey, RunId};

use super::{
    CloudEnv, CloudError, Connector, Kind, LaunchRequest, MachineState, Observed,
    local::{
        Folders, Machine, Marker, Processes, Record, SOCKETS, blocking, failed, find_program, hash, is_program,
        last_words, make_socket_dir, spawn_failed, tail, write_atomic,
    },
    settings,
};

pub(super) const KIND: Kind = Kind { name: "process", keys: &["agent"], open };

/// The only image there is.
const HOST: &str = "host";
const AGENT: &str = "slipstream-agent";
const USER_DATA: &str = "user-data";
const LOG: &str = "agent.log";
/// How long an agent and its scripts have to end before they are killed.
const GRACE: Duration = Duration::from_secs(3);

fn open(name: &str, table: &toml::Table, env: &CloudEnv) -> Result<Arc<dyn Connector>, CloudError> {
    let agent = settings::path(name, table, "agent")?;
    Ok(Arc::new(ProcessCloud(Arc::new(Inner {
        agent,
        coordinator: env.coordinator_id.clone(),
        folders: Folders::new(&env.data),
        processes: Processes::default(),
        busy: Mutex::default(),
    }))))
}

#[derive(Debug)]
struct ProcessCloud(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    agent: Option<PathBuf>,
    coordinator: String,
    folders: Folders,
    processes: Processes,
    busy: Mutex<Busy>,
}

/// What is under way in this process.
#[derive(Debug, Default)]
struct Busy {
    /// All addresses in use; read from the folders at the first launch.
    addresses: Option<HashSet<Ipv4Addr>>,
    /// Launches between their folder and their process.
    starting: HashSet<AttemptKey>,
}

#[async_trait]
impl Connector for ProcessCloud {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn coordinator_hosts(&self) -> Vec<String> {
        vec![Ipv4Addr::LOCALHOST.to_string()]
    }

    async fn validate(&self, image: Option<&str>) -> Result<(), CloudError> {
        if let Some(image) = image.filter(|image| *image != HOST) {
            return Err(CloudError::Invalid {
                what: format!("there is no image `{image}`: machines of this cloud are processes of this host"),
                remedy: format!("the only image is `{HOST}`"),
            });
        }
        let inner = Arc::clone(&self.0);
        blocking(move || {
            inner.agent()?;
            inner.folders.prepare()
        })
        .await
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<String, CloudError> {
        self.validate(Some(&request.image)).await?;
        let (inner, wanted) = (Arc::clone(&self.0), request.clone());
        let (machine, started) = blocking(move || inner.launch(&wanted)).await?;
        if let Err(error) = started {
            let removed = self.terminate(request.key.run, &machine).await;
            removed.map_err(|e| CloudError::Ambiguous(format!("{error}; then {e}")))?;
            return Err(error);
        }
        Ok(machine)
    }

    async fn find(&self, run: RunId) -> Result<Vec<Observed>, CloudError> {
        let inner = Arc::clone(&self.0);
        let seen = blocking(move || {
            let machines = inner.folders.list(run)?;
            Ok(machines.into_iter().map(|machine| (inner.state(&machine), machine)).collect::<Vec<_>>())
        });
        let mut found = Vec::new();
        for (state, machine) in seen.await? {
            let state = match state {
                Some(state) => state,
                None => self.state_by_mark(&machine).await?,
            };
            let address = Some(machine.record.private.to_string());
            let (key, private) = (machine.record.key, address.clone());
            found.push(Observed { machine: machine.name, key, state, public: address, private, ssh: None });
        }
        Ok(found)
    }

    async fn terminate(&self, run: RunId, machine: &str) -> Result<(), CloudError> {
        let (inner, name) = (Arc::clone(&self.0), machine.to_owned());
        let found = blocking(move || inner.mark_terminating(run, &name)).await?;
        // Even without a folder: somebody may have removed it by hand.
        let marker = self.0.marker(run, machine);
        self.0.processes.end(&marker, GRACE).await?;
        if let Some(machine) = found {
            let inner = Arc::clone(&self.0);
            blocking(move || inner.forget(&machine)).await?;
            // A launch of the same moment: without the folder no further one can start.
            self.0.processes.end(&marker, Duration::ZERO).await?;
        }
        Ok(())
    }

    async fn release(&self, run: RunId) -> Result<(), CloudError> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.folders.release(run)).await
    }

    async fn console(&self, run: RunId, machine: &str) -> Result<Option<String>, CloudError> {
        let (inner, name) = (Arc::clone(&self.0), machine.to_owned());
        blocking(move || match inner.folders.get(run, &name)? {
            Some(machine) => tail(&machine.dir.join(LOG)),
            None => Ok(None),
        })
        .await
    }
}

impl ProcessCloud {
    /// The state of a machine whose process was never written down: the coordinator died at that moment.
    async fn state_by_mark(&self, machine: &Machine) -> Result<MachineState, CloudError> {
        let marker = self.0.marker(machine.record.key.run, &machine.name);
        Ok(if self.0.processes.any(&marker).await? {
            MachineState::Running
        } else {
            MachineState::Failed("the coordinator ended before it could start the agent".to_owned())
        })
    }
}

impl Inner {
    fn busy(&self) -> MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn marker(&self, run: RunId, machine: &str) -> Marker {
        Marker::new(&self.coordinator, run, machine)
    }

    /// The agent's program.
    fn agent(&self) -> Result<PathBuf, CloudError> {
        if let Some(agent) = &self.agent {
            return if is_program(agent) {
                Ok(agent.clone())
            } else {
                Err(CloudError::Invalid {
                    what: format!("the agent {} is not there or cannot be run", agent.display()),
                    remedy: "correct the setting `agent`".to_owned(),
                })
            };
        }
        let beside = std::env::current_exe().ok().map(|me| me.with_file_name(AGENT)).filter(|file| is_program(file));
        beside.or_else(|| find_program(Path::new(AGENT))).ok_or_else(|| CloudError::Invalid {
            what: format!("{AGENT} is neither beside the coordinator's program nor in PATH"),
            remedy: "put it there, or name it with the setting `agent`".to_owned(),
        })
    }

    /// Makes a machine and starts it. The second result says whether it started.
    fn launch(&self, request: &LaunchRequest) -> Result<(String, Result<(), CloudError>), CloudError> {
        let mut busy = self.busy();
        let known = self.folders.list(request.key.run)?;
        if let Some(machine) = known.into_iter().find(|machine| machine.record.key == request.key) {
            return Ok((machine.name, Ok(())));
        }
        let machine = self.claim(request, &mut busy)?;
        busy.starting.insert(request.key.clone());
        drop(busy);
        let started = self.start(&machine);
        self.busy().starting.remove(&request.key);
        Ok((machine.name, started))
    }

    /// Makes the folder, with everything the agent needs.
    fn claim(&self, request: &LaunchRequest, busy: &mut Busy) -> Result<Machine, CloudError> {
        let user_data = request.user_data.0.to_user_data().map_err(|e| CloudError::Permanent(e.to_string()))?;
        if busy.addresses.is_none() {
            busy.addresses = Some(self.folders.all()?.iter().map(|machine| machine.record.private).collect());
        }
        let used = busy.addresses.get_or_insert_default();
        let private = address(&format!("{}/{}", request.key.run, request.name), used);
        let record = Record { key: request.key.clone(), image: request.image.clone(), private, ssh_port: None };
        let machine = self.folders.claim(&request.name, record, |dir| {
            let file = dir.join(USER_DATA);
            write_atomic(&file, user_data.as_bytes()).map_err(|e| failed("write", &file, &e))
        })?;
        used.insert(private);
        Ok(machine)
    }

    /// Starts the agent and writes down which process it is.
    fn start(&self, machine: &Machine) -> Result<(), CloudError> {
        let agent = self.agent()?;
        let dir = &machine.dir;
        let sockets = make_socket_dir(&dir.join(SOCKETS))?;
        let log = dir.join(LOG);
        let open_log = || {
            let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&log)?;
            Ok((file.try_clone()?, file))
        };
        let (out, err) = open_log().map_err(|e| failed("open", &log, &e))?;
        let marker = self.marker(machine.record.key.run, &machine.name);
        // The runtime takes the exit status once it ends: nobody waits for it here.
        let child = tokio::process::Command::new(&agent)
            .arg("boot")
            .args([Path::new("--context"), &dir.join(USER_DATA)])
            .args([Path::new("--state-dir"), &dir.join("state")])
            .args([Path::new("--run-dir"), &sockets])
            .env_clear()
            .envs(["PATH", "LANG"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("HOME", dir)
            .env(Marker::VARIABLE, marker.to_string())
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|e| spawn_failed(&agent, &e))?;
        let pid = child.id().unwrap_or_default().to_string();
        write_atomic(&dir.join("pid"), pid.as_bytes()).map_err(|e| failed("write", &dir.join("pid"), &e))
    }

    /// The state of a machine. None: only a look at all processes can tell.
    fn state(&self, machine: &Machine) -> Option<MachineState> {
        if machine.is_terminating() {
            return Some(MachineState::Terminating);
        }
        if self.busy().starting.contains(&machine.record.key) {
            return Some(MachineState::Pending);
        }
        let pid = fs::read_to_string(machine.dir.join("pid")).ok()?.parse().ok()?;
        Some(if self.marker(machine.record.key.run, &machine.name).is_on(pid) {
            MachineState::Running
        } else {
            MachineState::Failed(format!("the agent has ended; {}", last_words(&machine.dir.join(LOG))))
        })
    }

    fn mark_terminating(&self, run: RunId, name: &str) -> Result<Option<Machine>, CloudError> {
        let machine = self.folders.get(run, name)?;
        if let Some(machine) = &machine {
            machine.mark_terminating()?;
        }
        Ok(machine)
    }

    /// Removes the folder of a machine that does not run.
    fn forget(&self, machine: &Machine) -> Result<(), CloudError> {
        self.folders.remove(machine)?;
        if let Some(used) = &mut self.busy().addresses {
            used.remove(&machine.record.private);
        }
        Ok(())
    }
}

/// A loopback address that follows from the name, unless another machine has it. Never in 127.0.0.0/16,
/// where this host's own services are.
fn address(name: &str, used: &HashSet<Ipv4Addr>) -> Ipv4Addr {
    let candidates = (0_u32..).map(|n| {
        let digest = hash(&format!("{name}#{n}"));
        Ipv4Addr::new(127, digest[0] % 254 + 1, digest[1], digest[2] % 254 + 1)
    });
    candidates.into_iter().find(|address| !used.contains(address)).unwrap_or(Ipv4Addr::new(127, 1, 0, 1))
}

#[cfg(test)]
mod tests;
