//! The NoCloud disk that carries the user data: a FAT volume with the label `CIDATA`.

use std::io::{self, Cursor, Write as _};

/// Enough for the largest user data, and small enough to keep in memory.
const SIZE: usize = 512 * 1024;

/// A disk image with these files.
pub(super) fn make(files: &[(&str, &str)]) -> io::Result<Vec<u8>> {
    let mut image = Cursor::new(vec![0; SIZE]);
    let options = fatfs::FormatVolumeOptions::new().volume_label(*b"CIDATA     ").fat_type(fatfs::FatType::Fat12);
    fatfs::format_volume(&mut image, options)?;
    let volume = fatfs::FileSystem::new(&mut image, fatfs::FsOptions::new())?;
    for (name, content) in files {
        let mut file = volume.root_dir().create_file(name)?;
        file.write_all(content.as_bytes())?;
        file.flush()?;
    }
    volume.unmount()?;
    Ok(image.into_inner())
}

#[cfg(test)]
pub(super) fn read(image: Vec<u8>, name: &str) -> Vec<u8> {
    let volume = fatfs::FileSystem::new(Cursor::new(image), fatfs::FsOptions::new()).expect("FAT");
    assert_eq!(volume.volume_label(), "CIDATA");
    assert_eq!(volume.read_volume_label_from_root_dir().expect("read").as_deref(), Some("CIDATA"));
    let mut content = Vec::new();
    io::Read::read_to_end(&mut volume.root_dir().open_file(name).expect("there"), &mut content).expect("read");
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_holds_the_largest_user_data() {
        let large = "x".repeat(slipstream_shared::context::MAX_USER_DATA);
        let image = make(&[("user-data", &large), ("meta-data", "instance-id: i\n")]).expect("made");
        assert_eq!(read(image.clone(), "user-data"), large.as_bytes());
        assert_eq!(read(image, "meta-data"), b"instance-id: i\n");
    }
}
