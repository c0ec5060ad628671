//! Disks of machines beside their root disk: a sparse file each, in a slot of the board that it keeps.
//!
//! The record of the machine says which it has, and is written before QEMU is asked to take one and after it has
//! let go of one: whenever the coordinator dies, the same request again leads to the end. A file is removed last.

use std::{fs, io, path::Path, time::Duration};

use serde_json::{Value, json};
use slipstream_shared::disk::{Disk, DiskName};

use super::monitor::Monitor;
use crate::cloud::{
    CloudError,
    local::{Machine, Placed, failed},
};

/// The slots of the board that are for these disks. What comes with each machine is in lower ones.
const SLOTS: std::ops::Range<u8> = 0x10..0x20;

/// How long a guest has to let go of a disk before it is asked once more.
const RELEASE: Duration = Duration::from_secs(20);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(100);

/// The disks of a machine that is about to be made, each in its slot.
pub(super) fn place(disks: &[Disk]) -> Result<Vec<Placed>, CloudError> {
    let mut placed = Vec::new();
    for disk in disks {
        let slot = free_slot(&placed)?;
        placed.push(Placed { disk: disk.clone(), slot });
    }
    Ok(placed)
}

fn free_slot(placed: &[Placed]) -> Result<u8, CloudError> {
    let free = SLOTS.into_iter().find(|slot| placed.iter().all(|disk| disk.slot != *slot));
    free.ok_or_else(|| CloudError::Quota(format!("a machine has at most {} disks", SLOTS.len())))
}

/// Makes the file of a disk in the folder of its machine. One that is there stays as it is.
pub(super) fn make(dir: &Path, disk: &Disk) -> Result<(), CloudError> {
    let path = dir.join(file(disk.name));
    let make = || match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        file => file?.set_len(disk.spec.size),
    };
    make().map_err(|e| failed("make", &path, &e))
}

/// Adds a disk to the record of a machine, with its file.
pub(super) fn add(machine: &mut Machine, disk: &Disk) -> Result<(), CloudError> {
    if machine.record.disks.iter().any(|placed| placed.disk.name == disk.name) {
        return Ok(());
    }
    let slot = free_slot(&machine.record.disks)?;
    // Left over from a try that came no further: it may have another size.
    remove_file(&machine.dir, disk.name)?;
    make(&machine.dir, disk)?;
    machine.record.disks.push(Placed { disk: disk.clone(), slot });
    machine.save()
}

/// Removes a disk from the record of a machine, and then its file.
pub(super) fn remove(machine: &mut Machine, name: DiskName) -> Result<(), CloudError> {
    let before = machine.record.disks.len();
    machine.record.disks.retain(|placed| placed.disk.name != name);
    if machine.record.disks.len() < before {
        machine.save()?;
    }
    remove_file(&machine.dir, name)
}

fn remove_file(dir: &Path, name: DiskName) -> Result<(), CloudError> {
    let path = dir.join(file(name));
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, &e)),
        _ => Ok(()),
    }
}

/// The arguments of QEMU for the disks of a machine.
pub(super) fn arguments(machine: &Machine) -> impl Iterator<Item = (&'static str, String)> {
    machine.record.disks.iter().flat_map(|placed| {
        let (node, device) = options(&machine.dir, placed);
        [("-blockdev", node.to_string()), ("-device", device.to_string())]
    })
}

/// Has a running QEMU take a disk that is in the record.
pub(super) async fn plug(machine: &Machine, name: DiskName) -> Result<(), CloudError> {
    let Some(placed) = machine.record.disks.iter().find(|placed| placed.disk.name == name) else { return Ok(()) };
    let mut monitor = Monitor::open(&machine.dir).await?;
    if has_device(&mut monitor, name).await? {
        return Ok(());
    }
    let (node, device) = options(&machine.dir, placed);
    if !has_node(&mut monitor, name).await? {
        monitor.ask("blockdev-add", node).await?;
    }
    monitor.ask("device_add", device).await.map(drop)
}

/// Has a running QEMU let go of a disk, and waits until its guest has.
pub(super) async fn unplug(machine: &Machine, name: DiskName) -> Result<(), CloudError> {
    let mut monitor = Monitor::open(&machine.dir).await?;
    if has_device(&mut monitor, name).await? {
        match monitor.ask("device_del", json!({ "id": name })).await {
            // Asked before, and the guest has not answered yet.
            Err(e) if e.to_string().contains("in the process of unplug") => {}
            asked => drop(asked?),
        }
        let gone = async {
            while has_device(&mut monitor, name).await? {
                tokio::time::sleep(LOOK).await;
            }
            Ok::<(), CloudError>(())
        };
        tokio::time::timeout(RELEASE, gone).await.unwrap_or_else(|_| {
            let name_of = &machine.name;
            Err(CloudError::Transient(format!("the system of {name_of} has not let go of {name}; it is asked again")))
        })?;
    }
    if has_node(&mut monitor, name).await? {
        monitor.ask("blockdev-del", json!({ "node-name": node_name(name) })).await?;
    }
    Ok(())
}

/// What a disk is to QEMU: its file, and the device that the guest sees.
fn options(dir: &Path, placed: &Placed) -> (Value, Value) {
    let name = placed.disk.name;
    // Nothing on it survives this host anyway, so it need not be flushed.
    let node = json!({
        "driver": "raw", "node-name": node_name(name), "discard": "unmap", "cache": { "no-flush": true },
        "file": { "driver": "file", "filename": dir.join(file(name)) },
    });
    let slot = format!("{:#x}", placed.slot);
    let device =
        json!({ "driver": "virtio-blk-pci", "drive": node_name(name), "id": name, "serial": name, "addr": slot });
    (node, device)
}

fn file(name: DiskName) -> String {
    format!("{name}.raw")
}

fn node_name(name: DiskName) -> String {
    format!("file-{name}")
}

async fn has_device(monitor: &mut Monitor, name: DiskName) -> Result<bool, CloudError> {
    let all = monitor.ask("qom-list", json!({ "path": "/machine/peripheral" })).await?;
    Ok(is_listed(&all, "name", &name.to_string()))
}

async fn has_node(monitor: &mut Monitor, name: DiskName) -> Result<bool, CloudError> {
    let all = monitor.ask("query-named-block-nodes", json!({ "flat": true })).await?;
    Ok(is_listed(&all, "node-name", &node_name(name)))
}

fn is_listed(all: &Value, key: &str, value: &str) -> bool {
    all.as_array().is_some_and(|all| all.iter().any(|one| one.get(key).and_then(Value::as_str) == Some(value)))
}

#[cfg(test)]
mod tests {
    use slipstream_shared::disk::DiskSpec;

    use super::*;

    fn disk(number: u32) -> Disk {
        Disk { name: DiskName::new(number), spec: DiskSpec { size: 8 << 20, mount: None, fs: None } }
    }

    #[test]
    fn each_disk_has_a_slot_of_its_own_and_there_are_sixteen() {
        let all: Vec<Disk> = (1..=16).map(disk).collect();
        let mut placed = place(&all).expect("room");
        assert_eq!((placed[0].slot, placed[15].slot), (0x10, 0x1f));
        assert_eq!(free_slot(&placed), Err(CloudError::Quota("a machine has at most 16 disks".to_owned())));
        placed.remove(3);
        assert_eq!(free_slot(&placed), Ok(0x13), "that of one that is gone");
    }

    #[test]
    fn a_disk_that_is_there_keeps_what_is_on_it() {
        let dir = tempfile::tempdir().expect("a folder");
        make(dir.path(), &disk(1)).expect("made");
        let path = dir.path().join("disk1.raw");
        assert_eq!(fs::metadata(&path).expect("there").len(), 8 << 20);
        fs::write(&path, "kept").expect("written");
        make(dir.path(), &disk(1)).expect("again");
        assert_eq!(fs::read_to_string(&path).expect("there"), "kept");
    }
}
