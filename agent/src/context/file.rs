//! `/etc/slipstream/context.json`, put there by whoever made the machine.

use super::{ContextSource, Reading, read_file};
use crate::system::System;

pub(super) struct File;

impl ContextSource for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn read(&self, system: &System) -> Reading {
        read_file(&system.path("/etc/slipstream/context.json"))
    }
}
