//! Kind `process`: machines that are nothing but an agent, each a process of this host.
//!
//! For development and for large numbers. A machine is a folder with its user data, the agent's state
//! and its log; its processes bear its mark; its address is a loopback address of its own. Scripts run
//! with the coordinator's rights on this host, so only trusted people may use such a cloud.
//!
//! The folder is there before the process, so a crash in between leaves a machine that failed and can be
//! terminated. Agents are no part of the coordinator's process group: they survive it and Ctrl-C.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use slipstream_shared::id::RunId;

use super::{
    CloudEnv, CloudError, Connector, Kind, LaunchRequest, MachineState, Observed,
    local::{
        Folders, Host, Life, Machine, Marker, Record, SOCKETS, blocking, failed, find_program, hash, is_program,
        last_words, make_socket_dir, spawn_failed, tail, write_atomic,
    },
    settings,
};

pub(super) const KIND: Kind = Kind { name: "process", keys: &["agent"], open };

/// The only image there is.
const HOST: &str = "host";
const AGENT: &str = "slipstream-agent";
const USER_DATA: &str = "user-data";
/// The variable that stands for the boot of a machine, to its agent.
const BOOT: &str = "SLIPSTREAM_BOOT";
const LOG: &str = "agent.log";
/// How long an agent and its scripts have to end before they are killed.
const GRACE: Duration = Duration::from_secs(3);

fn open(name: &str, table: &toml::Table, env: &CloudEnv) -> Result<Arc<dyn Connector>, CloudError> {
    let agent = settings::path(name, table, "agent")?;
    Ok(Arc::new(ProcessCloud { agent, host: Host::new(env), addresses: Arc::default() }))
}

/// The folder of the machine that has an address. None: not read yet.
type Addresses = Mutex<Option<HashMap<Ipv4Addr, PathBuf>>>;

#[derive(Debug)]
struct ProcessCloud {
    agent: Option<PathBuf>,
    host: Host,
    addresses: Arc<Addresses>,
}

#[async_trait]
impl Connector for ProcessCloud {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn launches_machines(&self) -> bool {
        false
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
        self.agent()?;
        let folders = self.host.folders.clone();
        blocking(move || folders.prepare()).await
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<String, CloudError> {
        self.validate(Some(&request.image)).await?;
        let agent = self.agent()?;
        let (wanted, folders, addresses) = (request.clone(), self.host.folders.clone(), Arc::clone(&self.addresses));
        let claim = move || claim(&wanted, &folders, &addresses);
        let start = |machine: Machine| {
            let marker = self.host.marker(request.key.run, &machine.name);
            blocking(move || start(&agent, &machine, &marker))
        };
        self.host.launch(request, claim, start).await
    }

    async fn find(&self, run: RunId) -> Result<Vec<Observed>, CloudError> {
        let found = self.host.find(run).await?;
        // Those that have ended show the end of their log.
        blocking(move || Ok(found.into_iter().map(|(machine, life)| observe(machine, life)).collect())).await
    }

    async fn terminate(&self, run: RunId, machine: &str) -> Result<(), CloudError> {
        if let Some(machine) = self.host.terminate(run, machine, GRACE).await? {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            addresses.get_or_insert_default().remove(&machine.record.private);
        }
        Ok(())
    }

    fn can_power(&self) -> bool {
        true
    }

    async fn power(&self, run: RunId, machine: &str, on: bool) -> Result<(), CloudError> {
        if !on {
            return self.host.power_off(run, machine, GRACE).await;
        }
        let (agent, marker) = (self.agent()?, self.host.marker(run, machine));
        let start = |machine: Machine| blocking(move || start(&agent, &machine, &marker));
        self.host.power_on(run, machine, start).await
    }

    async fn release(&self, run: RunId) -> Result<(), CloudError> {
        self.host.release(run).await
    }

    async fn console(&self, run: RunId, machine: &str) -> Result<Option<String>, CloudError> {
        match self.host.get(run, machine).await? {
            Some(machine) => blocking(move || tail(&machine.dir.join(LOG))).await,
            None => Ok(None),
        }
    }
}

impl ProcessCloud {
    /// The agent's program.
    fn agent(&self) -> Result<PathBuf, CloudError> {
        if let Some(agent) = &self.agent {
            return is_program(agent).then(|| agent.clone()).ok_or_else(|| CloudError::Invalid {
                what: format!("the agent {} is not there or cannot be run", agent.display()),
                remedy: "correct the setting `agent`".to_owned(),
            });
        }
        let beside = std::env::current_exe().ok().map(|me| me.with_file_name(AGENT)).filter(|file| is_program(file));
        beside.or_else(|| find_program(Path::new(AGENT))).ok_or_else(|| CloudError::Invalid {
            what: format!("{AGENT} is neither beside the coordinator's program nor in PATH"),
            remedy: "put it there, or name it with the setting `agent`".to_owned(),
        })
    }
}

/// Makes the folder, with everything the agent needs.
fn claim(request: &LaunchRequest, folders: &Folders, addresses: &Addresses) -> Result<Machine, CloudError> {
    let user_data = request.user_data.0.to_user_data().map_err(|e| CloudError::Permanent(e.to_string()))?;
    let mut addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
    if addresses.is_none() {
        let all = folders.all()?.into_iter();
        *addresses = Some(all.map(|machine| (machine.record.private, machine.dir)).collect());
    }
    let used = addresses.get_or_insert_default();
    let private = address(&format!("{}/{}", request.key.run, request.name), used);
    let (key, image) = (request.key.clone(), request.image.clone());
    let record =
        Record { key, image, digest: None, private, ssh_port: None, size: request.size.clone(), disks: vec![] };
    let machine = folders.claim(&request.name, record, |dir| {
        let file = dir.join(USER_DATA);
        write_atomic(&file, user_data.as_bytes()).map_err(|e| failed("write", &file, &e))
    })?;
    used.insert(private, machine.dir.clone());
    Ok(machine)
}

/// Starts the agent; gives its process number.
fn start(agent: &Path, machine: &Machine, marker: &Marker) -> Result<i32, CloudError> {
    let dir = &machine.dir;
    let sockets = make_socket_dir(&dir.join(SOCKETS))?;
    let log = dir.join(LOG);
    let open_log = || {
        let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&log)?;
        Ok((file.try_clone()?, file))
    };
    let (out, err) = open_log().map_err(|e| failed("open", &log, &e))?;
    // The runtime takes the exit status once it ends: nobody waits for it here.
    let child = tokio::process::Command::new(agent)
        .arg("boot")
        .args([Path::new("--context"), &dir.join(USER_DATA)])
        .args([Path::new("--state-dir"), &dir.join("state")])
        .args([Path::new("--run-dir"), &sockets])
        .env_clear()
        .envs(["PATH", "LANG"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .env("HOME", dir)
        .env(Marker::VARIABLE, marker.to_string())
        .env(BOOT, next_boot(dir)?)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0)
        .spawn()
        .map_err(|e| spawn_failed(agent, &e))?;
    // It cannot have been waited for yet.
    child.id().and_then(|id| id.try_into().ok()).ok_or_else(|| CloudError::Transient("the agent has no pid".to_owned()))
}

/// Tells one start of a machine from the next, since all of them have the boot of this host.
fn next_boot(dir: &Path) -> Result<String, CloudError> {
    let file = dir.join("boots");
    let last: u64 = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let next = (last + 1).to_string();
    write_atomic(&file, next.as_bytes()).map_err(|e| failed("write", &file, &e))?;
    Ok(next)
}

fn observe(machine: Machine, life: Life) -> Observed {
    let state = match life {
        Life::Starting => MachineState::Pending,
        Life::Running(_) => MachineState::Running,
        Life::Terminating => MachineState::Terminating,
        Life::Ended if machine.is_stopped() => MachineState::Stopped,
        Life::Ended => MachineState::Failed(format!("the agent has ended; {}", last_words(&machine.dir.join(LOG)))),
    };
    let address = Some(machine.record.private.to_string());
    Observed {
        machine: machine.name,
        key: machine.record.key,
        state,
        public: address.clone(),
        private: address,
        ssh: None,
        size: machine.record.size,
        disks: BTreeSet::new(),
    }
}

/// A loopback address that follows from the name, unless another machine has it. Never in 127.0.0.0/16,
/// where this host's own services are.
fn address(name: &str, used: &HashMap<Ipv4Addr, PathBuf>) -> Ipv4Addr {
    let candidates = (0_u32..).map(|n| {
        let digest = hash(&format!("{name}#{n}"));
        Ipv4Addr::new(127, digest[0] % 254 + 1, digest[1], digest[2] % 254 + 1)
    });
    candidates
        .into_iter()
        .find(|address| used.get(address).is_none_or(|dir| !dir.exists()))
        .unwrap_or(Ipv4Addr::new(127, 1, 0, 1))
}

#[cfg(test)]
mod tests;
