//! A NoCloud disk: any block device whose FAT or ISO9660 label is `cidata`, file `user-data`.
//!
//! Devices are read directly. A minimal image has neither the file system modules nor the right to
//! mount, and asking `/sys/class/block` finds the disk whatever bus it is on.

use std::{fs, io};

use super::{ContextSource, Reading, fat, iso9660};
use crate::system::System;

/// The label of the disk, and the file on it.
const LABEL: &str = "cidata";
const FILE: &str = "user-data";

pub(super) struct Disk;

/// How a device was understood.
pub(super) type Content = io::Result<Option<Vec<u8>>>;

impl ContextSource for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn read(&self, system: &System) -> Reading {
        let mut devices: Vec<String> = fs::read_dir(system.path("/sys/class/block"))
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| system.fact(&format!("/sys/class/block/{name}/size")) != "0")
            .collect();
        devices.sort();
        let mut unknown = Vec::new();
        for name in devices {
            let node = system.path(&format!("/dev/{}", name.replace('!', "/")));
            match fs::File::open(&node).and_then(read_device) {
                Ok(Some(content)) => return Reading::Present(content),
                Ok(None) => {}
                // No node, no medium, no right to read, or shorter than any file system: not our disk.
                Err(e) if is_no_disk(&e) => {}
                Err(e) => unknown.push(format!("{name}: {e}")),
            }
        }
        if unknown.is_empty() { Reading::Absent } else { Reading::Unknown(unknown.join(", ")) }
    }
}

fn read_device(device: fs::File) -> Content {
    match iso9660::read(&device, LABEL, FILE)? {
        Some(content) => Ok(Some(content)),
        None => fat::read(device, LABEL, FILE),
    }
}

fn is_no_disk(e: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, UnexpectedEof};
    // ENOMEDIUM and ENXIO have no kind of their own.
    matches!(e.kind(), NotFound | PermissionDenied | UnexpectedEof)
        || matches!(e.raw_os_error(), Some(nix::libc::ENOMEDIUM | nix::libc::ENXIO | nix::libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Found, find, tests::user_data};

    #[test]
    fn a_labelled_disk_among_others_is_found() {
        for image in [fat::tests::image("CIDATA", "user-data", &user_data()), {
            iso9660::tests::image("cidata", "user-data", &user_data(), iso9660::tests::Names::RockRidge)
        }] {
            let root = tempfile::tempdir().unwrap();
            for (name, content) in
                [("sda", vec![7; 70_000]), ("sdb", image), ("sr0", fat::tests::image("OTHER", "user-data", "#"))]
            {
                fs::create_dir_all(root.path().join("sys/class/block").join(name)).unwrap();
                fs::create_dir_all(root.path().join("dev")).unwrap();
                fs::write(root.path().join("sys/class/block").join(name).join("size"), "140\n").unwrap();
                fs::write(root.path().join("dev").join(name), content).unwrap();
            }
            assert!(matches!(find(&System::new(root.path().into())), Found::Context(_, "disk")));
        }
    }
}
