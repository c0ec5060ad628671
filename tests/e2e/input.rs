//! Bad input: a clear refusal, and nothing changed.

use slipstream_shared::api::LaunchRequest;
use slipstream_tests::{Coordinator, Options, cli};

use crate::processes::problem;

#[tokio::test]
async fn bad_module_files_are_refused_with_line_and_column() {
    let coordinator = Coordinator::start(Options::default()).await;
    let client = coordinator.client();
    let application = |body: &str| format!("slipstream: 1\nkind: application\nname: tests/bad\n{body}");
    for (module, line, column, says) in [
        (application("colour: red\nnodes: {}\n"), 4, 1, "colour"),
        (application("nodes:\n  web:\n    count: many\n"), 6, 12, "count"),
        (
            application(
                "nodes:\n  web:\n    cloud: processes\n    env: { PORT: \"${db.port}\" }\n    deploy: \"true\"\n",
            ),
            7,
            18,
            "db",
        ),
    ] {
        let problem = problem(client.put_module(&module).await);
        let place = problem.problems.iter().find(|p| p.message.contains(says));
        let place = place.unwrap_or_else(|| panic!("nothing about `{says}`: {problem:#?}"));
        assert_eq!((place.line, place.column), (line, column), "{place:#?}\n{module}");
    }
    assert_eq!(client.modules(&[("prefix", "tests")]).await.expect("listed"), [], "nothing was stored");
}

#[tokio::test]
async fn a_wait_cycle_is_refused() {
    let coordinator = Coordinator::start(Options::default()).await;
    let node = |other: &str| {
        format!(
            "    image: tests/image\n    cloud: processes\n    publish: {{ port: {{}} }}\n    env: {{ OTHER: \"${{{other}.port}}\" }}\n    deploy: ss-set port 1\n"
        )
    };
    let image = "slipstream: 1\nkind: image\nname: tests/image\nnative: { processes: host }\n";
    coordinator.client().put_module(image).await.expect("fine");
    let module =
        format!("slipstream: 1\nkind: application\nname: tests/cycle\nnodes:\n  a:\n{}  b:\n{}", node("b"), node("a"));
    let problem = problem(coordinator.client().put_module(&module).await);
    assert!(
        problem.problems.iter().any(|p| p.message.contains("cycle") || p.message.contains("waits")),
        "{problem:#?}"
    );
}

#[tokio::test]
async fn bad_launches_are_refused_and_start_nothing() {
    let coordinator = Coordinator::start(Options::default()).await;
    let client = coordinator.client();
    let launch = |module: &str| LaunchRequest { module: module.into(), ..LaunchRequest::default() };
    assert_eq!(problem(client.launch(&launch("no/such"), "a").await).status, 404);
    assert_eq!(client.runs(None, 10).await.expect("listed").items, []);
    assert_eq!(problem(client.run("deadbeef").await).code, "run_not_found");

    let output = cli(&coordinator.profile()).args(["run", "show", "deadbeef"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Launches an image of the cloud `local` as a user does, which is to be refused.
fn refused_launch(coordinator: &Coordinator) -> String {
    let output = cli(&coordinator.profile())
        .args(["run", "launch", "tests/vm", "--cloud", "local", "--wait"])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn what_a_cloud_lacks_is_named_with_the_remedy_before_anything_starts() {
    let images = tempfile::tempdir().expect("a folder");
    let vm = "slipstream: 1\nkind: image\nname: tests/vm\nnative: { local: debian-99 }\n";
    for (path, says) in [
        (None, format!("there is no image `debian-99` in {} (`make image` makes", images.path().display())),
        (Some("/nonexistent"), "qemu-system-x86_64 is not installed (apt install qemu-system-x86)".to_owned()),
    ] {
        let options = Options { images: Some(images.path().to_owned()), path, ..Options::default() };
        let coordinator = Coordinator::start(options).await;
        coordinator.client().put_module(vm).await.expect("fine");
        let stderr = refused_launch(&coordinator);
        assert!(stderr.contains("cloud `local` cannot launch this: "), "{stderr}");
        // Where the test runs there may be no QEMU at all.
        let no_qemu = path.is_none() && stderr.contains("is not installed (apt install");
        assert!(stderr.contains(&says) || no_qemu, "{stderr}");
        assert_eq!(coordinator.client().runs(None, 10).await.expect("listed").items, [], "nothing was started");
    }
}

#[tokio::test]
async fn mistakes_in_a_module_file_have_its_name_line_and_column() {
    let coordinator = Coordinator::start(Options::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text, place, says) in [
        ("key.yaml", "kind: image\nname: tests/a\nnativ: {}\n", "4:1", "`nativ` is not a key"),
        ("type.yaml", "kind: application\nname: tests/a\nnodes:\n  web:\n    count: many\n", "6:12", "count"),
        ("form.yaml", "kind: image\nname: [\n", "4:1", ""),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, format!("slipstream: 1\n{text}")).expect("written");
        let output = cli(&coordinator.profile()).args(["module", "put"]).arg(&file).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        let start = format!("{}:{place}: ", file.display());
        let line = stderr.lines().find(|line| line.starts_with(&start));
        assert!(line.is_some_and(|line| line.contains(says)), "no line `{start}`:\n{stderr}");
    }
    assert_eq!(coordinator.client().modules(&[]).await.expect("listed"), [], "nothing was stored");
}

#[tokio::test]
async fn a_second_coordinator_names_what_is_taken() {
    let coordinator = Coordinator::start(Options::default()).await;
    let url = std::fs::read_to_string(coordinator.profile()).expect("written");
    let port = url.split("127.0.0.1:").nth(1).and_then(|r| r.split('"').next()).expect("a port").to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let start = |data: &std::path::Path, listen: &str| {
        let mut command = std::process::Command::new(slipstream_tests::program("slipstream-coordinator"));
        command.args(["serve", "--dev", "--data"]).arg(data).args(["--listen", listen]);
        let output = command.output().expect("runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let taken = start(folder.path(), &format!("127.0.0.1:{port}"));
    assert!(taken.contains(&port), "{taken}");
    let in_use = start(&coordinator.data(), "127.0.0.1:0");
    assert!(in_use.contains("in use by another coordinator"), "{in_use}");
}
