//! Disks that a machine has beside its root disk.
//!
//! A disk belongs to its machine: it comes with it or later, is blank at first, and goes with it at the latest.
//! In the machine it is known by its name, which is the serial number of the device.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{id::InvalidId, module::units};

/// The most disks of one machine: as many as QEMU's board has slots for.
pub const MOST_DISKS: usize = 16;

/// The smallest disk, in bytes: a file system takes that much.
pub const SMALLEST: u64 = 4 << 20;

/// The largest disk, in bytes.
pub const LARGEST: u64 = 1 << 50;

/// Folders that are not for the disks of users.
const TAKEN: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/etc", "/var/lib/slipstream"];

/// The name of a disk of an instance, such as `disk1`. Numbers start at 1 and are not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct DiskName(u32);

impl DiskName {
    /// The `number`-th disk of an instance.
    #[must_use]
    pub fn new(number: u32) -> Self {
        DiskName(number)
    }

    /// The name of the disk after it.
    #[must_use]
    pub fn next(self) -> Self {
        DiskName(self.0.saturating_add(1))
    }

    /// Where scripts in the machine find it, whatever the kernel calls it.
    #[must_use]
    pub fn device(self) -> String {
        format!("/dev/disk/by-id/virtio-{self}")
    }
}

impl fmt::Display for DiskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk{}", self.0)
    }
}

impl FromStr for DiskName {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let number = text.strip_prefix("disk").and_then(|number| number.parse().ok()).filter(|number| *number > 0);
        // Each has one name: no zeroes in front, no signs.
        number.map(DiskName).filter(|name| name.to_string() == text).ok_or_else(|| InvalidId {
            text: text.to_owned(),
            what: "the name of a disk",
            rule: "it is `disk` and a number from 1, as in `disk1`",
        })
    }
}

impl TryFrom<String> for DiskName {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<DiskName> for String {
    fn from(name: DiskName) -> String {
        name.to_string()
    }
}

/// A file system that a blank disk is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fs {
    /// The oldest, which every image knows.
    Ext2,
    /// With a journal.
    Ext3,
    /// Unless said otherwise.
    #[default]
    Ext4,
    /// For large files.
    Xfs,
    /// With snapshots.
    Btrfs,
}

impl Fs {
    /// All of them, by name.
    pub const NAMES: [&str; 5] = ["ext2", "ext3", "ext4", "xfs", "btrfs"];

    /// Its name, for `mount` and `mkfs`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Fs::NAMES[self as usize]
    }
}

impl FromStr for Fs {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_value(text.into())
            .map_err(|_| format!("`{text}` is not a file system that disks are given: {}", Fs::NAMES.join(", ")))
    }
}

/// What a disk is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskSpec {
    /// In bytes.
    pub size: u64,
    /// The folder it is mounted on; a blank one gets a file system for that. None: scripts use it as they like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// Which file system, where it is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs: Option<Fs>,
}

impl DiskSpec {
    /// Says what is wrong with it, if something is.
    ///
    /// # Errors
    /// In words for whoever asked for it.
    pub fn check(&self) -> Result<(), String> {
        if !(SMALLEST..=LARGEST).contains(&self.size) {
            let (least, most) = (units::in_words(SMALLEST), units::in_words(LARGEST));
            return Err(format!("a disk has {least} to {most}, not {}", units::in_words(self.size)));
        }
        match &self.mount {
            Some(folder) => check_folder(folder),
            None if self.fs.is_some() => Err("`fs` is for a disk with a `mount`".to_owned()),
            None => Ok(()),
        }
    }
}

fn check_folder(folder: &str) -> Result<(), String> {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    let parts = folder.strip_prefix('/').filter(|rest| rest.split('/').all(plain));
    // Scripts name it: nothing that a shell would take apart.
    let odd = |c: char| !c.is_ascii_alphanumeric() && !"/._-+@".contains(c);
    if parts.is_none() || folder.len() > 255 || folder.contains(odd) {
        let rule = "an absolute path such as `/data`, of letters, digits and ._-+@";
        return Err(format!("`{folder}` is not a folder to mount a disk on ({rule})"));
    }
    match TAKEN.iter().find(|taken| folder == **taken || folder.starts_with(&format!("{taken}/"))) {
        Some(taken) => Err(format!("a disk cannot be mounted on `{folder}`: `{taken}` belongs to the system")),
        None => Ok(()),
    }
}

/// A disk of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// Its name.
    pub name: DiskName,
    /// What it is.
    #[serde(flatten)]
    pub spec: DiskSpec,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name, units::in_words(self.spec.size))?;
        match &self.spec.mount {
            Some(folder) => write!(f, ", mounted on {folder})"),
            None => f.write_str(")"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_one_name() {
        let name: DiskName = "disk12".parse().expect("a name");
        assert_eq!((name, name.next().to_string()), (DiskName::new(12), "disk13".to_owned()));
        assert_eq!(serde_json::to_string(&name).expect("serializes"), "\"disk12\"");
        for bad in ["disk", "disk0", "disk01", "disk+1", "Disk1", "1", "../disk1"] {
            assert!(bad.parse::<DiskName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn file_systems_have_the_names_that_mount_knows() {
        for name in Fs::NAMES {
            assert_eq!(name.parse::<Fs>().expect("one of them").name(), name);
        }
        assert!("ntfs".parse::<Fs>().expect_err("none of them").contains("ext2, ext3, ext4"));
    }

    #[test]
    fn what_no_disk_can_be_is_refused_with_the_reason() {
        let disk = |size, mount: Option<&str>, fs| DiskSpec { size, mount: mount.map(str::to_owned), fs };
        let check = |disk: DiskSpec| disk.check().expect_err("refused");
        assert_eq!(disk(1 << 30, Some("/srv/data"), Some(Fs::Xfs)).check(), Ok(()));
        assert_eq!(check(disk(0, None, None)), "a disk has 4 MiB to 1024 TiB, not 0 B");
        assert!(check(disk(u64::MAX, None, None)).contains("to 1024 TiB"));
        assert_eq!(check(disk(1 << 30, None, Some(Fs::Ext4))), "`fs` is for a disk with a `mount`");
        for folder in ["data", "/", "/a/../etc", "/a b", "/a;b", "/a//b", "/dev/x", "/var/lib/slipstream"] {
            assert!(check(disk(1 << 30, Some(folder), None)).contains(folder), "{folder}");
        }
    }
}
