//! Kernel command line: `slipstream.context=` with the payload itself or the path of a file.

use super::{ContextSource, Reading, read_file};
use crate::system::System;

pub(super) struct Cmdline;

impl ContextSource for Cmdline {
    fn name(&self) -> &'static str {
        "cmdline"
    }

    fn read(&self, system: &System) -> Reading {
        let line = system.fact("/proc/cmdline");
        let Some(value) = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("slipstream.context="))
        else {
            return Reading::Absent;
        };
        if !value.starts_with('/') {
            return Reading::Present(value.as_bytes().to_vec());
        }
        match read_file(&system.path(value)) {
            // Somebody said that it is there, so its file system may only be late.
            Reading::Absent => Reading::Unknown(format!("{value} is not there")),
            other => other,
        }
    }
}
