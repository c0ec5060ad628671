//! A virtual machine by hand: an image with a context from wherever a test says, and no cloud around it.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::eventually_within;

/// Without KVM, on a busy machine.
const BOOT: Duration = Duration::from_secs(90);

/// Where a machine has its context from.
#[derive(Debug, Clone)]
pub enum Source {
    /// QEMU's firmware configuration device.
    FwCfg(String),
    /// `/etc/slipstream/context.json`.
    File(String),
    /// The file `user-data` on a disk labelled `CIDATA`.
    Disk(String),
}

/// A machine that runs. It ends with the test.
#[derive(Debug)]
pub struct Vm {
    folder: TempDir,
    child: Child,
}

impl Vm {
    /// Boots one of the images of `images` with that much to tell about its run.
    ///
    /// # Panics
    /// The image is damaged, or QEMU does not start.
    #[must_use]
    pub fn boot(images: &Path, image: &str, source: &Source) -> Vm {
        let folder = tempfile::Builder::new().prefix("ss-vm-").tempdir().expect("a temporary folder");
        let image = images.join(image);
        let text = fs::read_to_string(image.join("manifest.json")).expect("the image has a manifest");
        let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let part = |key: &str| image.join(manifest[key].as_str().expect("a name"));
        let write = |name: &str, content: &[u8]| -> PathBuf {
            let path = folder.path().join(name);
            fs::write(&path, content).expect("written");
            path
        };
        let mut initrd = part("initrd");
        let mut given: Vec<OsString> = Vec::new();
        match source {
            Source::FwCfg(text) => {
                let file = write("context", text.as_bytes());
                given.extend(["-fw_cfg".into(), with("name=opt/org.slipstream/context,file=", &file)]);
            }
            Source::File(text) => {
                // The kernel unpacks one archive over the other.
                let mut archives = fs::read(&initrd).expect("the image has an initrd");
                archives.resize(archives.len().next_multiple_of(4), 0);
                let folder = Entry { path: "etc/slipstream", mode: 0o040_755, content: b"" };
                let file = Entry { path: "etc/slipstream/context.json", mode: 0o100_600, content: text.as_bytes() };
                archives.extend(archive(&[folder, file]));
                initrd = write("initrd", &archives);
            }
            Source::Disk(text) => {
                let file = write("seed.img", &disk(text));
                given.extend(["-drive".into(), with("if=virtio,format=raw,readonly=on,file=", &file)]);
            }
        }
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-machine", "pc", "-accel", "tcg", "-cpu", "max", "-m", "192", "-display", "none"])
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .arg("-kernel")
            .arg(part("kernel"))
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", manifest["append"].as_str().expect("text")])
            .args(["-serial", "file:console", "-qmp", "unix:qmp,server=on,wait=off"])
            .args(["-netdev", "user,id=n0,ipv6=off", "-device", "virtio-net-pci,netdev=n0,romfile="])
            .args(given)
            .current_dir(folder.path())
            .stdin(Stdio::null());
        let child = command.spawn().expect("qemu-system-x86_64 is installed");
        Vm { folder, child }
    }

    /// What it has written to its serial console.
    #[must_use]
    pub fn console(&self) -> String {
        let bytes = fs::read(self.folder.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// The lines of its console that contain a text, once there is one.
    ///
    /// # Panics
    /// There is none; the console is shown.
    pub async fn says(&self, text: &str) -> Vec<String> {
        let look = || async {
            // A line that has no end yet is still being written.
            let console = self.console();
            let whole = console.split_inclusive('\n').filter(|line| line.ends_with('\n') && line.contains(text));
            let found: Vec<String> = whole.map(|line| line.trim_end().to_owned()).collect();
            (!found.is_empty()).then_some(found)
        };
        let what = format!("`{text}` on the console");
        tokio::select! {
            found = eventually_within(BOOT, &what, look) => found,
            () = tokio::time::sleep(BOOT - Duration::from_secs(1)) => panic!("no {what}:\n{}", self.console()),
        }
    }

    /// Presses the power button until it has shut itself down: only a machine that has booted does.
    ///
    /// # Panics
    /// It does not; the console is shown.
    pub async fn power_off(mut self) {
        let qmp = self.folder.path().join("qmp");
        for _ in 0..BOOT.as_secs() {
            press(&qmp);
            for _ in 0..20 {
                if let Some(status) = self.child.try_wait().expect("our child") {
                    return assert!(status.success(), "{status}:\n{}", self.console());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        panic!("it does not shut down:\n{}", self.console());
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn press(qmp: &Path) {
    // Not there yet, or not any more.
    let Ok(mut stream) = UnixStream::connect(qmp) else { return };
    let _ = stream.write_all(b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"system_powerdown\"}\n");
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    // QEMU does what it was told before it sees the end of the stream.
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// A path within an option of QEMU.
fn with(before: &str, path: &Path) -> OsString {
    format!("{before}{}", path.display().to_string().replace(',', ",,")).into()
}

/// A FAT file system with the file `user-data`.
fn disk(text: &str) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(vec![0; 1024 * 1024]);
    fatfs::format_volume(&mut bytes, fatfs::FormatVolumeOptions::new().volume_label(*b"CIDATA     "))
        .expect("formatted");
    {
        let volume = fatfs::FileSystem::new(&mut bytes, fatfs::FsOptions::new()).expect("formatted");
        let mut file = volume.root_dir().create_file("user-data").expect("there is room");
        file.write_all(text.as_bytes()).expect("there is room");
    }
    bytes.into_inner()
}

/// A file or folder of an archive.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Where it goes, without a slash at the beginning.
    pub path: &'a str,
    /// What it is and who may use it, as `st_mode` has it.
    pub mode: u32,
    /// Its bytes.
    pub content: &'a [u8],
}

/// A cpio archive ("newc", the kernel's), which goes behind the initrd of an image. Folders come before what is in them.
///
/// # Panics
/// Something is larger than four gigabytes.
#[must_use]
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut all = Vec::new();
    let end = Entry { path: "TRAILER!!!", mode: 0, content: b"" };
    for Entry { path, mode, content } in entries.iter().chain([&end]) {
        let head = [0, *mode, 0, 0, 1, 0, u32::try_from(content.len()).expect("small"), 0, 0, 0, 0];
        let size = u32::try_from(path.len() + 1).expect("short");
        let fields: String = head.into_iter().chain([size, 0]).map(|field| format!("{field:08x}")).collect();
        all.extend(format!("070701{fields}{path}\0").into_bytes());
        all.resize(all.len().next_multiple_of(4), 0);
        all.extend(*content);
        all.resize(all.len().next_multiple_of(4), 0);
    }
    all
}
