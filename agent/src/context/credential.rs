//! The systemd credential `slipstream.context`.

use super::{ContextSource, Reading, read_file};
use crate::system::System;

pub(super) struct Credential;

impl ContextSource for Credential {
    fn name(&self) -> &'static str {
        "credential"
    }

    fn read(&self, system: &System) -> Reading {
        match system.credentials() {
            Some(folder) => read_file(&folder.join("slipstream.context")),
            None => Reading::Absent,
        }
    }
}
