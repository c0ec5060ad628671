//! How large the machine of an instance is and which disks it has: as launched, and as operations have changed
//! it since.
//!
//! What an operation has changed stays with the instance: a machine that replaces a lost one is made as large, and
//! has as many disks, though blank ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slipstream_shared::{
    disk::{Disk, DiskName, DiskSpec},
    id::InstanceId,
    plan::{NodePlan, Size},
};

use super::Run;

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
    /// The name of the last disk it was given, whether that is still there or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<DiskName>,
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
        self
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

    /// Its disks.
    pub fn disks(&self) -> impl Iterator<Item = Disk> {
        self.disks.iter().map(|(name, spec)| Disk { name: *name, spec: spec.clone() })
    }
}

impl Run {
    /// The size and the disks of the next machine of an instance.
    #[must_use]
    pub fn to_launch(&self, id: &InstanceId) -> (Size, Vec<Disk>) {
        let hardware = self.instances.get(id).map(|instance| &instance.hardware);
        let size = hardware.zip(self.node(id)).map(|(hardware, node)| hardware.wanted(node));
        (size.unwrap_or_default(), hardware.into_iter().flat_map(Hardware::disks).collect())
    }

    /// The disks that the agent of an instance is to mount.
    pub(super) fn mounted(&self, id: &InstanceId) -> Vec<Disk> {
        let disks = self.instances.get(id).into_iter().flat_map(|instance| instance.hardware.disks());
        disks.filter(|disk| disk.spec.mount.is_some()).collect()
    }
}
