//! The number of the last group that was acknowledged, in a file of its own.
//!
//! sled cannot tell the end of its file from a place that it cannot read: it would open an older state without a
//! word. The mark is written after each group has reached the disk and is not synced itself, which costs
//! microseconds: after a loss of power it may be older, never newer, than what there is.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

/// Its name, in the folder of the store.
pub(super) const NAME: &str = "last-group";

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// This group was durable.
    Group(u64),
    /// Nothing that can be read: there never was one, or its last write was lost.
    None,
}

/// Reads it.
///
/// # Errors
/// It is there and cannot be read.
pub(super) fn read(folder: &Path) -> io::Result<Mark> {
    let text = crate::files::read_optional(&folder.join(NAME))?.unwrap_or_default();
    Ok(parse(&text).map_or(Mark::None, Mark::Group))
}

/// Opens it to be written.
///
/// # Errors
/// It cannot be made.
pub(super) fn open(folder: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(false).open(folder.join(NAME))
}

/// Writes it.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(file: &File, group: u64) -> io::Result<()> {
    file.write_all_at(text(group).as_bytes(), 0)
}

fn text(group: u64) -> String {
    let number = format!("{group:020}");
    format!("{number} {:08x}\n", crc32fast::hash(number.as_bytes()))
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let group = std::str::from_utf8(bytes).ok()?.split(' ').next()?.parse().ok()?;
    (text(group).as_bytes() == bytes).then_some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else_is_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read(folder.path()).expect("readable"), Mark::None);
        let file = open(folder.path()).expect("made");
        for group in [7, u64::MAX, 12] {
            write(&file, group).expect("written");
            assert_eq!(read(folder.path()).expect("readable"), Mark::Group(group));
        }
        let good = std::fs::read(folder.path().join(NAME)).expect("there");
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            std::fs::write(folder.path().join(NAME), bad).expect("written");
            assert_eq!(read(folder.path()).expect("readable"), Mark::None, "byte {place}");
        }
    }
}
