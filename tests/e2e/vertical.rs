//! Sizes and disks of machines, on a small virtual machine for real.

use std::time::Duration;

use slipstream_shared::state::{Milestone, RunState};
use slipstream_tests::{Coordinator, Options, cli, repository, test_images};

use crate::processes::{key, put_single};

const LIMIT: Duration = Duration::from_secs(240);

/// Says after each change what its machine has, and what it was told.
const BOX: &str = r#"slipstream: 1
kind: component
name: tests/box
image: examples/service-testing-busybox/image
size: { cpu: 1, ram: 128MiB }
disks: [ { size: 16MiB, mount: /data, fs: ext2 } ]
publish: { seen: {}, told: {} }
deploy: |
  grep -q ' /data ext2 ' /proc/mounts
  echo kept >/data/file
pre_scale: test "$(cat /data/file)" = kept
post_scale: |
  more=none
  if grep -q "^$(readlink /dev/disk/by-id/virtio-disk2) /more ext2 " /proc/mounts; then more=mounted; fi
  ss-set seen "$(nproc) cpus, $(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024 / 64 * 64)) MiB, $(cat /data/file), more $more"
  ss-set told "$SLIPSTREAM_SCALING_ACTION $SLIPSTREAM_SCALING_NODE $SLIPSTREAM_SCALING_VMS ${SLIPSTREAM_SCALING_DISK:-}"
ready: { exec: "test -s /data/file" }
"#;

#[tokio::test]
async fn a_machine_is_resized_and_gets_and_loses_a_disk_and_keeps_what_is_on_the_other() {
    let Some(images) = test_images("busybox") else {
        eprintln!("skipped: no busybox image (run `make test`, which makes it and sets SLIPSTREAM_TEST_IMAGES)");
        return;
    };
    let coordinator = Coordinator::start(Options { images: Some(images), ..Options::default() }).await;
    let client = coordinator.client();
    let image = repository().join("examples/service-testing-busybox/image.yaml");
    let image = std::fs::read_to_string(image).expect("readable");
    for module in [image.as_str(), BOX] {
        client.put_module(module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
    }
    let cloud = [("*".to_owned(), "local".to_owned())].into();
    let request = slipstream_shared::api::LaunchRequest { module: "tests/box".to_owned(), cloud, ..Default::default() };
    let run = client.launch(&request, "box").await.expect("accepted").summary.id.to_string();
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let say = |line: &str| {
        let line = line.replace("RUN", &run);
        let output = cli(&coordinator.profile()).args(line.split(' ')).output().expect("runs");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code(), text.concat())
    };
    let done = |line: &str| {
        let (code, text) = say(line);
        assert_eq!(code, Some(0), "{line}\n{text}\n{}", coordinator.log());
        text
    };
    let value = async |name: &str| {
        let key = key(&format!("machine.1:{name}"));
        client.parameter(&run, &key).await.expect("there").value.unwrap_or_default()
    };

    done("run resize RUN machine.1 --cpu 2 --ram 256MiB --wait");
    // The kernel keeps some of it to itself.
    assert_eq!(value("seen").await, "2 cpus, 192 MiB, kept, more none");
    assert_eq!(value("told").await, "vm_resize machine machine.1 ");
    let machine = client.run(&run).await.expect("shown").nodes.remove(0);
    assert_eq!((machine.milestone, machine.attempt, machine.size.cpu), (Milestone::Ready, 1, Some(2)));

    done("run disk add RUN machine.1 --size 8MiB --mount /more --fs ext2 --wait");
    assert_eq!(value("seen").await, "2 cpus, 192 MiB, kept, more mounted");
    assert_eq!(value("told").await, "disk_attach machine machine.1 disk2");
    let list = done("run disk list RUN");
    assert!(list.contains("disk1") && list.contains("16 MiB") && list.contains("/more"), "{list}");
    let disk = coordinator.machines().remove(0).join("disk2.raw");
    assert!(disk.exists());

    let (code, text) = say("run disk remove RUN machine.1 disk2");
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("disk2 (8 MiB, mounted on /more) of machine.1, with all that is on it, would be lost"),
        "{text}"
    );
    done("run disk remove RUN machine.1 disk2 --destroy-data --wait");
    assert_eq!(value("seen").await, "2 cpus, 192 MiB, kept, more none");
    assert!(!disk.exists(), "its file is gone");
    let (code, text) = say("run resize RUN machine --cpu 2");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("there is nothing to change: machine.1 has 2 cpu, 256 MiB ram"), "{text}");

    client.terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}

#[tokio::test]
async fn a_cloud_that_cannot_do_it_says_so_and_nothing_is_made() {
    let coordinator = Coordinator::start(Options::default()).await;
    put_single(&coordinator, "plain", "true").await;
    let client = coordinator.client();
    let with_disk = "slipstream: 1\nkind: component\nname: tests/disk\nimage: tests/image\ndisks: [{size: 1GiB}]\n";
    client.put_module(with_disk).await.expect("a good module");
    let launch = |module: &str| {
        let output = cli(&coordinator.profile()).args(["run", "launch", module]).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = launch("tests/disk");
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("`machine` has `disks`, which a cloud of kind `process` cannot give"), "{text}");
    assert_eq!(client.runs(None, 10).await.expect("listed").items.len(), 0);

    let run = coordinator.launch("tests/plain").await;
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let line = ["run", "resize", run.as_str(), "machine.1", "--cpu", "2"];
    let output = cli(&coordinator.profile()).args(line).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{text}");
    let why = "cloud `processes` (kind `process`) cannot change the size of the machine of machine.1";
    assert!(text.contains(why), "{text}");
    assert_eq!(client.operations(&run).await.expect("listed"), []);
    client.terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}
