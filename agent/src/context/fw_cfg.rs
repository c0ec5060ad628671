//! QEMU's firmware configuration device, `-fw_cfg name=opt/org.slipstream/context,file=...`.

use super::{ContextSource, Reading, read_file};
use crate::system::System;

pub(super) struct FwCfg;

impl ContextSource for FwCfg {
    fn name(&self) -> &'static str {
        "fw_cfg"
    }

    fn read(&self, system: &System) -> Reading {
        read_file(&system.path("/sys/firmware/qemu_fw_cfg/by_name/opt/org.slipstream/context/raw"))
    }
}
