//! Kind `qemu`: virtual machines on this host, without any privilege.
//!
//! Each VM has two networks: one in user mode, on which it reaches the world and, as 10.0.2.2, this host;
//! and a VDE switch that it shares with the other VMs of its run, and nobody else. The address on that
//! one goes with the context, and the agent sets it. VMs and switches are daemons of their own and
//! outlive the coordinator; a VM that has ended is never started again.
//!
//! Not bridges and taps, because those need root.

mod accel;
mod disks;
mod image;
mod monitor;
mod seed;
mod start;
mod switch;

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use slipstream_shared::{
    context::Context,
    disk::{Disk, DiskName},
    id::RunId,
    plan::Size,
};

use self::{accel::Accel, image::Image, start::Start, switch::Switches};
use super::{
    CloudEnv, CloudError, Connector, Kind, LaunchRequest, MachineState, Observed,
    local::{Folders, Host, Life, Machine, Record, blocking, failed, find_program, last_words, tail, write_atomic},
    settings,
};

pub(super) const KIND: Kind =
    Kind { name: "qemu", keys: &["images", "qemu", "accel", "vde_switch", "private_net"], open };

const CONSOLE: &str = "console.log";
const SEED: &str = "seed.img";
const DISK: &str = "disk.qcow2";
const PIDFILE: &str = "pid";
const QMP: &str = "qmp.sock";
/// QEMU ends at once when asked: what its guest still does does not matter.
const GRACE: Duration = Duration::from_secs(3);
/// The most processors that its board takes.
const MOST_CPUS: u32 = 255;
/// How long a guest has to power off by itself.
const POWER_OFF: Duration = Duration::from_secs(60);
/// What the user network's address of this host is to a guest.
const THIS_HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

fn open(name: &str, table: &toml::Table, env: &CloudEnv) -> Result<Arc<dyn Connector>, CloudError> {
    let program =
        |key: &str, usual: &str| settings::text(name, table, key).map(|given| PathBuf::from(given.unwrap_or(usual)));
    let images = settings::path(name, table, "images")?.unwrap_or_else(|| env.data.join("images"));
    let network = settings::text(name, table, "private_net")?.unwrap_or("10.78.0.0/16");
    let qemu = program("qemu", "qemu-system-x86_64")?;
    Ok(Arc::new(QemuCloud {
        images,
        accel: Accel::new(settings::text(name, table, "accel")?.unwrap_or("auto"), name, &env.data)?,
        qemu,
        network: network.parse().map_err(|why| CloudError::Invalid {
            what: format!("`private_net` of cloud `{name}` is `{network}`: {why}"),
            remedy: "write a private network, such as 10.78.0.0/16".to_owned(),
        })?,
        switches: Switches::new(program("vde_switch", "vde_switch")?),
        host: Host::new(env),
    }))
}

#[derive(Debug)]
struct QemuCloud {
    images: PathBuf,
    qemu: PathBuf,
    accel: Accel,
    network: Network,
    switches: Switches,
    host: Host,
}

#[async_trait]
impl Connector for QemuCloud {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn coordinator_hosts(&self) -> Vec<String> {
        vec![THIS_HOST.to_string()]
    }

    async fn validate(&self, image: Option<&str>) -> Result<(), CloudError> {
        let (folders, images, image) = (self.host.folders.clone(), self.images.clone(), image.map(str::to_owned));
        installed(&self.qemu, "qemu-system-x86")?;
        installed(&self.switches.program, "vde2")?;
        installed(Path::new("qemu-img"), "qemu-utils")?;
        self.accel.check()?;
        blocking(move || {
            folders.prepare()?;
            match image {
                Some(image) => Image::find(&images, &image).map(|_| ()),
                None => Image::any(&images),
            }
        })
        .await
    }

    fn remark(&self) -> Option<String> {
        self.accel.remark()
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<String, CloudError> {
        self.validate(Some(&request.image)).await?;
        let (images, wanted) = (self.images.clone(), request.image.clone());
        let image = blocking(move || Image::find(&images, &wanted)).await?;
        let accel = self.accel.choose(&self.qemu, &image).await?;
        let private = self.network.address(request.ordinal)?;
        let memory = image.memory(&request.size)?;
        let claim = {
            let (image, request, folders) = (image.clone(), request.clone(), self.host.folders.clone());
            let context = self.context(&request);
            move || claim(&folders, &request, &image, &context?, private)
        };
        let start = async |machine: Machine| {
            let network = self.switches.start(&self.host, request.key.run).await?;
            let marker = self.host.marker(request.key.run, &machine.name);
            let cpus = request.size.cpu.unwrap_or(1).max(1);
            let (mac, disk) = (mac(request.ordinal), request.size.disk);
            Start { qemu: &self.qemu, accel, image, memory, cpus, disk, mac, network, marker, machine }.run().await
        };
        self.host.launch(request, claim, start).await
    }

    async fn find(&self, run: RunId) -> Result<Vec<Observed>, CloudError> {
        let found = self.host.find(run).await?;
        Ok(join_all(found.into_iter().map(|(machine, life)| observe(machine, life))).await)
    }

    async fn terminate(&self, run: RunId, machine: &str) -> Result<(), CloudError> {
        self.host.terminate(run, machine, GRACE).await?;
        self.switches.stop_unused(&self.host, run).await
    }

    fn can_power(&self) -> bool {
        true
    }

    async fn power(&self, run: RunId, machine: &str, on: bool) -> Result<(), CloudError> {
        let found = self.host.get(run, machine).await?;
        let found = found.ok_or_else(|| CloudError::Permanent(format!("there is no machine {machine}")))?;
        if !found.dir.join(DISK).exists() {
            let image = &found.record.image;
            return Err(CloudError::Permanent(format!("image `{image}` has no disk: a stop would lose the machine")));
        }
        if !on {
            // A guest that listens to its power button writes what it has; one that does not is cut off.
            monitor::power_off(&found.dir, POWER_OFF).await;
            return self.host.power_off(run, machine, GRACE).await;
        }
        self.start_again(run, found).await
    }

    fn can_resize(&self) -> bool {
        true
    }

    async fn resize(&self, run: RunId, machine: &str, size: &Size) -> Result<(), CloudError> {
        let (mut found, life) = self.there(run, machine).await?;
        if life != Life::Ended {
            return Err(CloudError::Transient(format!("{machine} runs: power it off first")));
        }
        let size = found.record.size.with(size);
        if size.cpu.is_some_and(|cpus| cpus > MOST_CPUS) {
            return Err(CloudError::Permanent(format!("QEMU's board has at most {MOST_CPUS} processors")));
        }
        let images = self.images.clone();
        blocking(move || {
            Image::find(&images, &found.record.image)?.memory(&size)?;
            found.record.size = size;
            found.save()
        })
        .await
    }

    fn can_attach(&self) -> bool {
        true
    }

    async fn attach(&self, run: RunId, machine: &str, disk: &Disk) -> Result<(), CloudError> {
        let (mut found, life) = self.there(run, machine).await?;
        let (name, disk) = (disk.name, disk.clone());
        let found = blocking(move || disks::add(&mut found, &disk).map(|()| found)).await?;
        if life == Life::Ended { Ok(()) } else { disks::plug(&found, name).await }
    }

    async fn detach(&self, run: RunId, machine: &str, disk: DiskName) -> Result<(), CloudError> {
        let (mut found, life) = self.there(run, machine).await?;
        if life != Life::Ended {
            disks::unplug(&found, disk).await?;
        }
        blocking(move || disks::remove(&mut found, disk)).await
    }

    async fn release(&self, run: RunId) -> Result<(), CloudError> {
        self.switches.stop_unused(&self.host, run).await?;
        self.host.release(run).await
    }

    async fn console(&self, run: RunId, machine: &str) -> Result<Option<String>, CloudError> {
        match self.host.get(run, machine).await? {
            Some(machine) => blocking(move || tail(&machine.dir.join(CONSOLE))).await,
            None => Ok(None),
        }
    }
}

impl QemuCloud {
    /// A machine that is there to be changed, and what it does.
    async fn there(&self, run: RunId, name: &str) -> Result<(Machine, Life), CloudError> {
        let found = self.host.find(run).await?.into_iter().find(|(machine, _)| machine.name == name);
        let found = found.filter(|(_, life)| *life != Life::Terminating);
        found.ok_or_else(|| CloudError::Permanent(format!("there is no machine {name}")))
    }

    /// Starts the QEMU of a machine that has run before, on the disk it has.
    async fn start_again(&self, run: RunId, machine: Machine) -> Result<(), CloudError> {
        let (images, wanted) = (self.images.clone(), machine.record.image.clone());
        let image = blocking(move || Image::find(&images, &wanted)).await?;
        let accel = self.accel.choose(&self.qemu, &image).await?;
        let size = machine.record.size.clone();
        let memory = image.memory(&size)?;
        let mac = mac(self.network.ordinal(machine.record.private));
        let start = async |machine: Machine| {
            let network = self.switches.start(&self.host, run).await?;
            let marker = self.host.marker(run, &machine.name);
            let cpus = size.cpu.unwrap_or(1).max(1);
            Start { qemu: &self.qemu, accel, image, memory, cpus, disk: size.disk, mac, network, marker, machine }
                .run()
                .await
        };
        self.host.power_on(run, &machine.name.clone(), start).await
    }

    /// What the machine is told, with the address of its second interface.
    fn context(&self, request: &LaunchRequest) -> Result<Context, CloudError> {
        let mut context = request.user_data.0.clone();
        let address = format!("{}/{}", self.network.address(request.ordinal)?, self.network.prefix);
        context.interfaces.insert(mac(request.ordinal), address);
        Ok(context)
    }
}

/// Makes the folder, with all files the VM needs. Its disk is made when it starts.
fn claim(
    folders: &Folders,
    request: &LaunchRequest,
    image: &Image,
    context: &Context,
    private: Ipv4Addr,
) -> Result<Machine, CloudError> {
    let user_data = context.to_user_data().map_err(|e| CloudError::Permanent(e.to_string()))?;
    let record = Record {
        key: request.key.clone(),
        image: request.image.clone(),
        digest: Some(image.digest.clone()),
        private,
        ssh_port: Some(free_port()?),
        size: request.size.clone(),
        disks: disks::place(&request.disks)?,
    };
    let meta_data = format!(
        "instance-id: {}-{}-{}\nlocal-hostname: {}\n",
        request.key.run, request.key.instance, request.key.attempt, request.name
    );
    folders.claim(&request.name, record, |dir| {
        let file = dir.join(SEED);
        let image = seed::make(&[("user-data", &user_data), ("meta-data", &meta_data)]);
        image.and_then(|image| write_atomic(&file, &image)).map_err(|e| failed("write", &file, &e))?;
        request.disks.iter().try_for_each(|disk| disks::make(dir, disk))
    })
}

async fn observe(machine: Machine, life: Life) -> Observed {
    let state = match life {
        Life::Starting => MachineState::Pending,
        Life::Terminating => MachineState::Terminating,
        Life::Running(_) => monitor::state(&machine.dir).await,
        Life::Ended if machine.is_stopped() => MachineState::Stopped,
        // QEMU removes this file when it ends by itself, because the guest has powered off.
        Life::Ended if machine.dir.join(PIDFILE).exists() => {
            MachineState::Failed(format!("its QEMU was killed; {}", last_words(&machine.dir.join(CONSOLE))))
        }
        Life::Ended => MachineState::Stopped,
    };
    Observed {
        machine: machine.name,
        key: machine.record.key,
        state,
        public: None,
        private: Some(machine.record.private.to_string()),
        ssh: machine.record.ssh_port.map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST)),
        size: machine.record.size,
        disks: machine.record.disks.iter().map(|placed| placed.disk.name).collect(),
    }
}

/// The hardware address of the second interface of the n-th machine of a run.
fn mac(ordinal: u32) -> String {
    let [_, high, middle, low] = ordinal.to_be_bytes();
    format!("52:54:78:{high:02x}:{middle:02x}:{low:02x}")
}

/// A port of this host that is free now. QEMU takes it a moment later; if somebody else was faster, the
/// launch is tried again with another.
fn free_port() -> Result<u16, CloudError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let port = listener.and_then(|listener| listener.local_addr()).map(|address| address.port());
    port.map_err(|e| CloudError::Capacity(format!("this host has no free TCP port: {e}")))
}

fn installed(program: &Path, package: &str) -> Result<PathBuf, CloudError> {
    find_program(program).ok_or_else(|| CloudError::Invalid {
        what: format!("{} is not installed", program.display()),
        remedy: match program.parent() {
            Some(parent) if parent != Path::new("") => {
                format!("correct the setting that names it, or apt install {package}")
            }
            _ => format!("apt install {package}"),
        },
    })
}

/// The network of a run: every run has the same addresses, but a switch of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    base: u32,
    prefix: u8,
}

impl std::str::FromStr for Network {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').ok_or("it has no prefix length")?;
        let base: u32 = address.parse::<Ipv4Addr>().map_err(|_| "it is not an IPv4 network")?.into();
        let prefix: u8 =
            prefix.parse().ok().filter(|p| (8..=29).contains(p)).ok_or("its prefix length is not 8 to 29")?;
        let mask = u32::MAX << (32 - prefix);
        if base & !mask != 0 {
            return Err("its address has bits beyond the prefix");
        }
        // The user network of each VM is 10.0.2.0/24.
        let user = u32::from(Ipv4Addr::new(10, 0, 2, 0));
        if (base ^ user) & mask & (u32::MAX << 8) == 0 {
            return Err("it overlaps with 10.0.2.0/24, the way to this host");
        }
        Ok(Network { base, prefix })
    }
}

impl Network {
    /// The number that has an address.
    fn ordinal(self, address: Ipv4Addr) -> u32 {
        u32::from(address) - self.base
    }

    fn address(self, ordinal: u32) -> Result<Ipv4Addr, CloudError> {
        // The last address is for broadcasts.
        let room = (1_u32 << (32 - self.prefix)) - 2;
        if ordinal == 0 || ordinal > room {
            let what = format!("the run needs address {ordinal} of a private network of {room}");
            return Err(CloudError::Invalid { what, remedy: "set a larger `private_net`".to_owned() });
        }
        Ok(Ipv4Addr::from(self.base + ordinal))
    }
}

#[cfg(test)]
mod tests;
