//! How large the machine of an instance is and which disks it has: as launched, and as operations have changed
//! it since.
//!
//! What an operation has changed stays with the instance: a machine that replaces a lost one is made as large, and
//! has as many disks, though blank ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slipstream_shared::{
    api::DiskInfo,
    disk::{Disk, DiskName, DiskSpec},
    id::InstanceId,
    operation::MachineChange,
    parameter::Key,
    plan::{NodePlan, Size},
};

use super::{Instance, Run, value::Leaf};
use crate::seam::Millis;

/// What the machine of an instance has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hardware {
    /// Its size where an operation has changed it, instead of that of its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// The size of the machine there is. None: nothing was launched yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has: Option<Size>,
    /// Its disks beside the root disk.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<DiskName, DiskSpec>,
    /// What its cloud was asked to do and has not said yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changing: Option<Changing>,
    /// The disk it got last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<Disk>,
    /// The disk it lost last, or is about to lose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detached: Option<DiskName>,
    /// The name of the last disk it was given, whether that is still there or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<DiskName>,
}

/// A change that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changing {
    /// For which operation.
    pub operation: u32,
    /// What is changed.
    pub change: MachineChange,
    /// Since when.
    pub since: Millis,
}

impl Hardware {
    /// As another launch of its instance makes it; the first one gives it the disks of its node.
    pub(super) fn launched(mut self, node: &NodePlan) -> Self {
        if self.has.is_none() {
            for spec in &node.disks {
                let name = self.next_disk();
                self.add(name, spec.clone());
            }
        }
        self.has = Some(self.wanted(node));
        self.changing = None;
        self
    }

    pub(super) fn begin(&mut self, operation: u32, change: MachineChange, since: Millis) {
        if let MachineChange::Detach { name } = change {
            self.detached = Some(name);
        }
        self.changing = Some(Changing { operation, change, since });
    }

    pub(super) fn made(&mut self, change: &MachineChange) {
        self.changing = None;
        match change {
            MachineChange::Resize { size } => (self.size, self.has) = (Some(size.clone()), Some(size.clone())),
            MachineChange::Attach { disk } => {
                self.add(disk.name, disk.spec.clone());
                self.attached = Some(disk.clone());
            }
            MachineChange::Detach { name } => drop(self.disks.remove(name)),
        }
    }

    /// The size that another launch would have.
    #[must_use]
    pub fn wanted(&self, node: &NodePlan) -> Size {
        self.size.clone().unwrap_or_else(|| node.size.clone())
    }

    /// The name of the next disk.
    #[must_use]
    pub fn next_disk(&self) -> DiskName {
        self.last.map_or(DiskName::new(1), DiskName::next)
    }

    pub(super) fn add(&mut self, name: DiskName, spec: DiskSpec) {
        self.last = self.last.max(Some(name));
        self.disks.insert(name, spec);
    }

    /// Its disks, as people see them.
    #[must_use]
    pub fn infos(&self) -> Vec<DiskInfo> {
        let info = |disk: Disk, status: &str| {
            let (device, status) = (disk.name.device(), status.to_owned());
            DiskInfo { disk, device, status }
        };
        let change = self.changing.as_ref().map(|changing| &changing.change);
        let goes = |name| matches!(change, Some(MachineChange::Detach { name: going }) if *going == name);
        let there = self.disks().map(|disk| {
            let status = if goes(disk.name) { "removing" } else { "attached" };
            info(disk, status)
        });
        let coming = change.and_then(|change| match change {
            MachineChange::Attach { disk } => Some(info(disk.clone(), "attaching")),
            _ => None,
        });
        there.chain(coming).collect()
    }

    /// Its disks.
    pub fn disks(&self) -> impl Iterator<Item = Disk> {
        self.disks.iter().map(|(name, spec)| Disk { name: *name, spec: spec.clone() })
    }
}

/// What a change of a machine may give another value.
pub(super) fn computed(id: &InstanceId) -> Vec<Leaf> {
    let names = ["cpu.nb", "ram.GB", "disk.attach.size", "disk.attached.device", "disk.detach.device"];
    names.map(|name| Leaf::Value(Key::instance(id, name))).into()
}

impl Run {
    /// The size and the disks of the next machine of an instance.
    #[must_use]
    pub fn to_launch(&self, id: &InstanceId) -> (Size, Vec<Disk>) {
        let hardware = self.instances.get(id).map(|instance| &instance.hardware);
        let size = hardware.zip(self.node(id)).map(|(hardware, node)| hardware.wanted(node));
        (size.unwrap_or_default(), hardware.into_iter().flat_map(Hardware::disks).collect())
    }

    /// The size that the machine of an instance is to have, where it has another one.
    #[must_use]
    pub fn wanted_size(&self, id: &InstanceId, instance: &Instance) -> Option<Size> {
        let hardware = &instance.hardware;
        let wanted = match hardware.changing.as_ref().map(|changing| &changing.change) {
            Some(MachineChange::Resize { size }) => size.clone(),
            _ => hardware.wanted(self.node(id)?),
        };
        (wanted != self.size_of(id, instance)).then_some(wanted)
    }

    /// The disks that the agent of an instance is to mount.
    pub(super) fn mounted(&self, id: &InstanceId) -> Vec<Disk> {
        let disks = self.instances.get(id).into_iter().flat_map(|instance| instance.hardware.disks());
        // What is on its way out stays unmounted.
        let goes = |name| self.open_operations().any(|(_, o)| o.takes_away(id, name));
        disks.filter(|disk| disk.spec.mount.is_some() && !goes(disk.name)).collect()
    }
}
