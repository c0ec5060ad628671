//! What the flow tests share: a coordinator that keeps everything in memory, and the real agent in a
//! folder of its own.

pub(crate) mod coordinator;

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use coordinator::Coordinator;
use slipstream_shared::{
    link::{AgentPlan, AgentStep},
    plan::Script,
};

/// Nothing a test waits for takes longer, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Waits for a condition that nobody signals.
pub(crate) fn poll<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(began.elapsed() < LIMIT, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The agent under test: the one just built, or another build of it.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("SLIPSTREAM_AGENT_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_slipstream-agent").into(), PathBuf::from)
}

/// A step that runs a script and needs nothing.
pub(crate) fn step(name: &str, script: &str) -> AgentStep {
    AgentStep {
        step: name.to_owned(),
        origin: "apps/test".to_owned(),
        script: Script::Text(script.to_owned()),
        within: None,
        each_boot: false,
        gated: false,
        env: Default::default(),
    }
}

/// A plan of deployment steps alone.
pub(crate) fn plan(steps: Vec<AgentStep>) -> AgentPlan {
    AgentPlan { deploy: u32::try_from(steps.len()).unwrap(), steps, ..AgentPlan::default() }
}

/// The real binary in a folder of its own.
pub(crate) struct Machine {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) daemon: Option<Child>,
}

impl Machine {
    /// A machine that is told of a coordinator, not started yet.
    pub(crate) fn new(coordinator: &Coordinator) -> Self {
        let machine = Machine { dir: tempfile::tempdir().unwrap(), daemon: None };
        fs::write(machine.path("context"), coordinator.context().to_user_data().unwrap()).unwrap();
        machine
    }

    pub(crate) fn started(coordinator: &Coordinator) -> Self {
        let mut machine = Machine::new(coordinator);
        machine.start();
        machine
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn start(&mut self) {
        self.boot("one");
    }

    /// Starts the daemon in a boot of that name.
    pub(crate) fn boot(&mut self, boot: &str) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("journal")).unwrap();
        let daemon = Command::new(binary())
            .arg("boot")
            .args(["--context".into(), self.path("context")])
            .args(["--state-dir".into(), self.path("state")])
            .args(["--run-dir".into(), self.path("run")])
            .env("SLIPSTREAM_MACHINE", "m-1")
            .env("SLIPSTREAM_BOOT", boot)
            .env("SECRET_OF_THE_DAEMON", "x")
            .stderr(log)
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
    }

    /// Ends the daemon as a crash would.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    pub(crate) fn journal(&self) -> String {
        fs::read_to_string(self.path("journal")).unwrap()
    }

    /// The folder of the instance.
    pub(crate) fn state(&self, coordinator: &Coordinator, name: &str) -> PathBuf {
        self.path("state").join(coordinator.context().run.to_string()).join("web.1").join(name)
    }

    /// A command as a script would call it.
    pub(crate) fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("run/bin").join(name));
        command.args(arguments).env("SLIPSTREAM_SOCKET", self.path("run/agent.sock")).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(name, arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- journal of the agent\n{}", self.journal());
        }
    }
}
