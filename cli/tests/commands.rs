//! The program as people call it, against a coordinator that plays a recorded run.

#[allow(dead_code, reason = "not every test binary uses all of it")]
#[path = "../../shared/tests/support/server.rs"]
mod server;

use std::{
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use server::{Asked, End, Reply, Server};

const RUN: &str = "019abcde-0000-7000-8000-00001a2b3c4d";

/// A coordinator whose one run goes as recorded; its end begins when it is asked for.
struct Coordinator {
    server: Server,
    ended: Arc<AtomicBool>,
}

impl Coordinator {
    fn playing(events: &'static str) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let server = Server::start("h2", move |asked| answer(asked, events, &flag));
        Coordinator { server, ended }
    }

    fn command(&self) -> Command {
        let mut command = bare(Path::new(env!("CARGO_BIN_EXE_slipstream")));
        command.env("SLIPSTREAM_URL", &self.server.url).env("SLIPSTREAM_TOKEN", "the-token");
        command.env("SLIPSTREAM_CA", &self.server.authority);
        command
    }

    fn run(&self, line: &str) -> (i32, String, String) {
        split(&self.command().args(line.split(' ')).output().expect("it runs"))
    }
}

/// The program without anything of whoever runs the test.
fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

fn split(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn answer(asked: &Asked, events: &str, ended: &AtomicBool) -> Reply {
    let path = asked.path.trim_start_matches("/api/v1");
    match (asked.method.as_str(), path) {
        ("GET", "/health") => Reply::new(200, r#"{"status":"ok","version":"1","clouds":{"processes":"process"}}"#),
        ("PUT", "/modules") if asked.body.contains("broken") => Reply::new(
            422,
            r#"{"type":"about:blank","title":"","status":422,"code":"module_invalid","detail":"2 problems",
                "problems":[{"line":3,"column":7,"message":"nobody publishes `port`"}]}"#,
        ),
        ("PUT", "/modules") => Reply::new(200, module(&asked.body)),
        ("POST", "/runs") if asked.body.contains("too-many") => Reply::problem(403, "quota_exceeded", "10 machines"),
        ("POST", "/runs") => Reply::new(201, detail(events, false)),
        ("DELETE", "/runs/1a2b3c4d") => {
            ended.store(true, Ordering::Relaxed);
            Reply { status: 202, ..Reply::default() }
        }
        ("GET", "/runs/1a2b3c4d") => Reply::new(200, detail(events, ended.load(Ordering::Relaxed))),
        ("GET", path) if path.starts_with("/runs?") => {
            Reply::new(200, format!(r#"{{"items":[{}]}}"#, detail(events, ended.load(Ordering::Relaxed))))
        }
        ("GET", path) if path.contains("/events?after=") => {
            let after: usize = path.split('=').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
            let last = if ended.load(Ordering::Relaxed) { usize::MAX } else { ready(events) };
            let text: String = events.lines().take(last).skip(after).map(|e| format!("data: {e}\n\n")).collect();
            Reply::new(200, text)
        }
        ("GET", path) if path.ends_with("/logs/web.1") => {
            Reply::new(200, r#"[{"index":1,"step":"install","size":16,"ended":true}]"#)
        }
        ("GET", path) if path.contains("/logs/web.1/1") => Reply::new(200, "first\nand last\n"),
        ("GET", path) if path.contains("?wait=") => Reply::problem(408, "wait_timeout", "not yet"),
        ("PUT", path) if path.ends_with("/parameters/web.1:port") => {
            assert!(asked.body.contains(r#""if_revision":3"#), "{}", asked.body);
            Reply::problem(412, "revision_mismatch", "its revision is 4, not 3")
        }
        ("POST", path) if path.ends_with("/wait") && asked.body.contains("web[*]:port~^8") => {
            Reply::new(200, r#"{"seq":4,"parameters":[]}"#)
        }
        ("GET", path) if path.ends_with("/parameters/web.1:port/history") => Reply::new(
            200,
            r#"{"items":[{"revision":4,"value":"80","by":"web.1","at":"2026-11-20T12:00:00Z"},
                {"revision":3,"by":"user:ann","at":"2026-11-20T11:00:00Z"}]}"#,
        ),
        ("GET", path) if path.ends_with("/parameters/web.1:port") => {
            Reply::new(200, r#"{"key":"web.1:port","value":"80","revision":4}"#)
        }
        ("GET", path) if path.ends_with("/parameters/web.1:other") => {
            Reply::new(200, r#"{"key":"web.1:other","revision":0}"#)
        }
        _ => Reply::problem(404, "run_not_found", "there is no such run"),
    }
}

/// How many events there are up to Ready.
fn ready(events: &str) -> usize {
    events.lines().position(|e| e.contains(r#""state": "Ready""#)).map_or(0, |i| i + 1)
}

fn module(source: &str) -> String {
    let name = source.lines().find_map(|l| l.strip_prefix("name: ")).unwrap_or("?");
    format!(r#"{{"path":"{name}","version":1,"kind":"image","author":"alice","at":"2026-11-20T12:00:00Z"}}"#)
}

fn detail(events: &str, ended: bool) -> String {
    let state = if ended { "Done" } else { "Ready" };
    let seq = if ended { events.lines().count() } else { ready(events) };
    format!(
        r#"{{"id":"{RUN}","module":"apps/demo@1","title":"Demo","owner":"alice","state":"{state}","outcome":"succeeded",
            "ready":1,"instances":1,"created":"2026-11-20T12:00:00Z","changed":"2026-11-20T12:00:00Z","seq":{seq},
            "category":"application","keep_running":"always","outputs":{{"url":"http://127.0.0.1:8080/"}},
            "nodes":[{{"instance":"web.1","milestone":"ready","attempt":1,"cloud":"processes","display":"serving\u001b[2J"}}]}}"#
    )
}

const SUCCEEDS: &str = include_str!("golden/succeeds.events");
const FAILS: &str = include_str!("golden/fails.events");

#[test]
fn exit_codes_are_those_of_the_glossary() {
    let coordinator = Coordinator::playing(SUCCEEDS);
    for (line, code) in [
        ("run list", 0),
        ("run wait 1a2b3c4d", 0),
        ("run nonsense", 2),
        ("run show ffffffff", 3),
        ("param get 1a2b3c4d web.1:other", 3),
        ("param get 1a2b3c4d web.1:slow --wait 1s", 8),
        ("run launch too-many", 6),
        ("param set 1a2b3c4d web.1:port 81 --if-revision 3", 5),
        ("param wait 1a2b3c4d web[*]:port~^8", 0),
        ("param wait 1a2b3c4d web[]:port", 2),
        ("param history 1a2b3c4d web.1:port", 0),
        ("run wait 1a2b3c4d --for gone --timeout 1s", 8),
        ("ssh 1a2b3c4d web.2", 3),
        ("ssh 1a2b3c4d web.1", 3),
    ] {
        let (found, out, err) = coordinator.run(line);
        assert_eq!(found, code, "{line}\n{out}\n{err}");
    }
    assert_eq!(Coordinator::playing(FAILS).run("run wait 1a2b3c4d").0, 1);

    let mut nowhere = coordinator.command();
    nowhere.env("SLIPSTREAM_URL", "https://127.0.0.1:1").args(["run", "list"]);
    let (code, _, err) = split(&nowhere.output().expect("it runs"));
    assert_eq!(code, 9, "{err}");
    assert!(
        err.starts_with("error: cannot GET https://127.0.0.1:1/api/v1/runs: no connection to 127.0.0.1:1"),
        "{err}"
    );
    assert!(!err.contains("the-token"));
    let (code, _, err) =
        split(&bare(Path::new(env!("CARGO_BIN_EXE_slipstream"))).args(["run", "list"]).output().expect("runs"));
    assert_eq!(code, 2);
    assert!(err.contains("slipstream profile use"), "{err}");
}

#[test]
fn results_go_to_standard_output_and_the_rest_does_not() {
    let coordinator = Coordinator::playing(SUCCEEDS);
    let (_, out, err) = coordinator.run("run launch apps/demo");
    assert_eq!(out, "1a2b3c4d\n");
    assert!(err.contains("slipstream run wait 1a2b3c4d"), "{err}");

    let (code, out, err) = coordinator.run("run launch apps/demo --wait");
    assert_eq!((code, out.lines().next()), (0, Some("Ready after 4.2s")), "{out}\n{err}");
    assert!(out.contains("url           http://127.0.0.1:8080/"), "{out}");
    assert!(!out.contains('\x1b'), "what scripts say cannot steer the terminal");
    assert!(err.contains("[    2.9s]  apache.1      install       done in 2.7s"), "{err}");

    let (_, out, err) = coordinator.run("run launch apps/demo --wait -q -o json");
    assert_eq!(err, "");
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((json["id"].as_str(), json["nodes"][0]["instance"].as_str()), (Some(RUN), Some("web.1")));

    let (_, out, _) = coordinator.run("run list");
    assert!(out.starts_with("RUN       MODULE       STATE  READY  AGE"), "{out}");
    assert_eq!(coordinator.run("param get 1a2b3c4d web:port").1, "80\n");
    let (_, out, _) = coordinator.run("run events 1a2b3c4d -o json");
    assert_eq!(out.lines().count(), ready(SUCCEEDS));
}

#[test]
fn a_failure_shows_the_end_of_its_output_and_where_the_rest_is() {
    let coordinator = Coordinator::playing(FAILS);
    let (code, out, err) = coordinator.run("run wait 1a2b3c4d");
    assert_eq!(code, 1);
    assert!(err.contains("| and last\n") && err.contains("| all of it: slipstream run logs 1a2b3c4d web.1"), "{err}");
    assert!(out.starts_with("Failed: web.1: install failed: exit code 100"), "{out}");
    let (_, out, _) = coordinator.run("run logs 1a2b3c4d");
    assert_eq!(out, "web.1         install  | first\nweb.1         install  | and last\n");
    assert_eq!(coordinator.run("run logs 1a2b3c4d web.1 --step install").1, "first\nand last\n");
}

#[test]
fn mistakes_in_a_module_are_shown_where_they_are() {
    let coordinator = Coordinator::playing(SUCCEEDS);
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("image.yaml");
    std::fs::write(&file, "slipstream: 1\nkind: image\nname: images/broken\nnative: { local: x }\n").expect("written");
    let (code, out, err) = coordinator.run(&format!("module put {}", file.display()));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains(&format!("\n{}:3:7: nobody publishes `port`\n", file.display())), "{err}");
}

#[test]
fn an_interruption_leaves_the_run_and_says_how_to_come_back() {
    let coordinator = Coordinator::playing(SUCCEEDS);
    let mut command = coordinator.command();
    let line = ["run", "wait", "1a2b3c4d", "--for", "gone"];
    let mut child = command.args(line).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it runs");
    let mut seen = until(&mut child, "Ready");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it still runs");
    child.stderr.take().expect("piped").read_to_string(&mut seen).expect("text");
    assert_eq!(child.wait().expect("ended").code(), Some(130));
    assert!(seen.contains("The run goes on; come back with: slipstream run wait 1a2b3c4d"), "{seen}");
    assert!(!coordinator.ended.load(Ordering::Relaxed));
}

/// Reads standard error until a word comes.
fn until(child: &mut std::process::Child, word: &str) -> String {
    let (mut seen, mut byte) = (String::new(), [0]);
    let err = child.stderr.as_mut().expect("piped");
    while !seen.contains(word) && err.read(&mut byte).expect("readable") == 1 {
        seen.push(char::from(byte[0]));
    }
    seen
}

/// A folder with the program, a stand-in for the coordinator program beside it, and module files.
fn with_coordinator(coordinator: &Coordinator, script: &str) -> (tempfile::TempDir, Command) {
    let folder = tempfile::tempdir().expect("folder");
    let program = folder.path().join("slipstream");
    let built = Path::new(env!("CARGO_BIN_EXE_slipstream"));
    if std::fs::hard_link(built, &program).is_err() {
        std::fs::copy(built, &program).expect("copied");
    }
    let profile = folder.path().join("profile.toml");
    let (url, authority) = (&coordinator.server.url, &coordinator.server.authority);
    std::fs::write(&profile, format!("url = '{url}'\ntoken = 't'\nauthority = '''\n{authority}'''\n"))
        .expect("written");
    let stand_in = folder.path().join("slipstream-coordinator");
    std::fs::write(&stand_in, format!("#!/bin/sh\ndata=$4\nprofile={}\n{script}", profile.display())).expect("written");
    std::fs::set_permissions(&stand_in, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let demo = folder.path().join("demo");
    std::fs::create_dir(&demo).expect("folder");
    std::fs::write(demo.join("image.yaml"), "slipstream: 1\nkind: image\nname: demo/image\nnative: { processes: x }\n")
        .expect("written");
    std::fs::write(
        demo.join("app.yaml"),
        "slipstream: 1\nkind: application\nname: demo/app\nnodes: { web: { use: demo/image, cloud: processes } }\n",
    )
    .expect("written");
    let mut command = bare(&program);
    command.arg("up").arg(demo).env("TMPDIR", folder.path());
    (folder, command)
}

/// Writes the profile, then waits to be told to stop.
const SERVES: &str =
    "cp $profile $data/tmp; mv $data/tmp $data/cli.toml; trap 'exit 0' TERM; while :; do sleep 0.05; done\n";

fn left(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).expect("readable").filter_map(Result::ok).map(|e| e.file_name());
    names.filter(|name| name.to_string_lossy().starts_with("slipstream-up-")).count()
}

#[test]
fn up_and_down_needs_nothing_and_leaves_nothing() {
    let coordinator = Coordinator::playing(SUCCEEDS);
    let (folder, mut command) = with_coordinator(&coordinator, SERVES);
    let (code, out, err) = split(&command.arg("--down").output().expect("it runs"));
    assert_eq!(code, 0, "{out}\n{err}");
    assert!(out.starts_with("Ready after 4.2s\n"), "{out}");
    assert!(err.contains("demo/image@1\n             demo/app@1\n"), "{err}");
    assert!(err.contains("run           Done          everything is gone"), "{err}");
    assert!(coordinator.ended.load(Ordering::Relaxed));
    assert_eq!(left(folder.path()), 0, "its data is gone");
}

#[test]
fn up_stays_until_it_is_interrupted_and_then_removes_everything() {
    let coordinator = Coordinator::playing(SUCCEEDS);
    let (folder, mut command) = with_coordinator(&coordinator, SERVES);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it runs");
    let mut seen = until(&mut child, "Ctrl-C removes everything.");
    assert!(!coordinator.ended.load(Ordering::Relaxed));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it still runs");
    child.stderr.take().expect("piped").read_to_string(&mut seen).expect("text");
    assert_eq!(child.wait().expect("ended").code(), Some(0), "{seen}");
    assert!(seen.contains("everything is gone"), "{seen}");
    assert_eq!(left(folder.path()), 0);
}

#[test]
fn up_that_fails_ends_with_1_and_cleans_up() {
    let coordinator = Coordinator::playing(concat!(
        include_str!("golden/fails.events"),
        r#"{"seq": 24, "at": "2026-11-20T12:02:00Z", "by": "system", "kind": "state_changed", "state": "Aborted"}"#,
    ));
    let (_folder, mut command) = with_coordinator(&coordinator, SERVES);
    let (code, out, err) = split(&command.arg("--down").output().expect("it runs"));
    assert_eq!(code, 1, "{err}");
    assert!(out.starts_with("Failed: web.1: install failed"), "{out}");
    assert!(coordinator.ended.load(Ordering::Relaxed));
}

#[test]
fn a_second_interruption_gives_up_and_says_what_may_be_left() {
    // The run of this one never ends.
    let coordinator = Coordinator::playing(FAILS);
    let (folder, mut command) = with_coordinator(&coordinator, SERVES);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it runs");
    until(&mut child, "Ctrl-C removes everything.");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it still runs");
    let mut seen = until(&mut child, "once more Ctrl-C gives up");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it still runs");
    child.stderr.take().expect("piped").read_to_string(&mut seen).expect("text");
    assert_eq!(child.wait().expect("ended").code(), Some(130), "{seen}");
    assert!(seen.contains("begin with ss-1a2b3c4d- may be left"), "{seen}");
    assert_eq!(left(folder.path()), 1, "its log is kept");
}

#[test]
fn up_shows_why_its_coordinator_did_not_start() {
    let coordinator = Coordinator::playing(SUCCEEDS);
    let (folder, mut command) = with_coordinator(&coordinator, "echo 'the disk is on fire' >&2; exit 3\n");
    let (code, _, err) = split(&command.output().expect("it runs"));
    assert_eq!(code, 9);
    assert!(err.contains("the coordinator ended with exit code 3\n  the disk is on fire\n"), "{err}");
    assert_eq!(left(folder.path()), 1, "its log is kept");
}

#[test]
fn an_answer_that_breaks_off_is_no_answer() {
    let server = Server::start("http/1.1", |_| Reply::new(200, "").ending(End::Broken));
    let coordinator = Coordinator { server, ended: Arc::default() };
    let (code, _, err) = coordinator.run("run list");
    assert_eq!(code, 9, "{err}");
}

/// Module files without a coordinator: explained, put into order, compared.
#[test]
fn module_files_are_explained_formatted_and_compared() {
    let folder = tempfile::tempdir().expect("folder");
    let program = Path::new(env!("CARGO_BIN_EXE_slipstream"));
    let run = |line: &str| {
        let output = bare(program).current_dir(folder.path()).args(line.split(' ')).output().expect("it runs");
        split(&output)
    };
    let (code, out, _) = run("explain node.ready");
    assert_eq!(code, 0);
    assert!(out.contains("node.ready: a map") && out.contains("one of: tcp, http, exec"), "{out}");
    let (code, _, err) = run("explain node.raedy");
    assert!(code == 3 && err.contains("did you mean `ready`?"), "{code} {err}");
    let schema: serde_json::Value = serde_json::from_str(&run("module schema").1).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");

    let path = folder.path().join("a.yaml");
    let before = "kind: image # why\nslipstream: 1\nname: a\nnative: {c: x}\n";
    std::fs::write(&path, before).expect("written");
    std::fs::write(folder.path().join("b.yaml"), before.replace("{c: x}", "{c: y}")).expect("written");
    let (code, _, err) = run("module fmt --check a.yaml");
    assert!(code == 2 && err.contains("a.yaml:1: is not as `slipstream module fmt` writes it"), "{code} {err}");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), before, "--check changes nothing");
    assert_eq!(run("module fmt a.yaml").0, 0);
    let after = std::fs::read_to_string(&path).expect("there");
    assert_eq!(after, "slipstream: 1\nkind: image # why\nname: a\nnative: { c: x }\n");
    assert_eq!(run("module fmt --check a.yaml").0, 0);

    let (code, out, _) = run("module diff a.yaml b.yaml");
    assert_eq!((code, out.as_str()), (0, "native.c: x -> y\n"));
    let (_, out, _) = run("module diff a.yaml b.yaml --text");
    assert!(out.contains("-native: { c: x }") && out.contains("+native: {c: y}"), "{out}");
    std::fs::write(folder.path().join("c.yaml"), "a: [\n").expect("written");
    let (code, _, err) = run("module fmt c.yaml");
    assert!(code == 2 && err.contains("c.yaml:"), "{code} {err}");
}
