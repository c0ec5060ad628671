//! The folder of command names that stands first in a script's PATH.

use std::{fs, io, os::unix::fs::symlink, path::Path};

/// All names under which this program is a command of SlipStream, and its own.
pub const NAMES: [&str; 8] =
    ["slipstream-agent", "ss-get", "ss-set", "ss-display", "ss-abort", "ss-cancel-abort", "ss-random", "ss-get-all"];

/// Makes `<run-dir>/bin` with a link to this program for each name.
///
/// # Errors
/// The file system's.
pub fn make(run_dir: &Path) -> io::Result<()> {
    let bin = run_dir.join("bin");
    fs::create_dir_all(&bin)?;
    let program = std::env::current_exe()?;
    for name in NAMES {
        let link = bin.join(name);
        if fs::read_link(&link).is_ok_and(|target| target == program) {
            continue;
        }
        match fs::remove_file(&link) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => symlink(&program, link)?,
        }
    }
    Ok(())
}
