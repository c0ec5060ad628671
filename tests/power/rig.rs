//! A VM with a coordinator on a disk that forgets: what it was not told to flush is lost with its power.
//!
//! The disk is a file behind `nbdkit` with its cache filter, which writes to the file when the guest flushes, and
//! has the rest in its own cache; QEMU adds none. Both are killed at once.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use slipstream_shared::{client::Client, http::Limits};
use slipstream_tests::{Coordinator, Entry, Options, archive, eventually_within, program, test_images};
use tempfile::TempDir;

/// How long a guest may take until its coordinator answers: without KVM, on a busy machine.
const BOOT: Duration = Duration::from_secs(180);

const DISK: &str = "512M";

/// The ports of the coordinator in the guest.
const PORTS: [u16; 2] = [8443, 8444];

/// What the image starts in place of an agent.
const START: &str = "#!/bin/sh
mount -t ext4 /dev/vda /data || { echo 'no disk'; exec sleep 2147483647; }
bug=$(sed -n 's/.*slipstream[.]bug=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
[ -z \"$bug\" ] || export SLIPSTREAM_PLANTED_BUG=$bug
/usr/bin/slipstream-coordinator serve --dev --data /data/data --listen 0.0.0.0:8443 --agent-listen 0.0.0.0:8444
echo \"the coordinator has ended: $?\"
exec sleep 2147483647
";

/// The disk, the image, and how to reach the coordinator in it.
pub(crate) struct Rig {
    folder: TempDir,
    kernel: PathBuf,
    append: String,
    port: u16,
    token: String,
    authority: String,
    powered: Option<Powered>,
}

struct Powered {
    disk: Child,
    guest: Child,
}

impl Drop for Powered {
    fn drop(&mut self) {
        // The disk first: what reaches it later would not be lost.
        for child in [&mut self.disk, &mut self.guest] {
            let _ = child.kill();
        }
        for child in [&mut self.disk, &mut self.guest] {
            let _ = child.wait();
        }
    }
}

impl Rig {
    /// Makes disk and image, with a data folder that a coordinator of this machine has begun.
    pub(crate) async fn new(bug: Option<&'static str>) -> Rig {
        let folder = tempfile::Builder::new().prefix("ss-power-").tempdir().expect("a folder");
        let images = test_images("busybox").expect("the small image: run `make test-power`, which makes it");
        let image = images.join("busybox");
        let text = fs::read_to_string(image.join("manifest.json")).expect("the image has a manifest");
        let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let part = |key: &str| image.join(manifest[key].as_str().expect("a name"));
        let mut initrd = fs::read(part("initrd")).expect("the image has an initrd");
        initrd.resize(initrd.len().next_multiple_of(4), 0);
        initrd.extend(overlay(folder.path()));
        fs::write(folder.path().join("initrd"), initrd).expect("there is room");

        let mut coordinator = Coordinator::start(Options { bug, ..Options::default() }).await;
        coordinator.stop();
        let profile: toml::Table = fs::read_to_string(coordinator.profile()).expect("written").parse().expect("TOML");
        let get = |name: &str| profile[name].as_str().expect("text").to_owned();
        let root = folder.path().join("root");
        fs::create_dir(&root).expect("made");
        fs::rename(coordinator.data(), root.join("data")).expect("on the same disk");
        run(Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-d"])
            .arg(&root)
            .arg(folder.path().join("disk"))
            .arg(DISK));

        let append = manifest["append"].as_str().expect("text");
        let append = bug.map_or(append.to_owned(), |bug| format!("{append} slipstream.bug={bug}"));
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let (token, authority) = (get("token"), get("authority"));
        Rig { kernel: part("kernel"), folder, append, port, token, authority, powered: None }
    }

    /// A client of the coordinator in the guest.
    pub(crate) fn client(&self) -> Client {
        let url = format!("https://127.0.0.1:{}", self.port);
        Client::new(&url, &self.token, &self.authority, Limits::default()).expect("a good profile")
    }

    /// Switches it on, and waits until the coordinator answers.
    ///
    /// # Errors
    /// It does not; the console is part of the answer.
    pub(crate) async fn power_on(&mut self) -> Result<(), String> {
        let path = |name: &str| self.folder.path().join(name);
        let _ = fs::remove_file(path("nbd"));
        let disk = Command::new("nbdkit")
            .args(["--foreground", "--unix"])
            .arg(path("nbd"))
            .args(["--filter=cache", "file"])
            .arg(path("disk"))
            .arg("cache=writeback")
            .env("TMPDIR", self.folder.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("nbdkit is installed");
        eventually_within(BOOT, "the disk turns", || async { path("nbd").exists().then_some(()) }).await;
        let drive = format!("file=nbd+unix:///?socket={},format=raw,if=virtio,cache=none", path("nbd").display());
        let forward = format!("user,id=n0,ipv6=off,hostfwd=tcp:127.0.0.1:{}-:{}", self.port, PORTS[0]);
        let guest = Command::new("qemu-system-x86_64")
            .args(["-machine", "pc", "-accel", "tcg", "-cpu", "max", "-m", "384", "-display", "none"])
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(path("initrd"))
            .args(["-append", &self.append, "-serial", "file:console", "-drive", &drive])
            .args(["-netdev", &forward, "-device", "virtio-net-pci,netdev=n0,romfile="])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-system-x86_64 is installed");
        self.powered = Some(Powered { disk, guest });
        let client = self.client();
        let answers = async {
            loop {
                // A refusal of the store to open is an answer as well.
                if self.console().contains("the coordinator has ended") {
                    return Err(format!("the coordinator does not start:\n{}", self.console()));
                }
                if tokio::time::timeout(Duration::from_secs(5), client.health())
                    .await
                    .is_ok_and(|health| health.is_ok())
                {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let silent = |_| format!("the coordinator does not answer:\n{}", self.console());
        tokio::time::timeout(BOOT, answers).await.map_err(silent)?
    }

    /// Cuts its power, and with it that of its disk.
    pub(crate) fn cut(&mut self) {
        self.powered.take().expect("it is on");
    }

    /// What the guest has written to its serial console since it was switched on.
    pub(crate) fn console(&self) -> String {
        let bytes = fs::read(self.folder.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }
}

/// What the image lacks: the coordinator with its libraries, and how to start it.
fn overlay(scratch: &Path) -> Vec<u8> {
    let coordinator = scratch.join("coordinator");
    run(Command::new("strip").arg(program("slipstream-coordinator")).arg("-o").arg(&coordinator));
    let listed = Command::new("ldd").arg(&coordinator).output().expect("ldd comes with the C library");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    let mut files = vec![
        ("usr/bin/slipstream-coordinator".to_owned(), fs::read(&coordinator).expect("stripped")),
        ("etc/agent".to_owned(), START.as_bytes().to_vec()),
    ];
    files.extend(libraries.map(|path| (path[1..].to_owned(), fs::read(path).expect("ldd has found it"))));
    let mut folders: Vec<String> = vec!["data".to_owned()];
    for (path, _) in &files {
        let above = Path::new(path).ancestors().skip(1).map(|folder| folder.display().to_string());
        folders.extend(above.filter(|folder| !folder.is_empty()));
    }
    folders.sort();
    folders.dedup();
    let folders = folders.iter().map(|path| Entry { path, mode: 0o040_755, content: b"" });
    let files = files.iter().map(|(path, content)| Entry { path, mode: 0o100_755, content });
    archive(&folders.chain(files).collect::<Vec<_>>())
}

fn run(command: &mut Command) {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command.env("PATH", format!("{path}:/usr/sbin:/sbin")).output().expect("is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
