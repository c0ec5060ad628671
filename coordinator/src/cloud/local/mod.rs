//! What the kinds that run machines on this host have in common: a folder per machine, processes
//! found by a mark in their environment, errors of files and programs.

mod error;
mod folder;
mod host;
mod power;
mod processes;

use std::path::Path;

use super::CloudError;

pub(super) use self::{
    error::{failed, spawn_failed},
    folder::{Folders, Machine, Placed, Record, SOCKETS, make_socket_dir, socket_path, write_atomic},
    host::{Host, Life},
    processes::{Marker, Processes},
};

/// How much of a log or console is shown.
const TAIL: u64 = 64 * 1024;

/// Runs work that blocks on files. When it panics, nobody knows how far it came.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CloudError> + Send + 'static,
) -> Result<T, CloudError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| CloudError::Ambiguous(e.to_string()))?
}

/// The end of a log. None where there is no such file.
pub(super) fn tail(path: &Path) -> Result<Option<String>, CloudError> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(path)?;
        let from = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path, &e)),
    }
}

/// The last lines of a log that say something, for the reason of a failure.
pub(super) fn last_words(path: &Path) -> String {
    let text = tail(path).ok().flatten().unwrap_or_default();
    // Firmware and boot loaders paint.
    let text = text.replace(|c: char| c.is_control() && c != '\n', "");
    let mut lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).rev().take(5).collect();
    lines.reverse();
    if lines.is_empty() {
        "it has written nothing".to_owned()
    } else {
        format!("its last lines: {}", lines.join(" | "))
    }
}

/// SHA-256 of a text.
pub(super) fn hash(text: &str) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Finds a program: as it is when it names a folder, else in `PATH`.
pub(super) fn find_program(name: &Path) -> Option<std::path::PathBuf> {
    if name.components().count() > 1 {
        return is_program(name).then(|| name.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

/// True for a file that may be run.
pub(super) fn is_program(file: &Path) -> bool {
    file.is_file() && nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok()
}
