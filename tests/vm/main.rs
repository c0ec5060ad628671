//! The tutorial on Debian virtual machines, as `make demo` shows it, and a look into one of them.

mod power;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use slipstream_tests::{processes_of, program, repository, test_images};

/// The folder of the test, and what runs on its behalf.
struct Stage(tempfile::TempDir);

impl Drop for Stage {
    fn drop(&mut self) {
        processes_of(self.0.path()).iter().for_each(slipstream_tests::Process::kill);
    }
}

impl Stage {
    /// The command line, as somebody calls it who never has before.
    fn cli(&self) -> Command {
        let mut command = Command::new(program("slipstream"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", self.path()).current_dir(repository());
        command
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn ssh(&self, arguments: &[&str]) -> Output {
        let mut command = self.cli();
        command.env("SLIPSTREAM_PROFILE", self.path().join("data/cli.toml")).stdin(Stdio::null());
        command.arg("ssh").args(arguments).output().expect("runs")
    }
}

/// Shows what it says up to a line that ends so; all of it.
fn until(said: &mut impl Iterator<Item = std::io::Result<String>>, end: &str) -> String {
    let mut all = String::new();
    for line in said {
        let line = line.expect("text");
        println!("{line}");
        all += &format!("{line}\n");
        if line.ends_with(end) {
            return all;
        }
    }
    panic!("it ended without `{end}`");
}

#[test]
fn the_founding_tutorial_on_debian() {
    let images = test_images("debian-12").expect("the Debian image: run `make test-vm`, which makes it");
    let stage = Stage(tempfile::tempdir().expect("a folder"));
    let mut up = stage.cli();
    up.args(["up", "examples/service-testing", "--images"]).arg(&images).arg("--data").arg(stage.path().join("data"));
    let mut up: Child = up.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut said = BufReader::new(up.stderr.take().expect("piped")).lines();
    let begun = until(&mut said, "Ctrl-C removes everything.");
    let run = begun.lines().find_map(|line| line.strip_prefix("Run ")?.split_whitespace().next()).expect("is named");

    let output = stage.ssh(&[run, "apache.1", "--", "cat", "/var/www/html/data.txt;", "id", "-un;", "exit", "7"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Hello from Apache deployed by SlipStream!\nroot\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing but the output of the command");

    kill(Pid::from_raw(up.id().try_into().expect("a pid")), Signal::SIGINT).expect("it still runs");
    until(&mut said, "everything is gone");
    let output = up.wait_with_output().expect("ends");
    let shown = String::from_utf8_lossy(&output.stdout);
    println!("{shown}");
    assert!(output.status.success(), "{}", output.status);
    assert!(shown.contains("OK: Hello from Apache deployed by SlipStream!"), "{shown}");
    assert_eq!(processes_of(stage.path()), [], "left running");
}
