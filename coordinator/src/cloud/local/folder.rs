//! One folder per machine: `<data>/<short run id>/<machine>/`, with whose it is in `machine.json`.
//!
//! A folder is filled under a hidden name and then renamed, and renamed again before it is emptied: a
//! machine is there as a whole or not at all, whenever the coordinator dies. Run ids are short in paths
//! because sockets below may have 107 bytes; the whole one is in `machine.json`, and is checked.

use std::{
    fs,
    io::{self, ErrorKind, Write as _},
    net::Ipv4Addr,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use slipstream_shared::{
    disk::Disk,
    id::{AttemptKey, RunId},
    plan::Size,
};

use super::{failed, hash};
use crate::cloud::CloudError;

/// The longest path of a folder whose sockets have names of up to 24 bytes.
const SOCKET_DIR_MAX: usize = 107 - 25;

const MACHINE: &str = "machine.json";

/// The folder of a machine's sockets.
pub(in crate::cloud) const SOCKETS: &str = "run";

/// What is known of a machine before it is started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::cloud) struct Record {
    /// Whose it is.
    pub key: AttemptKey,
    /// What it was made of.
    pub image: String,
    /// What that was made of in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its address on the network of the run.
    pub private: Ipv4Addr,
    /// The port of this host that leads to its ssh port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_port: Option<u16>,
    /// How large it is.
    #[serde(default)]
    pub size: Size,
    /// Its disks beside the root disk, and the slots that they are in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Placed>,
}

/// A disk in a slot of its machine, where it stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cloud) struct Placed {
    /// Which disk.
    #[serde(flatten)]
    pub disk: Disk,
    /// Which slot.
    pub slot: u8,
}

/// A machine's folder.
#[derive(Debug, Clone)]
pub(in crate::cloud) struct Machine {
    /// Its name, also the cloud's identifier of it.
    pub name: String,
    /// Where it is.
    pub dir: PathBuf,
    /// What is in `machine.json`.
    pub record: Record,
}

impl Machine {
    /// Writes down what has changed in the record.
    pub(in crate::cloud) fn save(&self) -> Result<(), CloudError> {
        let file = self.dir.join(MACHINE);
        let json = serde_json::to_vec_pretty(&self.record).map_err(|e| CloudError::Permanent(e.to_string()))?;
        write_atomic(&file, &json).map_err(|e| failed("write", &file, &e))
    }

    /// Notes that the machine is to go, for whoever looks before it is gone.
    pub(in crate::cloud) fn mark_terminating(&self) -> Result<(), CloudError> {
        fs::write(self.dir.join("terminating"), "").map_err(|e| failed("write to", &self.dir, &e))
    }

    pub(in crate::cloud) fn is_terminating(&self) -> bool {
        self.dir.join("terminating").exists()
    }
}

/// The folders of one cloud.
#[derive(Debug, Clone)]
pub(in crate::cloud) struct Folders {
    data: PathBuf,
}

impl Folders {
    pub(in crate::cloud) fn new(data: &Path) -> Self {
        Folders { data: data.to_owned() }
    }

    /// Makes the cloud's folder, if it is not there.
    pub(in crate::cloud) fn prepare(&self) -> Result<(), CloudError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.data);
        made.map_err(|e| failed("make", &self.data, &e))
    }

    /// The folder of a run.
    pub(in crate::cloud) fn run(&self, run: RunId) -> PathBuf {
        self.data.join(run.short())
    }

    /// All machines of a run.
    pub(in crate::cloud) fn list(&self, run: RunId) -> Result<Vec<Machine>, CloudError> {
        let dir = self.run(run);
        let machines = machines(&dir).map_err(|e| failed("read", &dir, &e))?;
        Ok(machines.into_iter().filter(|machine| machine.record.key.run == run).collect())
    }

    /// All machines of the cloud.
    pub(in crate::cloud) fn all(&self) -> Result<Vec<Machine>, CloudError> {
        let read = || {
            let mut all = Vec::new();
            for (_, dir) in entries(&self.data)? {
                if dir.is_dir() {
                    all.extend(machines(&dir)?);
                }
            }
            Ok(all)
        };
        read().map_err(|e| failed("read", &self.data, &e))
    }

    /// The machine of that name.
    pub(in crate::cloud) fn get(&self, run: RunId, name: &str) -> Result<Option<Machine>, CloudError> {
        // A name that could lead elsewhere is none of ours.
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Ok(None);
        }
        let dir = self.run(run).join(name);
        let machine = read(name, dir.clone()).map_err(|e| failed("read", &dir, &e))?;
        Ok(machine.filter(|machine| machine.record.key.run == run))
    }

    /// The machine of that key, whose name was to be `name`.
    pub(in crate::cloud) fn of(&self, name: &str, key: &AttemptKey) -> Result<Option<Machine>, CloudError> {
        for name in names(name, key) {
            if let Some(machine) = self.get(key.run, &name)?.filter(|machine| machine.record.key == *key) {
                return Ok(Some(machine));
            }
        }
        Ok(None)
    }

    /// Makes the folder of a machine with all that `fill` puts in it.
    ///
    /// `name` is only a wish: node names differ in case, machine names do not, and whoever comes second
    /// gets one with a suffix.
    pub(in crate::cloud) fn claim(
        &self,
        name: &str,
        record: Record,
        fill: impl Fn(&Path) -> Result<(), CloudError>,
    ) -> Result<Machine, CloudError> {
        let run = self.run(record.key.run);
        let Some(name) = names(name, &record.key).into_iter().find(|name| !run.join(name).exists()) else {
            return Err(CloudError::Transient(format!("{} is taken", run.join(name).display())));
        };
        let (dir, hidden) = (run.join(&name), run.join(format!(".new-{name}")));
        let json = serde_json::to_vec_pretty(&record).map_err(|e| CloudError::Permanent(e.to_string()))?;
        let begin = || {
            remove_if_there(&hidden)?;
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&hidden)?;
            write_atomic(&hidden.join(MACHINE), &json)
        };
        let made = begin().map_err(|e| failed("make", &dir, &e)).and_then(|()| fill(&hidden));
        let made = made.and_then(|()| fs::rename(&hidden, &dir).map_err(|e| failed("make", &dir, &e)));
        if let Err(error) = made {
            // What went wrong first is what counts.
            drop(fs::remove_dir_all(&hidden));
            return Err(error);
        }
        Ok(Machine { name, dir, record })
    }

    /// Removes a machine's folder, and that of its sockets.
    pub(in crate::cloud) fn remove(&self, machine: &Machine) -> Result<(), CloudError> {
        let hidden = machine.dir.with_file_name(format!(".gone-{}", machine.name));
        let remove = || {
            remove_if_there(&socket_path(&machine.dir.join(SOCKETS)))?;
            remove_if_there(&hidden)?;
            match fs::rename(&machine.dir, &hidden) {
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
                renamed => renamed.and_then(|()| fs::remove_dir_all(&hidden)),
            }
        };
        remove().map_err(|e| failed("remove", &machine.dir, &e))
    }

    /// Removes the folder of a run with all that is in it, unless another run of the same short id has
    /// a machine there.
    pub(in crate::cloud) fn release(&self, run: RunId) -> Result<(), CloudError> {
        let dir = self.run(run);
        for machine in self.list(run)? {
            self.remove(&machine)?;
        }
        let remove = || if machines(&dir)?.is_empty() { remove_if_there(&dir) } else { Ok(()) };
        remove().map_err(|e| failed("remove", &dir, &e))
    }
}

/// What the machine of a key may be called.
fn names(wish: &str, key: &AttemptKey) -> [String; 2] {
    let digest = hash(&format!("{key:?}"));
    [wish.to_owned(), format!("{wish}-{:02x}{:02x}", digest[0], digest[1])]
}

fn machines(run: &Path) -> io::Result<Vec<Machine>> {
    let mut machines = Vec::new();
    for (name, dir) in entries(run)? {
        if !name.starts_with('.') {
            machines.extend(read(&name, dir)?);
        }
    }
    Ok(machines)
}

/// Names and paths of what a folder holds; nothing if it is not there.
fn entries(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| entry.map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()))).collect()
}

fn read(name: &str, dir: PathBuf) -> io::Result<Option<Machine>> {
    let file = dir.join(MACHINE);
    let json = match fs::read(&file) {
        // Gone between two looks, or not one of ours.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        json => json?,
    };
    let record = serde_json::from_slice(&json)
        .map_err(|e| io::Error::new(ErrorKind::InvalidData, format!("{} is damaged: {e}", file.display())))?;
    Ok(Some(Machine { name: name.to_owned(), dir, record }))
}

fn remove_if_there(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Writes a file that only this user reads, whole or not at all.
pub(in crate::cloud) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, path)
}

/// Where sockets go that should be in the folder `wish`: there, if its path is short enough, else in a
/// folder of our own in /tmp, always the same for the same wish.
pub(in crate::cloud) fn socket_path(wish: &Path) -> PathBuf {
    if wish.as_os_str().len() <= SOCKET_DIR_MAX {
        return wish.to_owned();
    }
    let digest: String = hash(&wish.to_string_lossy())[..8].iter().map(|b| format!("{b:02x}")).collect();
    Path::new("/tmp").join(format!("slipstream-{digest}"))
}

/// Makes the folder [`socket_path`] names.
pub(in crate::cloud) fn make_socket_dir(wish: &Path) -> Result<PathBuf, CloudError> {
    let dir = socket_path(wish);
    let made = match fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => owned(&dir),
        made => made,
    };
    made.map_err(|e| failed("make", &dir, &e)).map(|()| dir)
}

/// Anybody may make a folder in /tmp: one of somebody else is not where our sockets go.
fn owned(dir: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(dir)?;
    let ours = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o022 == 0;
    if ours { Ok(()) } else { Err(io::Error::new(ErrorKind::PermissionDenied, "it belongs to another user")) }
}
