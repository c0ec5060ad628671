//! Real virtual machines, where QEMU and the images of `SLIPSTREAM_TEST_IMAGES` are there.

use std::fs;

use super::*;
use crate::{
    cloud::{
        conformance::{self, Subject, Sweep, request, running},
        local::socket_path,
        open,
    },
    seam::Seam,
};

/// Instead of an image's own init: shows the user data, reaches the other of two machines, powers off.
const SCRIPT: &str = "mount -t devtmpfs d /dev; mount -t proc p /proc; mount -t sysfs s /sys; \
    while read m; do insmod /modules/$m; done </modules/order 2>/dev/null; \
    grep -a '^# slipstream-context' /dev/vda; \
    for c in /sys/class/net/eth*; do case $(cat $c/address) in 52:54:78:*) d=${c##*/};; esac; done; \
    m=$(cat /sys/class/net/$d/address); n=$((0x${m##*:})); \
    ip address add 10.78.0.$n/16 dev $d; ip link set $d up; \
    until ping -c 1 -W 1 10.78.0.$((3-n)) >/dev/null; do :; done; \
    echo REACHED 10.78.0.$((3-n)); sleep 2; poweroff -f";

/// A cloud in a folder of its own. What it leaves elsewhere goes when it is dropped.
struct Cloud {
    sweep: Sweep,
    folder: tempfile::TempDir,
    images: PathBuf,
}

impl Cloud {
    /// None, and a word about it, where the test cannot run.
    fn new() -> Option<Self> {
        let Some(images) = std::env::var_os("SLIPSTREAM_TEST_IMAGES").map(PathBuf::from) else {
            eprintln!("skipped: SLIPSTREAM_TEST_IMAGES does not name a folder with the image `busybox`");
            return None;
        };
        if find_program(Path::new("qemu-system-x86_64")).is_none() || find_program(Path::new("vde_switch")).is_none() {
            eprintln!("skipped: qemu-system-x86_64 or vde_switch is not installed");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        Some(Cloud { sweep: Sweep(format!("test-{}", folder.path().display())), folder, images })
    }

    /// Uses its own image from now on, with these kernel arguments; gives its folder.
    fn copy_image(&mut self, append: &str, disk: Option<&str>) -> PathBuf {
        let (real, mine) = (self.images.join("busybox"), self.folder.path().join("images"));
        let image = mine.join("busybox");
        fs::create_dir_all(&image).expect("made");
        for file in ["vmlinuz", "initrd"] {
            std::os::unix::fs::symlink(real.join(file), image.join(file)).expect("linked");
        }
        let manifest = serde_json::json!({
            "format": 1, "name": "busybox", "kernel": "vmlinuz", "initrd": "initrd", "disk": disk, "append": append,
            "platform": "busybox", "login": "root", "min_ram_mib": 96, "input_digest": "test",
        });
        fs::write(image.join("manifest.json"), manifest.to_string()).expect("written");
        self.images = mine;
        image
    }

    fn data(&self) -> PathBuf {
        // A comma separates options of QEMU.
        self.folder.path().join("data, of a test")
    }

    fn machine(&self, machine: &str) -> PathBuf {
        self.data().join(run().short()).join(machine)
    }

    fn with(&self, settings: &str) -> Result<Arc<dyn Connector>, CloudError> {
        let mut table: toml::Table = settings.parse().expect("TOML");
        table.insert("images".to_owned(), self.images.display().to_string().into());
        let env = CloudEnv { data: self.data(), seam: Seam::real(), coordinator_id: self.sweep.0.clone() };
        open("local", "qemu", &table, &env)
    }
}

#[async_trait]
impl Subject for Cloud {
    fn open(&self) -> Arc<dyn Connector> {
        self.with("accel = 'tcg'").expect("opens")
    }

    fn image(&self) -> &'static str {
        "busybox"
    }

    async fn received(&self, run: RunId, machine: &str) -> Option<Vec<u8>> {
        let seed = fs::read(self.data().join(run.short()).join(machine).join(SEED)).ok()?;
        Some(seed::read(seed, "user-data"))
    }

    async fn interrupt(&self, request: &LaunchRequest) -> bool {
        let image = Image::find(&self.images, &request.image).expect("there");
        let context = &request.user_data.0;
        claim(&Folders::new(&self.data()), request, &image, context, THIS_HOST).expect("claimed");
        true
    }

    async fn assert_clean(&self, run: RunId) {
        assert_eq!(self.sweep.marked(), [], "no process is left");
        assert!(!self.data().join(run.short()).exists(), "no folder is left");
    }

    async fn booted(&self, run: RunId, machine: &str) {
        let console = self.data().join(run.short()).join(machine).join(CONSOLE);
        // Its kernel is done when its agent speaks.
        while !fs::read(&console).is_ok_and(|said| String::from_utf8_lossy(&said).contains("slipstream-agent")) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        for machine in Folders::new(&self.data()).all().unwrap_or_default() {
            drop(fs::remove_dir_all(socket_path(&machine.dir.with_file_name(".switch"))));
        }
    }
}

fn run() -> RunId {
    RunId::new(1, [78; 10])
}

#[tokio::test]
async fn virtual_machines_keep_all_promises() {
    let Some(cloud) = Cloud::new() else { return };
    conformance::check(&cloud, 200).await;
}

#[tokio::test]
async fn guests_get_their_user_data_and_reach_each_other() {
    let Some(mut cloud) = Cloud::new() else { return };
    cloud.copy_image(&format!("console=ttyS0 quiet panic=-1 rdinit=/bin/busybox -- sh -c \"{SCRIPT}\""), None);
    let connector = cloud.open();
    let mut machines = Vec::new();
    for n in 1..=2 {
        let request = request(&cloud, run(), &format!("web.{n}"), n);
        machines.push(connector.launch(&request).await.expect("launched"));
    }
    for (machine, other) in machines.iter().zip(["10.78.0.2", "10.78.0.1"]) {
        let limit = tokio::time::Instant::now() + cloud.patience();
        loop {
            let found = connector.find(run()).await.expect("found");
            let seen = found.into_iter().find(|seen| seen.machine == *machine).expect("there");
            if seen.state == MachineState::Stopped {
                break;
            }
            let console = || fs::read_to_string(cloud.machine(machine).join(CONSOLE));
            assert!(tokio::time::Instant::now() < limit, "{seen:?} {:?}", console());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let console = connector.console(run(), machine).await.expect("read").expect("written");
        let user_data = seed::read(fs::read(cloud.machine(machine).join(SEED)).expect("read"), "user-data");
        let line = String::from_utf8(user_data).expect("text").lines().nth(2).expect("a line").to_owned();
        assert!(line.starts_with("# slipstream-context: ") && console.contains(&line), "{console}");
        assert!(console.contains(&format!("REACHED {other}")), "{console}");
        connector.terminate(run(), machine).await.expect("terminated");
    }
    connector.release(run()).await.expect("released");
    cloud.assert_clean(run()).await;
}

#[tokio::test]
async fn a_killed_machine_has_failed_and_its_switch_goes_with_the_last_one() {
    let Some(cloud) = Cloud::new() else { return };
    let machine = cloud.open().launch(&request(&cloud, run(), "web.1", 1)).await.expect("launched");
    let seen = running(&cloud, run(), &machine).await;
    assert_eq!((seen.private.as_deref(), seen.public), (Some("10.78.0.1"), None));
    let ssh = seen.ssh.expect("forwarded");
    std::net::TcpStream::connect(&ssh).expect("QEMU listens");
    let names =
        |sweep: &Sweep| sweep.marked().into_iter().map(|(_, name)| name).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(names(&cloud.sweep), ["qemu-system-x86".to_owned(), "vde_switch".to_owned()].into());
    let qemu = cloud.sweep.marked().into_iter().find(|(_, name)| name.starts_with("qemu")).expect("runs").0;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(qemu), nix::sys::signal::Signal::SIGKILL).expect("killed");
    let state = loop {
        match cloud.open().find(run()).await.expect("found").remove(0).state {
            MachineState::Running => tokio::time::sleep(Duration::from_millis(10)).await,
            state => break state,
        }
    };
    assert!(matches!(&state, MachineState::Failed(why) if why.starts_with("its QEMU was killed; ")), "{state:?}");
    cloud.open().terminate(run(), &machine).await.expect("terminated");
    assert_eq!(cloud.sweep.marked(), [], "the switch is gone too");
}

#[tokio::test]
async fn a_port_taken_meanwhile_is_replaced() {
    let Some(cloud) = Cloud::new() else { return };
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let image = Image::find(&cloud.images, "busybox").expect("there");
    let request = request(&cloud, run(), "web.1", 1);
    let context = &request.user_data.0;
    let mut machine = claim(&Folders::new(&cloud.data()), &request, &image, context, THIS_HOST).expect("claimed");
    machine.record.ssh_port = Some(taken.local_addr().expect("bound").port());
    let env = CloudEnv { data: cloud.data(), seam: Seam::real(), coordinator_id: cloud.sweep.0.clone() };
    let host = Host::new(&env);
    let switches = Switches::new("vde_switch".into());
    let start = Start {
        qemu: Path::new("qemu-system-x86_64"),
        accel: "tcg",
        image,
        memory: 192,
        cpus: 1,
        disk: None,
        mac: mac(1),
        network: switches.start(&host, run()).await.expect("a switch"),
        marker: host.marker(run(), &machine.name),
        machine,
    };
    start.run().await.expect("started");
    let found = host.find(run()).await.expect("found").remove(0).0;
    assert_ne!(found.record.ssh_port, Some(taken.local_addr().expect("bound").port()));
}

#[tokio::test]
async fn a_machine_changes_a_disk_of_its_own_that_may_be_larger() {
    let Some(mut cloud) = Cloud::new() else { return };
    let base = cloud.copy_image("console=ttyS0", Some("disk.raw"));
    fs::write(base.join("disk.raw"), vec![0; 1024 * 1024]).expect("written");
    for (n, asked) in [(1, None), (2, Some(1024)), (3, Some(64 * 1024 * 1024))] {
        let mut request = request(&cloud, run(), &format!("web.{n}"), n);
        request.size.disk = asked;
        let machine = cloud.open().launch(&request).await.expect("launched");
        running(&cloud, run(), &machine).await;
        let disk = image::disk(&cloud.machine(&machine).join(DISK)).expect("made");
        assert_eq!(disk, ("qcow2", asked.unwrap_or_default().max(1024 * 1024)));
        cloud.open().terminate(run(), &machine).await.expect("terminated");
    }
}

#[tokio::test]
async fn kvm_is_found_out_once() {
    let Some(cloud) = Cloud::new() else { return };
    let image = Image::find(&cloud.images, "busybox").expect("there");
    fs::create_dir_all(cloud.data()).expect("made");
    let choose = async || {
        let accel = Accel::new("auto", "local", &cloud.data()).expect("valid");
        accel.choose(Path::new("qemu-system-x86_64"), &image).await.expect("chosen")
    };
    let first = choose().await;
    let asked = fs::metadata(cloud.data().join("accel.json")).and_then(|file| file.modified()).expect("written");
    eprintln!("{}", fs::read_to_string(cloud.data().join("accel.json")).expect("written"));
    assert_eq!(choose().await, first);
    let again = fs::metadata(cloud.data().join("accel.json")).and_then(|file| file.modified()).expect("written");
    assert_eq!(asked, again, "the second time it was known");
}

#[tokio::test]
async fn what_is_missing_is_named_with_its_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let sweep = Sweep("test".to_owned());
    let cloud = Cloud { images: folder.path().join("images"), folder, sweep };
    let refusal = |settings: &str| cloud.with(settings).err().map(|e| e.to_string()).expect("refused");
    assert_eq!(refusal("accel = 'xen'"), "`accel` of cloud `local` is `xen` (it is auto, kvm or tcg)");
    for (network, why) in [
        ("10.0.0.0/8", "it overlaps with 10.0.2.0/24, the way to this host"),
        ("10.78.0.1/16", "its address has bits beyond the prefix"),
        ("10.78.0.0", "it has no prefix length"),
        ("fd00::/64", "it is not an IPv4 network"),
        ("10.0.0.0/4", "its prefix length is not 8 to 29"),
    ] {
        let refused = refusal(&format!("private_net = '{network}'"));
        assert!(refused.contains(why), "{refused}");
    }
    let missing = |settings: &str| {
        let connector = cloud.with(settings).expect("opens");
        async move { connector.validate(Some("debian-12")).await.map_err(|e| e.to_string()) }
    };
    let error = missing("qemu = '/none/qemu'").await.expect_err("missing");
    assert_eq!(
        error,
        "/none/qemu is not installed (correct the setting that names it, or apt install qemu-system-x86)"
    );
    let error = missing("qemu = 'sh'\nvde_switch = 'none'").await.expect_err("missing");
    assert_eq!(error, "none is not installed (apt install vde2)");
    if let Err(error) = missing("qemu = 'sh'\nvde_switch = 'sh'").await
        && !error.contains("qemu-utils")
    {
        let images = cloud.images.display();
        assert_eq!(
            error,
            format!(
                "there is no image `debian-12` in {images} (`make image` makes the reference images; \
                 the setting `images` says where they are)"
            )
        );
    }
}

#[test]
fn every_machine_of_a_run_has_its_address() {
    let network: Network = "10.78.0.0/16".parse().expect("valid");
    assert_eq!(network.address(1), Ok(Ipv4Addr::new(10, 78, 0, 1)));
    assert_eq!(network.address(65_534), Ok(Ipv4Addr::new(10, 78, 255, 254)));
    assert_eq!(
        network.address(65_535).expect_err("full").to_string(),
        "the run needs address 65535 of a private network of 65534 (set a larger `private_net`)"
    );
    assert_eq!(mac(300), "52:54:78:00:01:2c");
}
