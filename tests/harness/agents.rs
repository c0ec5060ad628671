//! Agents that run as plain processes, killed and started again as a supervisor would.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt as _, process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{eventually, processes_of};

/// Kills the agent of a machine's folder without a word, and starts it again as it was. Its scripts go on. It is
/// for the caller to end.
///
/// # Panics
/// There is none, or it does not end.
pub async fn restart_agent(folder: &Path) -> Child {
    let agent = processes_of(folder).into_iter().find(|p| p.command.contains(" boot --context "));
    let agent = agent.expect("its agent runs");
    let proc = |file: &str| -> Vec<OsString> {
        let bytes = fs::read(format!("/proc/{}/{file}", agent.pid)).expect("it runs");
        bytes.split(|b| *b == 0).filter(|part| !part.is_empty()).map(|p| OsString::from_vec(p.to_vec())).collect()
    };
    let (line, environment) = (proc("cmdline"), proc("environ"));
    agent.kill();
    eventually("the agent has ended", || async {
        let left = processes_of(folder).into_iter().any(|p| p.pid == agent.pid);
        (!left).then_some(())
    })
    .await;
    let log = fs::File::options().append(true).open(folder.join("agent.log")).expect("its log");
    let pairs = environment.iter().filter_map(|pair| pair.to_str()?.split_once('='));
    Command::new(&line[0])
        .args(&line[1..])
        .env_clear()
        .envs(pairs)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .process_group(0)
        .spawn()
        .expect("it starts again")
}
