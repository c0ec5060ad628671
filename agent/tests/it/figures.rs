//! What the agent costs. Ignored by default: it prints figures, for the build that
//! `SLIPSTREAM_AGENT_BINARY` names.
use std::{
    io::Write as _,
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use slipstream_shared::link::Change;

use crate::common::{Machine, binary, coordinator::Coordinator, plan, step};

fn median(what: &str, mut run: impl FnMut()) {
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let began = Instant::now();
            run();
            began.elapsed()
        })
        .collect();
    times.sort();
    println!("{what}: least {:?}, median {:?}, 90% {:?}", times[0], times[100], times[180]);
}

fn resident(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned()
}

#[test]
#[ignore = "prints figures"]
fn figures() {
    let coordinator = Coordinator::new(plan(vec![step("deploy", "ss-set port 80; ss-get go")]));
    let machine = Machine::started(&coordinator);
    coordinator.wait("the wait", |world| (world.waiting() == 1).then_some(()));
    let pid = machine.daemon.as_ref().unwrap().id();
    println!("size: {} bytes", std::fs::metadata(binary()).unwrap().len());
    println!("waiting: {}", resident(pid));
    median("--version", || {
        Command::new(binary()).arg("--version").stdout(Stdio::null()).status().unwrap();
    });
    median("/bin/true", || {
        Command::new("/bin/true").status().unwrap();
    });
    median("ss-get of a set value", || assert_eq!(machine.run("ss-get", &["port"]).1, "80\n"));
    median("ss-set", || assert_eq!(machine.run("ss-set", &["port", "80"]).0, 0));
    let waits: Vec<UnixStream> = (0..1000)
        .map(|n| {
            let mut stream = UnixStream::connect(machine.path("run/agent.sock")).unwrap();
            writeln!(stream, r#"{{"do":"get","key":"k{n}","wait":true}}"#).unwrap();
            stream
        })
        .collect();
    coordinator.wait("a thousand waits", |world| (world.waiting() == 1001).then_some(()));
    println!("with {} more waits: {}", waits.len(), resident(pid));
    coordinator.set("web.1:go", "1");
    coordinator.wait_for_change(|change| *change == Change::Ready);
}
