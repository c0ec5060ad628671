use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{
    cloud::{
        conformance::{self, Subject, Sweep, request, running},
        local::socket_path,
        open,
    },
    seam::Seam,
};

/// Shows what it was given, starts a daemon of its own, and stays.
const SCRIPT: &str = r#"#!/bin/sh
[ "$*" = "boot --context $HOME/user-data --state-dir $HOME/state --run-dir $7" ] || { echo "odd arguments: $*"; exit 3; }
[ -d "$7" ] || { echo "no run dir $7"; exit 3; }
cp "$3" "$HOME/received.new" && mv "$HOME/received.new" "$HOME/received"
setsid -f sleep 1000
env | cut -d= -f1 | sort | tr '\n' ' ' > "$HOME/environment"
echo agent runs
sleep 1000
"#;

/// A cloud in a folder of its own. What it leaves elsewhere goes when it is dropped.
struct Cloud {
    folder: tempfile::TempDir,
    data: PathBuf,
    sweep: Sweep,
}

impl Cloud {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let agent = folder.path().join("agent");
        fs::write(&agent, script).expect("written");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("executable");
        let data = folder.path().join("data");
        Cloud { sweep: Sweep(format!("test-{}", folder.path().display())), data, folder }
    }

    fn env(&self) -> CloudEnv {
        CloudEnv { data: self.data.clone(), seam: Seam::real(), coordinator_id: self.sweep.0.clone() }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        for machine in Folders::new(&self.data).all().unwrap_or_default() {
            drop(fs::remove_dir_all(socket_path(&machine.dir.join(SOCKETS))));
        }
    }
}

#[async_trait]
impl Subject for Cloud {
    fn open(&self) -> Arc<dyn Connector> {
        let agent = self.folder.path().join("agent").display().to_string();
        let table = toml::Table::from_iter([("agent".to_owned(), agent.into())]);
        open("local", "process", &table, &self.env()).expect("opens")
    }

    fn image(&self) -> &'static str {
        HOST
    }

    async fn received(&self, run: RunId, machine: &str) -> Option<Vec<u8>> {
        fs::read(self.data.join(run.short()).join(machine).join("received")).ok()
    }

    async fn interrupt(&self, request: &LaunchRequest) -> bool {
        claim(request, &Folders::new(&self.data), &Mutex::default()).expect("claimed");
        true
    }

    async fn assert_clean(&self, run: RunId) {
        assert_eq!(self.sweep.marked(), [], "no process is left");
        assert!(!self.data.join(run.short()).exists(), "no folder is left");
    }
}

fn run() -> RunId {
    RunId::new(1, [77; 10])
}

#[tokio::test]
async fn processes_keep_all_promises() {
    conformance::check(&Cloud::new(SCRIPT), 100).await;
}

#[tokio::test]
async fn paths_too_long_for_sockets_are_no_obstacle() {
    let mut cloud = Cloud::new(SCRIPT);
    cloud.data = cloud.folder.path().join("d".repeat(80));
    let request = request(&cloud, run(), "web.1", 1);
    let machine = cloud.open().launch(&request).await.expect("launched");
    running(&cloud, run(), &machine).await;
    let short = socket_path(&cloud.data.join(run().short()).join(&machine).join(SOCKETS));
    assert!(short.starts_with("/tmp") && short.is_dir());
    cloud.open().terminate(run(), &machine).await.expect("terminated");
    assert!(!short.exists());
}

#[tokio::test]
async fn an_agent_sees_no_environment_of_ours() {
    let cloud = Cloud::new(SCRIPT);
    let machine = cloud.open().launch(&request(&cloud, run(), "web.1", 1)).await.expect("launched");
    let file = cloud.data.join(run().short()).join(machine).join("environment");
    while fs::read_to_string(&file).unwrap_or_default().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let names = fs::read_to_string(&file).expect("read");
    let known = ["HOME", "LANG", "PATH", "PWD", "SLIPSTREAM_BOOT", "SLIPSTREAM_MACHINE", "_", "SHLVL", "OLDPWD"];
    assert!(names.split_whitespace().all(|name| known.contains(&name)), "{names}");
}

#[tokio::test]
async fn an_agent_that_ends_is_a_failed_machine_with_its_last_words() {
    let cloud = Cloud::new("#!/bin/sh\necho cannot read the context >&2\nexit 3\n");
    let machine = cloud.open().launch(&request(&cloud, run(), "web.1", 1)).await.expect("launched");
    let state = loop {
        match cloud.open().find(run()).await.expect("found").remove(0).state {
            MachineState::Running => tokio::time::sleep(Duration::from_millis(10)).await,
            state => break state,
        }
    };
    let why = "the agent has ended; its last lines: cannot read the context";
    assert_eq!(state, MachineState::Failed(why.to_owned()));
    let console = cloud.open().console(run(), &machine).await.expect("read");
    assert_eq!(console.as_deref(), Some("cannot read the context\n"));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let cloud = Cloud::new(SCRIPT);
    let error = cloud.open().validate(Some("debian-12")).await.expect_err("no such image");
    assert_eq!(
        error.to_string(),
        "there is no image `debian-12`: machines of this cloud are processes of this host (the only image is `host`)"
    );
    fs::remove_file(cloud.folder.path().join("agent")).expect("removed");
    let error = cloud.open().launch(&request(&cloud, run(), "web.1", 1)).await.expect_err("no agent");
    assert!(error.to_string().ends_with("is not there or cannot be run (correct the setting `agent`)"), "{error}");
    assert_eq!(cloud.open().find(run()).await, Ok(Vec::new()), "and no machine was made");
}

#[tokio::test]
async fn an_agent_that_cannot_start_leaves_no_machine() {
    let cloud = Cloud::new("#!/no/such/interpreter\n");
    cloud.open().launch(&request(&cloud, run(), "web.1", 1)).await.expect_err("cannot start");
    assert_eq!(cloud.open().find(run()).await, Ok(Vec::new()));
}

#[test]
fn nobody_is_let_in_where_the_machine_is_somebodys() {
    assert!(!Cloud::new(SCRIPT).open().launches_machines());
}

#[test]
fn addresses_are_of_their_own_and_come_again() {
    let mut used = HashMap::new();
    for n in 0..5_000 {
        let address = address(&format!("machine {n}"), &used);
        assert_eq!(used.insert(address, PathBuf::from("/")), None);
        assert!(address.is_loopback() && address.octets()[1] != 0, "{address}");
    }
    assert_eq!(address("web", &HashMap::new()), address("web", &HashMap::new()));
}
