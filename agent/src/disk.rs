//! Disks that the coordinator gives to this machine: found by their serial number, formatted if they are blank,
//! mounted, and let go of again.
//!
//! Only a disk without any content is ever formatted: its first and its last megabyte hold nothing but zeroes,
//! which no file system, partition table or volume manager leaves so. What was formatted only in part, because
//! the machine went down meanwhile, is known by a file that is there while that is done.

use std::{
    fs,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::mount::{MsFlags, mount, umount};
use slipstream_shared::disk::{DiskName, DiskSpec, Fs};

use crate::{STATE_DIR, durable::write_atomic, system::System, trouble::say};

/// How long the kernel may take to see a disk that the cloud has attached.
const APPEARS: Duration = Duration::from_secs(60);

/// How much of each end of a disk is looked at.
const END: u64 = 1 << 20;

/// Sees to it that a disk is there, and is mounted if that is wanted. Doing it again changes nothing.
///
/// # Errors
/// What does not work, in words for people.
pub fn take(system: &System, name: DiskName, spec: &DiskSpec) -> Result<(), String> {
    let device = appears(system, name, APPEARS)?;
    link(system, name, &device);
    let Some(folder) = &spec.mount else { return Ok(()) };
    let target = system.path(folder);
    if mounts(system)?.iter().any(|(from, to)| *from == device && *to == *folder) {
        return Ok(());
    }
    let fs = spec.fs.unwrap_or_default();
    if is_half_made(system, name) || is_blank(&device).map_err(|e| format!("cannot read {name}: {e}"))? {
        format(system, name, &device, fs)?;
    }
    fs::create_dir_all(&target).map_err(|e| format!("cannot make the folder {folder} for {name}: {e}"))?;
    mount(Some(&device), &target, Some(fs.name()), MsFlags::empty(), None::<&str>).map_err(|e| {
        format!("cannot mount {name} on {folder} as {}: {e} (what is on it is left as it is)", fs.name())
    })?;
    say(format_args!("{name} is mounted on {folder}"));
    Ok(())
}

/// Unmounts a disk wherever it is mounted. One that is not there is a success.
///
/// # Errors
/// Something still uses it.
pub fn release(system: &System, name: DiskName) -> Result<(), String> {
    let Some(device) = find(system, name) else { return Ok(()) };
    // What was mounted last goes first.
    for (_, folder) in mounts(system)?.iter().rev().filter(|(from, _)| is_of(from, &device)) {
        umount(&system.path(folder)).map_err(|e| {
            format!("cannot unmount {name} from {folder}: {e} (end what uses it first, in `pre_scale` for example)")
        })?;
        say(format_args!("{name} is no longer mounted on {folder}"));
    }
    let link = system.path(&name.device());
    if fs::read_link(&link).is_ok_and(|to| to.is_absolute()) {
        fs::remove_file(&link).map_err(|e| format!("cannot remove {}: {e}", link.display()))?;
    }
    Ok(())
}

/// The device of a disk, as soon as there is one.
fn appears(system: &System, name: DiskName, within: Duration) -> Result<PathBuf, String> {
    let deadline = Instant::now() + within;
    loop {
        match find(system, name) {
            Some(device) => return Ok(device),
            None if Instant::now() >= deadline => {
                return Err(format!(
                    "no disk of this machine has the serial number {name} after {} s",
                    within.as_secs()
                ));
            }
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// The device with the serial number of a disk.
fn find(system: &System, name: DiskName) -> Option<PathBuf> {
    let devices = fs::read_dir(system.path("/sys/block")).ok()?.filter_map(Result::ok);
    let is_it = |serial: PathBuf| fs::read_to_string(serial).is_ok_and(|serial| serial.trim() == name.to_string());
    devices
        .into_iter()
        .find(|device| is_it(device.path().join("serial")))
        .map(|d| system.path("/dev").join(d.file_name()))
}

/// Gives scripts the name that they know the disk by, where no udev does that. Its links are relative, ours are not.
fn link(system: &System, name: DiskName, device: &Path) {
    let link = system.path(&name.device());
    let ours = || -> io::Result<()> {
        match fs::read_link(&link) {
            Ok(to) if !to.is_absolute() || to == device => return Ok(()),
            Ok(_) => fs::remove_file(&link)?,
            Err(_) => fs::create_dir_all(link.parent().unwrap_or(Path::new("/")))?,
        }
        symlink(device, &link)
    };
    match ours() {
        // udev was faster.
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            say(format_args!("cannot make {}: {e}", link.display()));
        }
        _ => {}
    }
}

/// What is mounted where, in the order in which it was.
fn mounts(system: &System) -> Result<Vec<(PathBuf, String)>, String> {
    let text = fs::read_to_string(system.path("/proc/self/mounts"));
    let text = text.map_err(|e| format!("cannot read what is mounted: {e}"))?;
    let line = |line: &str| {
        let mut words = line.split(' ');
        Some((PathBuf::from(words.next()?), words.next()?.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// True for the device itself and for its partitions.
fn is_of(mounted: &Path, device: &Path) -> bool {
    let rest = mounted.to_str().and_then(|m| m.strip_prefix(device.to_str()?));
    rest.is_some_and(|rest| rest.trim_start_matches('p').bytes().all(|b| b.is_ascii_digit()))
}

/// True where both ends of a disk hold nothing but zeroes.
fn is_blank(device: &Path) -> io::Result<bool> {
    let mut file = fs::File::open(device)?;
    let size = file.seek(SeekFrom::End(0))?;
    for from in [0, size.saturating_sub(END)] {
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.by_ref().take(END).read_to_end(&mut bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The file that is there while a disk is formatted.
fn mark(system: &System, name: DiskName) -> PathBuf {
    system.path(STATE_DIR).join(format!("formatting-{name}"))
}

fn is_half_made(system: &System, name: DiskName) -> bool {
    mark(system, name).exists()
}

fn format(system: &System, name: DiskName, device: &Path, fs: Fs) -> Result<(), String> {
    let mark = mark(system, name);
    let note = |e: io::Error| format!("cannot note in {} that {name} is formatted: {e}", mark.display());
    write_atomic(&mark, b"", 0o600).map_err(note)?;
    make_fs(name, device, &programs(fs))?;
    fs::remove_file(&mark).map_err(note)?;
    say(format_args!("{name} was blank and is {} now", fs.name()));
    Ok(())
}

/// The programs that make a file system, best first.
fn programs(fs: Fs) -> Vec<String> {
    let own = format!("mkfs.{}", fs.name());
    // Under this name it makes ext2: all that busybox has.
    if fs == Fs::Ext2 { vec![own, "mke2fs".to_owned()] } else { vec![own] }
}

fn make_fs(name: DiskName, device: &Path, programs: &[String]) -> Result<(), String> {
    for program in programs {
        let output = match Command::new(program).arg("-q").arg(device).stdin(Stdio::null()).output() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            output => output.map_err(|e| format!("cannot run {program}: {e}"))?,
        };
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        return Err(format!("cannot format {name}: {program} ended with {}: {said}", output.status));
    }
    let program = programs.first().map(String::as_str).unwrap_or_default();
    let remedy = "install it there, or choose another `fs`";
    Err(format!("cannot format {name}: {program} is not installed in this image ({remedy})"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn system(serial: &str) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        for folder in ["sys/block/vda", "sys/block/vdb", "dev", "proc/self"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("sys/block/vdb/serial"), serial).unwrap();
        fs::write(root.path().join("proc/self/mounts"), "").unwrap();
        let system = System::new(root.path().to_owned());
        (root, system)
    }

    #[test]
    fn a_disk_is_found_by_its_serial_number_and_has_a_name_for_scripts() {
        let (root, system) = system("disk2\n");
        let name = DiskName::new(2);
        let device = root.path().join("dev/vdb");
        assert_eq!(find(&system, name), Some(device.clone()));
        assert_eq!(find(&system, DiskName::new(1)), None);
        let known = root.path().join("dev/disk/by-id/virtio-disk2");
        let spec = DiskSpec { size: 1 << 30, mount: None, fs: None };
        for _ in 0..2 {
            assert_eq!(take(&system, name, &spec), Ok(()));
            assert_eq!(fs::read_link(&known).unwrap(), device);
        }
        assert_eq!(release(&system, name), Ok(()));
        assert!(fs::symlink_metadata(&known).is_err(), "what we have made is gone");
        // One of udev's is left to udev.
        symlink("../../vdb", &known).unwrap();
        assert_eq!((take(&system, name, &spec), release(&system, name)), (Ok(()), Ok(())));
        assert_eq!(fs::read_link(&known).unwrap(), Path::new("../../vdb"));
    }

    #[test]
    fn a_disk_that_never_comes_is_said() {
        let (_root, system) = system("other");
        let why = appears(&system, DiskName::new(1), Duration::from_millis(1)).expect_err("none");
        assert_eq!(why, "no disk of this machine has the serial number disk1 after 0 s");
        assert_eq!(release(&system, DiskName::new(1)), Ok(()));
    }

    #[test]
    fn only_a_disk_of_zeroes_is_blank() {
        let mut disk = tempfile::NamedTempFile::new().unwrap();
        disk.as_file().set_len(8 << 20).unwrap();
        assert!(is_blank(disk.path()).unwrap());
        for at in [0, 510, 1080, (8 << 20) - 1] {
            disk.as_file_mut().seek(SeekFrom::Start(at)).unwrap();
            disk.write_all(b"x").unwrap();
            assert!(!is_blank(disk.path()).unwrap(), "a byte at {at}");
            disk.as_file_mut().seek(SeekFrom::Start(at)).unwrap();
            disk.write_all(b"\0").unwrap();
        }
        disk.as_file().set_len(512).unwrap();
        assert!(is_blank(disk.path()).unwrap(), "smaller than what is looked at");
    }

    #[test]
    fn partitions_belong_to_their_disk_and_longer_names_do_not() {
        let is = |mounted: &str| is_of(Path::new(mounted), Path::new("/dev/vdb"));
        assert!(is("/dev/vdb") && is("/dev/vdb1"));
        assert!(!is("/dev/vda1") && !is("/dev/vdbc") && !is("tmpfs"));
    }

    #[test]
    fn a_file_system_that_the_image_lacks_is_named() {
        let disk = tempfile::NamedTempFile::new().unwrap();
        let why = make_fs(DiskName::new(1), disk.path(), &["mkfs.of-nobody".to_owned()]).expect_err("not there");
        let expected = "cannot format disk1: mkfs.of-nobody is not installed in this image";
        assert!(why.starts_with(expected), "{why}");
        let why = make_fs(DiskName::new(1), disk.path(), &["mkfs.of-nobody".to_owned(), "false".to_owned()]);
        assert!(why.expect_err("fails").starts_with("cannot format disk1: false ended with exit status: 1"));
        assert_eq!(make_fs(DiskName::new(1), disk.path(), &["true".to_owned()]), Ok(()));
    }
}
