//! Reads one file of a FAT file system, through the crate `fatfs` on a device that refuses writes.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt as _,
};

use super::{MAX_BYTES, disk::Content};

/// The content of `name` if the device is a FAT file system labelled `label`.
pub(super) fn read(device: File, label: &str, name: &str) -> Content {
    let mut sector = [0; 512];
    match device.read_exact_at(&mut sector, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    // Only what looks like ours is handed to the parser: it need not survive every disk in the world.
    if sector[510..] != [0x55, 0xaa] || !labels(&sector).any(|l| l.eq_ignore_ascii_case(label) || l == "NO NAME") {
        return Ok(None);
    }
    let options = fatfs::FsOptions::new().update_accessed_date(false);
    let volume = fatfs::FileSystem::new(ReadOnly(device), options)?;
    let in_root = volume.read_volume_label_from_root_dir_as_bytes()?;
    let same = |found: &[u8]| found.trim_ascii().eq_ignore_ascii_case(label.as_bytes());
    if !same(volume.volume_label_as_bytes()) && !in_root.is_some_and(|found| same(&found)) {
        return Ok(None);
    }
    let mut content = Vec::new();
    match volume.root_dir().open_file(name) {
        Ok(file) => file.take(MAX_BYTES).read_to_end(&mut content)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    Ok(Some(content))
}

/// The two places of a label in the boot sector: FAT12 and FAT16, then FAT32.
fn labels(sector: &[u8; 512]) -> impl Iterator<Item = &str> {
    [43..54, 71..82].into_iter().filter_map(|range| std::str::from_utf8(&sector[range]).ok()).map(str::trim)
}

/// `fatfs` wants a device it could write to.
struct ReadOnly(File);

impl Read for ReadOnly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for ReadOnly {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Write for ReadOnly {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::context) fn image(label: &str, name: &str, content: &str) -> Vec<u8> {
        let mut disk = io::Cursor::new(vec![0; 1024 * 1024]);
        let mut padded = [b' '; 11];
        padded[..label.len()].copy_from_slice(label.as_bytes());
        fatfs::format_volume(&mut disk, fatfs::FormatVolumeOptions::new().volume_label(padded)).unwrap();
        {
            let volume = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
            volume.root_dir().create_file(name).unwrap().write_all(content.as_bytes()).unwrap();
        }
        disk.into_inner()
    }

    fn read_image(bytes: &[u8]) -> Content {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        read(file, "cidata", "user-data")
    }

    #[test]
    fn the_label_may_have_any_case_and_the_name_is_long() {
        for label in ["cidata", "CIDATA"] {
            assert_eq!(read_image(&image(label, "user-data", "hello")).unwrap().unwrap(), b"hello");
        }
    }

    #[test]
    fn other_disks_have_nothing() {
        assert_eq!(read_image(&image("OTHER", "user-data", "hello")).unwrap(), None);
        assert_eq!(read_image(&image("CIDATA", "meta-data", "hello")).unwrap(), None);
        assert_eq!(read_image(&[0; 100]).unwrap(), None);
        assert_eq!(read_image(&[0x55; 4096]).unwrap(), None);
    }
}
