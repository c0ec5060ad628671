//! Turns errors of files and programs on this host into [`CloudError`]s.

use std::{
    io::{self, ErrorKind},
    path::Path,
};

use crate::cloud::CloudError;

/// A file could not be written, read, removed.
pub(in crate::cloud) fn failed(verb: &str, path: &Path, error: &io::Error) -> CloudError {
    let what = format!("cannot {verb} {}: {error}", path.display());
    match error.kind() {
        // Space comes back when other machines end, and another cloud may have some.
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            CloudError::Capacity(format!("{what}: free some space on that disk"))
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            CloudError::Invalid { what, remedy: format!("make it writable for the user `{}`", nix::unistd::geteuid()) }
        }
        ErrorKind::InvalidData => {
            CloudError::Invalid { what, remedy: "stop what it belongs to by hand, then remove it".to_owned() }
        }
        _ => CloudError::Transient(what),
    }
}

/// A program could not be started.
pub(in crate::cloud) fn spawn_failed(program: &Path, error: &io::Error) -> CloudError {
    let what = format!("cannot start {}: {error}", program.display());
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::OutOfMemory => {
            CloudError::Capacity(format!("{what}: raise the limits (ulimit -u, memory) or run fewer machines"))
        }
        ErrorKind::NotFound | ErrorKind::PermissionDenied => {
            CloudError::Invalid { what, remedy: "install it, or make it executable".to_owned() }
        }
        _ => CloudError::Transient(what),
    }
}
