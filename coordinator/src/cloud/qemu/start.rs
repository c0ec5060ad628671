//! Starts the QEMU of one machine, as a daemon.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use super::{CONSOLE, DISK, PIDFILE, QMP, SEED, disks, free_port, image, image::Image};
use crate::cloud::{
    CloudError,
    local::{Machine, Marker, failed, spawn_failed},
};

/// How long QEMU may take until it is a daemon.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often another port is tried when somebody took the one that was free.
const PORTS: u32 = 3;

/// What it takes.
pub(super) struct Start<'a> {
    pub qemu: &'a Path,
    pub accel: &'static str,
    pub image: Image,
    /// In MiB.
    pub memory: u64,
    pub cpus: u32,
    /// Root disk in bytes, where it is to be larger than the image's.
    pub disk: Option<u64>,
    pub mac: String,
    /// The folder of the switch.
    pub network: PathBuf,
    pub marker: Marker,
    pub machine: Machine,
}

impl Start<'_> {
    /// Starts it; gives its process number.
    pub(super) async fn run(mut self) -> Result<i32, CloudError> {
        has_room(self.memory)?;
        self.make_disk().await?;
        for _ in 0..PORTS {
            match self.qemu().await {
                Err(text) if text.contains("host forwarding") => {
                    self.machine.record.ssh_port = Some(free_port()?);
                    self.machine.save()?;
                }
                Err(text) => return Err(explain(&text)),
                Ok(()) => return self.pid(),
            }
        }
        Err(CloudError::Transient("every port chosen for ssh was taken by somebody else".to_owned()))
    }

    /// Makes the machine's disk: what it changes on that of the image.
    async fn make_disk(&self) -> Result<(), CloudError> {
        let Some(base) = &self.image.disk else { return Ok(()) };
        // It has run before: what is on its disk stays.
        if self.machine.dir.join(DISK).exists() {
            return Ok(());
        }
        let (format, size) = image::disk(base).map_err(|e| failed("read", base, &e))?;
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-f", "qcow2", "-F", format, "-b"]).arg(base).arg(self.machine.dir.join(DISK));
        // A smaller one than the image's would cut its file system.
        command.args(self.disk.filter(|asked| *asked > size).map(|asked| asked.to_string()));
        run(Path::new("qemu-img"), &mut command).await?.map_err(|text| explain(&text))
    }

    async fn qemu(&self) -> Result<(), String> {
        let mut command = Command::new(self.qemu);
        command
            .args(self.arguments())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env(Marker::VARIABLE, self.marker.to_string())
            .current_dir(&self.machine.dir);
        run(self.qemu, &mut command).await.unwrap_or_else(|e| Err(e.to_string()))
    }

    fn pid(&self) -> Result<i32, CloudError> {
        let file = self.machine.dir.join(PIDFILE);
        let text = fs::read_to_string(&file).map_err(|e| failed("read", &file, &e))?;
        text.trim().parse().map_err(|_| CloudError::Transient(format!("{} holds no number", file.display())))
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = Vec::new();
        let mut add = |name: &str, value: OsString| all.extend([name.into(), value]);
        let dir = &self.machine.dir;
        add("-name", self.machine.name.clone().into());
        add("-machine", "pc".into());
        add("-accel", self.accel.into());
        add("-cpu", "max".into());
        add("-m", self.memory.to_string().into());
        add("-smp", self.cpus.to_string().into());
        add("-display", "none".into());
        // Relative to its folder, like the socket below: this one takes no doubled commas.
        add("-serial", format!("file:{CONSOLE}").into());
        add("-kernel", self.image.kernel.clone().into());
        add("-initrd", self.image.initrd.clone().into());
        add("-append", self.image.append.clone().into());
        if self.image.disk.is_some() {
            // Nothing on it survives this host anyway, so it need not be flushed.
            add("-drive", option("if=virtio,format=qcow2,cache=unsafe,discard=unmap,file=", &dir.join(DISK)));
        }
        add("-drive", option("if=virtio,format=raw,readonly=on,file=", &dir.join(SEED)));
        for (name, value) in disks::arguments(&self.machine) {
            add(name, value.into());
        }
        let ssh = self.machine.record.ssh_port.map(|port| format!(",hostfwd=tcp:127.0.0.1:{port}-:22"));
        add("-netdev", format!("user,id=n0,ipv6=off{}", ssh.unwrap_or_default()).into());
        // Without a boot ROM: the firmware would wait for it.
        add("-device", "virtio-net-pci,netdev=n0,romfile=".into());
        add("-netdev", option("vde,id=n1,sock=", &self.network));
        add("-device", format!("virtio-net-pci,netdev=n1,romfile=,mac={}", self.mac).into());
        // Without it, a guest under TCG waits for randomness.
        add("-object", "rng-random,id=r0,filename=/dev/urandom".into());
        add("-device", "virtio-rng-pci,rng=r0".into());
        // Relative: the path of a socket may have 107 bytes.
        add("-qmp", format!("unix:{QMP},server=on,wait=off").into());
        add("-pidfile", dir.join(PIDFILE).into());
        all.extend(["-nodefaults", "-no-user-config", "-daemonize"].map(OsString::from));
        all
    }
}

/// A path within an option of QEMU, where a comma ends a value unless it is doubled.
fn option(before: &str, path: &Path) -> OsString {
    format!("{before}{}", path.to_string_lossy().replace(',', ",,")).into()
}

/// Runs a program to its end; the inner error is what it says on stderr.
async fn run(program: &Path, command: &mut Command) -> Result<Result<(), String>, CloudError> {
    let output = command.stdin(Stdio::null()).process_group(0).kill_on_drop(true).output();
    let output = tokio::time::timeout(DEADLINE, output).await;
    let output = output.map_err(|_| CloudError::Transient(format!("{} does not start", program.display())))?;
    let output = output.map_err(|e| spawn_failed(program, &e))?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    // It complains about user interfaces that are not installed, and not needed.
    let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains(": module ui-"));
    Ok(Err(lines.collect::<Vec<_>>().join("; ")))
}

/// What QEMU says, by what can be done about it.
fn explain(text: &str) -> CloudError {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["No space left", "Disk quota exceeded"]) {
        CloudError::Capacity(format!("{text}: free some space"))
    } else if has(&["Cannot allocate memory", "cannot set up guest memory", "Resource temporarily unavailable"]) {
        CloudError::Capacity(format!("{text}: run fewer or smaller machines on this host"))
    } else if has(&["KVM", "MSR"]) {
        CloudError::Invalid { what: text.to_owned(), remedy: "set accel = \"tcg\", or \"auto\"".to_owned() }
    } else if has(&["invalid option", "not a valid", "Parameter", "is not supported", "not compiled"]) {
        let remedy = "this QEMU lacks something: install qemu-system-x86 of your distribution".to_owned();
        CloudError::Invalid { what: text.to_owned(), remedy }
    } else {
        CloudError::Permanent(text.to_owned())
    }
}

/// Guests take their memory bit by bit, and a host that runs out of it kills at random: better refuse.
fn has_room(mib: u64) -> Result<(), CloudError> {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let available = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map(|kib| kib / 1024);
    match available {
        Some(available) if available < mib => {
            Err(CloudError::Capacity(format!("the machine needs {mib} MiB of memory, this host has {available} left")))
        }
        _ => Ok(()),
    }
}
