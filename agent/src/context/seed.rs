//! The folder cloud-init calls a NoCloud seed.

use super::{ContextSource, Reading, read_file};
use crate::system::System;

pub(super) struct Seed;

impl ContextSource for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn read(&self, system: &System) -> Reading {
        read_file(&system.path("/var/lib/cloud/seed/nocloud/user-data"))
    }
}
