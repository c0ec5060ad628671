//! What a machine does with the context it is given, or not given.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use slipstream_shared::{
    context::{Context, VERSION},
    event::Event,
    id::RunId,
    state::{Outcome, RunState},
};
use slipstream_tests::{Coordinator, Options, Source, Vm, eventually, next_record, program, repository, test_images};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::Mutex,
};

use crate::processes::{EXAMPLE, LIMIT, SYSTEM, put_single};

/// One machine at a time: without KVM, each of them takes a whole core.
static ONE: Mutex<()> = Mutex::const_new(());

/// The context of a run that no coordinator knows.
pub(crate) fn context(url: &str) -> Context {
    let now = jiff::Timestamp::now();
    Context {
        version: VERSION,
        run: RunId::new(1, [7; 10]),
        instance: "web.1".parse().expect("valid"),
        attempt: 1,
        urls: vec![url.to_owned()],
        server_name: "coordinator.slipstream.internal".to_owned(),
        pin: "p".repeat(43),
        token: "t".to_owned(),
        issued: now,
        expires: now + jiff::SignedDuration::from_hours(1),
        interfaces: std::collections::BTreeMap::new(),
    }
}

fn images() -> Option<PathBuf> {
    let images = test_images("busybox");
    if images.is_none() {
        eprintln!("skipped: no busybox image (run `make test`, which makes it and sets SLIPSTREAM_TEST_IMAGES)");
    }
    images
}

/// An agent as a plain process, with a folder of its own. It ends with the test.
pub(crate) struct Agent {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) child: Child,
}

impl Agent {
    /// Starts one; `before` is what runs it, with the folder as its last argument.
    pub(crate) fn start(before: &[&str], options: &[&std::ffi::OsStr]) -> Agent {
        let folder = tempfile::Builder::new().prefix("ss-agent-").tempdir().expect("a temporary folder");
        let (state, run) = (folder.path().join("state"), folder.path().join("run"));
        fs::create_dir(&state).expect("made");
        let mut command = match before {
            [] => Command::new(program("slipstream-agent")),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&state).arg(program("slipstream-agent"));
                command
            }
        };
        command.arg("boot").args(options).arg("--state-dir").arg(&state).arg("--run-dir").arg(&run);
        let log = File::create(folder.path().join("log")).expect("made");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        Agent { folder, child }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The lines of its log that contain a text, once there is one.
    pub(crate) async fn says(&self, text: &str) -> Vec<String> {
        eventually(&format!("`{text}` in the log of the agent"), || async { found(&self.log(), text) }).await
    }

    /// One of its commands.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(program("slipstream-agent"));
        command.env("SLIPSTREAM_SOCKET", self.folder.path().join("run/agent.sock"));
        command
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
    }
}

fn found(log: &str, text: &str) -> Option<Vec<String>> {
    let lines: Vec<String> = log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect();
    (!lines.is_empty()).then_some(lines)
}

/// The causes that were told, in order: no two that follow each other are the same.
fn assert_calm(log: &str) {
    let cause = |line: &str| {
        let (_, rest) = line.split_once("slipstream-agent: cannot ")?;
        let (_, cause) = rest.split_once("): ")?;
        Some(cause.split("; next in").next().unwrap_or_default().to_owned())
    };
    let causes: Vec<String> = log.lines().filter_map(cause).collect();
    for pair in causes.windows(2) {
        assert_ne!(pair[0], pair[1], "told again though nothing changed:\n{log}");
    }
}

#[tokio::test]
async fn a_machine_that_cannot_reach_its_coordinator_says_why_once_and_keeps_trying() {
    let Some(images) = images() else { return };
    let _one = ONE.lock().await;
    // Taken, but nobody listens yet.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let port = socket.local_addr().expect("bound").port();
    let user_data = context(&format!("https://10.0.2.2:{port}")).to_user_data().expect("small");
    let vm = Vm::boot(&images, "busybox", &Source::FwCfg(user_data));
    vm.says("context of web.1 in run 00000000-0001-7707-8707-070707070707 found: fw_cfg").await;
    let refused = vm.says(&format!("cannot connect to 10.0.2.2:{port}: Connection refused")).await;
    assert!(refused[0].contains("cannot enrol (try "), "{refused:?}");

    // It keeps trying: as soon as somebody listens, he is called, again and again.
    let listener: TcpListener = socket.listen(16).expect("it listens");
    for _ in 0..2 {
        drop(listener.accept().await.expect("the machine calls"));
    }
    vm.says(&format!("10.0.2.2:{port} hung up before it showed a certificate")).await;
    for _ in 0..2 {
        drop(listener.accept().await.expect("the machine calls again"));
    }
    let console = vm.console();
    assert_calm(&console);
    for once in ["Connection refused", "hung up"] {
        assert_eq!(found(&console, once).map(|lines| lines.len()), Some(1), "{console}");
    }
    vm.power_off().await;
}

#[tokio::test]
async fn a_context_that_is_cut_off_is_one_clear_line_and_the_machine_boots_on() {
    let Some(images) = images() else { return };
    let _one = ONE.lock().await;
    let json = serde_json::to_string(&context("https://10.0.2.2:1")).expect("serializes");
    let vm = Vm::boot(&images, "busybox", &Source::File(json[..json.len() / 2].to_owned()));
    let lines = vm.says("slipstream-agent:").await;
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let line = "slipstream-agent: file: the contextualization data is damaged or cut off: the JSON ends too early";
    assert!(lines[0].contains(line), "{lines:#?}");
    vm.power_off().await;
}

#[tokio::test]
async fn a_context_of_an_unknown_version_is_one_clear_line_and_the_machine_boots_on() {
    let Some(images) = images() else { return };
    let _one = ONE.lock().await;
    let newer = Context { version: 9, ..context("https://10.0.2.2:1") };
    let vm = Vm::boot(&images, "busybox", &Source::Disk(newer.to_user_data().expect("small")));
    let lines = vm.says("slipstream-agent:").await;
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let line = "slipstream-agent: disk: the contextualization data has version 9, this agent reads up to 1: \
                update the agent in the image";
    assert!(lines[0].contains(line), "{lines:#?}");
    vm.power_off().await;
}

#[test]
fn a_machine_without_a_context_is_told_so_in_journal_and_on_console_and_left_alone() {
    let root = tempfile::tempdir().expect("a folder");
    fs::create_dir(root.path().join("dev")).expect("made");
    let console = root.path().join("dev/console");
    fs::write(&console, "").expect("made");
    let run = |journal: Option<&str>| {
        let mut command = Command::new(program("slipstream-agent"));
        command.args(["boot", "--root"]).arg(root.path());
        command.arg("--state-dir").arg(root.path().join("state"));
        command.arg("--run-dir").arg(root.path().join("run"));
        command.env_remove("JOURNAL_STREAM").envs(journal.map(|stream| ("JOURNAL_STREAM", stream)));
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let line = "slipstream-agent: no contextualization data: this machine belongs to no run, nothing to do\n";
    assert_eq!(run(None), line);
    assert_eq!(fs::read_to_string(&console).expect("there"), line);
    assert_eq!(run(Some("8:1")), line, "the journal shows it on the console");
    assert_eq!(fs::read_to_string(&console).expect("there"), line);
}

#[tokio::test]
async fn a_token_that_was_used_is_refused_to_another_key_and_an_event_says_so() {
    let coordinator = Coordinator::start(Options::default()).await;
    put_single(&coordinator, "waits", "ss-get --timeout 0 answer").await;
    let run = coordinator.launch("tests/waits").await;
    let mut events = coordinator.client().events(&run, 0);
    while !matches!(next_record(&mut events).await.event, Event::Enrolled { .. }) {}

    // Somebody has read the user data of the machine.
    let stolen = coordinator.machines()[0].join("user-data");
    let thief = Agent::start(&[], &["--context".as_ref(), stolen.as_os_str()]);
    let line =
        "the coordinator refuses to enrol this machine (other_key): this machine has enrolled with another key already";
    assert_eq!(thief.says("refuses to enrol").await.len(), 1);
    assert!(thief.log().contains(line), "{}", thief.log());
    loop {
        if let Event::EnrolmentRefused { instance, reason, .. } = next_record(&mut events).await.event {
            assert_eq!(instance.to_string(), "machine.1");
            assert_eq!(reason, "its token was used before, with another key");
            break;
        }
    }
    let status = thief.command().args(["status", "--wait"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&status.stdout).contains("another key"), "{status:?}");

    // The machine itself does not notice.
    let client = coordinator.client();
    client.set_parameter(&run, &"machine.1:answer".parse().expect("valid"), "go").await.expect("set");
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    assert_eq!(detail.summary.outcome, Outcome::Succeeded, "{detail:#?}");
}

#[tokio::test]
async fn a_coordinator_that_goes_and_comes_back_is_one_line_per_change() {
    let mut coordinator = Coordinator::start(Options::default()).await;
    coordinator.put_example(&repository().join(EXAMPLE)).await;
    let run = coordinator.launch(SYSTEM).await;
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let logs: Vec<PathBuf> = coordinator.machines().into_iter().map(|machine| machine.join("agent.log")).collect();
    let read = |log: &PathBuf| fs::read_to_string(log).expect("the agent's log");
    let all_say = async |text: &str, times: usize| {
        let said = |log: &PathBuf| found(&read(log), text).is_some_and(|lines| lines.len() >= times);
        eventually(&format!("`{text}` {times} times"), || async { logs.iter().all(said).then_some(()) }).await;
    };
    let coordinator_log = coordinator.log().len();
    coordinator.kill();
    all_say("Connection refused", 1).await;
    coordinator.restart().await;
    all_say("connected to", 2).await;
    for log in &logs {
        let log = read(log);
        assert_calm(&log);
        let since: Vec<&str> = log.lines().skip_while(|line| !line.contains("cannot keep the link")).collect();
        // Broken, refused, perhaps something else while it starts, connected.
        assert!((3..=4).contains(&since.len()), "{log}");
    }
    let log = coordinator.log()[coordinator_log..].to_owned();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}
