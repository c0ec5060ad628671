//! The tutorial on Debian virtual machines, as `make demo` shows it.

use std::process::Command;

use slipstream_tests::{processes_of, program, repository, test_images};

#[test]
fn the_founding_tutorial_on_debian() {
    let images = test_images("debian-12").expect("the Debian image: run `make test-vm`, which makes it");
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(program("slipstream"))
        .args(["up", "examples/service-testing", "--down", "--images"])
        .arg(&images)
        .arg("--data")
        .arg(folder.path().join("data"))
        .current_dir(repository())
        .output()
        .expect("runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Hello from Apache deployed by SlipStream!"), "{said}");
    assert_eq!(processes_of(folder.path()), [], "left running");
}
