//! What the agent asks of the operating system: facts about the machine, interface addresses, signals.
//!
//! All paths go through [`System::path`], so that tests run on a folder instead of `/`. The only
//! `unsafe` of the agent is here.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd as _,
    path::PathBuf,
};

use jiff::Timestamp;
use nix::libc;

/// The variable that stands for the boot where the machine is only a process.
const BOOT: &str = "SLIPSTREAM_BOOT";

/// The machine, or a folder that stands for it.
#[derive(Debug, Clone)]
pub struct System {
    root: PathBuf,
    credentials: Option<OsString>,
    /// Set by systemd where standard error is the journal.
    journal: Option<OsString>,
}

impl System {
    /// The machine whose files are below `root`.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        let [credentials, journal] = ["CREDENTIALS_DIRECTORY", "JOURNAL_STREAM"].map(std::env::var_os);
        System { root, credentials, journal }
    }

    /// Where the file `absolute` of the machine is.
    #[must_use]
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The folder of systemd credentials, if there is one.
    #[must_use]
    pub fn credentials(&self) -> Option<PathBuf> {
        self.credentials.as_ref().map(|path| self.path(&path.to_string_lossy()))
    }

    /// One line of a file, or an empty text.
    #[must_use]
    pub fn fact(&self, absolute: &str) -> String {
        fs::read_to_string(self.path(absolute)).unwrap_or_default().trim().to_owned()
    }

    /// Changes with each boot.
    #[must_use]
    pub fn boot_id(&self) -> String {
        // A machine that is only a process boots when that starts.
        std::env::var(BOOT).unwrap_or_else(|_| self.fact("/proc/sys/kernel/random/boot_id"))
    }

    /// What tells this machine from its copies, as far as it may be read.
    #[must_use]
    pub fn platform(&self) -> std::collections::BTreeMap<String, String> {
        [
            ("machine_id", "/etc/machine-id"),
            ("product_uuid", "/sys/class/dmi/id/product_uuid"),
            ("hostname", "/proc/sys/kernel/hostname"),
        ]
        .into_iter()
        .map(|(name, path)| (name.to_owned(), self.fact(path)))
        .filter(|(_, value)| !value.is_empty())
        .collect()
    }

    /// Now.
    #[must_use]
    pub fn now() -> Timestamp {
        Timestamp::now()
    }

    /// Shows a line where the console of the machine is looked at, unless standard error leads there
    /// already; nothing more can be done if it fails.
    pub fn say_on_console(&self, line: &str) {
        // Our unit sends the journal's lines to the console.
        let is_journal = self.journal.is_some();
        let device = |stat: nix::Result<nix::sys::stat::FileStat>| stat.ok().map(|s| s.st_rdev).filter(|d| *d != 0);
        let console = device(nix::sys::stat::stat(&self.path("/dev/console")));
        let is_console = console.is_some() && console == device(nix::sys::stat::fstat(io::stderr()));
        if is_journal || is_console {
            return;
        }
        if let Ok(mut console) = fs::OpenOptions::new().append(true).open(self.path("/dev/console")) {
            let _ = console.write_all(format!("slipstream-agent: {line}\n").as_bytes());
        }
    }

    /// The name of the interface with a hardware address.
    #[must_use]
    pub fn interface(&self, mac: &str) -> Option<String> {
        fs::read_dir(self.path("/sys/class/net")).ok()?.filter_map(Result::ok).find_map(|entry| {
            let address = fs::read_to_string(entry.path().join("address")).ok()?;
            address.trim().eq_ignore_ascii_case(mac).then(|| entry.file_name().to_string_lossy().into_owned())
        })
    }
}

/// The addresses of all interfaces that are up, without loopback and link-local ones.
#[must_use]
pub fn addresses() -> Vec<IpAddr> {
    let mut found = Vec::new();
    for interface in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let Some(address) = interface.address else { continue };
        let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) => IpAddr::V6(v6.ip()),
            _ => continue,
        };
        let local = match ip {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
        };
        if !local && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

/// Gives an interface an IPv4 address such as `10.78.0.1/16` and brings it up. Doing it again changes
/// nothing.
///
/// # Errors
/// The address is not one, or the kernel refuses.
pub fn set_address(interface: &str, cidr: &str) -> io::Result<()> {
    let (address, prefix) = parse_cidr(cidr).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("`{cidr}` is no IPv4 address with prefix length"))
    })?;
    let mask = Ipv4Addr::from(u32::MAX.checked_shl(32 - prefix).unwrap_or(0));
    let has_it = nix::ifaddrs::getifaddrs()?.any(|i| {
        i.interface_name == interface
            && i.address.and_then(|a| a.as_sockaddr_in().map(|a| a.ip())) == Some(address)
            && i.netmask.and_then(|m| m.as_sockaddr_in().map(|m| m.ip())) == Some(mask)
    });
    if !has_it {
        change_interface(interface, libc::SIOCSIFADDR, Some(address))?;
        change_interface(interface, libc::SIOCSIFNETMASK, Some(mask))?;
    }
    change_interface(interface, libc::SIOCSIFFLAGS, None)
}

fn parse_cidr(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (address, prefix) = text.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok().filter(|p| (1..=32).contains(p))?))
}

/// One of the kernel's interface requests: an address to set, or (without one) the flags "up, running".
#[expect(unsafe_code, reason = "no crate in use covers these three requests")]
fn change_interface(name: &str, request: libc::c_ulong, address: Option<Ipv4Addr>) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .or_else(|_| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the interface's name is too long"));
    }
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut ask: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in ask.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    match address {
        Some(address) => {
            let plain = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: 0,
                sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: both are 16 bytes of plain data; the kernel reads it by its family as sockaddr_in.
            ask.ifr_ifru.ifru_addr = unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(plain) };
        }
        None => ask.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short,
    }
    // SAFETY: the descriptor is open, `ask` is a whole ifreq that outlives the call, and each of the
    // three requests reads one and keeps no pointer to it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request as _, &raw const ask) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends a signal to a process group; a group that is gone is fine.
pub fn signal_group(leader: u32, signal: nix::sys::signal::Signal) {
    if let Ok(leader) = i32::try_from(leader) {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(leader), signal);
    }
}

/// When a process began, in the kernel's ticks; none if there is no such process.
#[must_use]
pub fn process_ticks(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks and brackets; what follows the last bracket begins with field 3.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(str::to_owned))?
}

/// True for the super-user.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_prefix_lengths_are_read() {
        assert_eq!(parse_cidr("10.78.0.1/16"), Some(("10.78.0.1".parse().unwrap(), 16)));
        for bad in ["10.78.0.1", "10.78.0.1/33", "10.78.0.1/0", "fd00::1/64", "/16"] {
            assert_eq!(parse_cidr(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_interface_is_found_by_its_hardware_address() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("sys/class/net/ens4");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("address"), "52:54:00:aa:bb:01\n").unwrap();
        let system = System::new(root.path().to_owned());
        assert_eq!(system.interface("52:54:00:AA:BB:01").as_deref(), Some("ens4"));
        assert_eq!(system.interface("52:54:00:aa:bb:02"), None);
    }
}
