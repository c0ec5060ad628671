//! One script as a process group: started, watched, and ended when its time is up.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::sys::signal::Signal;
use slipstream_shared::event::StepResult;
use std::os::unix::process::ExitStatusExt as _;
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::output::{LastLine, Target, capture};
use crate::{agent::Agent, system::signal_group, trouble::say};

/// From asking a script to end to ending it.
const GRACE: Duration = Duration::from_secs(5);

/// How long after a script's end its last output may come, if something it left running keeps the
/// pipe open.
const DRAIN: Duration = Duration::from_millis(200);

/// What to run.
pub(super) struct Job<'a> {
    pub(super) index: u32,
    pub(super) name: &'a str,
    pub(super) program: PathBuf,
    pub(super) shell: bool,
    pub(super) folder: PathBuf,
    pub(super) env: BTreeMap<String, OsString>,
    pub(super) within: Option<u64>,
    pub(super) abortable: bool,
}

/// Runs it to its end.
pub(super) async fn run(agent: &Arc<Agent>, job: Job<'_>) -> StepResult {
    let began = Instant::now();
    let last = LastLine::default();
    let mut result = match start(agent, &job, &last).await {
        Ok((child, readings)) => watch(agent, &job, child, readings).await,
        Err(e) => StepResult { cause: Some(format!("cannot run it: {e}")), ..StepResult::default() },
    };
    result.millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if !result.succeeded() {
        result.last_stderr = last.lock().expect("nothing panics while holding it").take();
    }
    result
}

type Readings = [JoinHandle<()>; 2];

async fn start(agent: &Arc<Agent>, job: &Job<'_>, last: &LastLine) -> io::Result<(Child, Readings)> {
    let target = |err| Target { index: job.index, name: job.name.to_owned(), err, last: Arc::clone(last) };
    let [out, err] = agent.folder.pipes(job.index);
    let (out, reading_out) = capture(agent, &out, target(false))?;
    let (err, reading_err) = capture(agent, &err, target(true))?;
    let mut command = if job.shell {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-e").arg(&job.program);
        shell
    } else {
        Command::new(&job.program)
    };
    command
        .env_clear()
        .envs(&job.env)
        .current_dir(&job.folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::from(out))
        .stderr(Stdio::from(err));
    let mut tries = 0;
    loop {
        match command.spawn() {
            // A process being started elsewhere may hold the script open for writing for a moment.
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries < 50 => {
                tries += 1;
                sleep(Duration::from_millis(10)).await;
            }
            started => return started.map(|child| (child, [reading_out, reading_err])),
        }
    }
}

async fn watch(agent: &Agent, job: &Job<'_>, mut child: Child, readings: Readings) -> StepResult {
    let leader = child.id().unwrap_or(0);
    let deadline = async {
        match job.within {
            Some(seconds) => sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let abort = async {
        if !job.abortable {
            std::future::pending::<()>().await;
        }
        agent.link.aborted().await
    };
    let (status, cause) = tokio::select! {
        status = child.wait() => (status, None),
        () = deadline => (end(&mut child, leader).await, Some("deadline")),
        _ = abort => (end(&mut child, leader).await, Some("aborted")),
    };
    let drained = timeout(DRAIN, async {
        for reading in readings {
            let _ = reading.await;
        }
    });
    if drained.await.is_err() && cause.is_none() {
        say(format_args!("step {} has left something running", job.name));
    }
    result(status, cause)
}

/// Ends a whole process group: asks, waits, insists.
async fn end(child: &mut Child, leader: u32) -> io::Result<ExitStatus> {
    signal_group(leader, Signal::SIGTERM);
    let asked = timeout(GRACE, child.wait()).await;
    // Also when the leader has obeyed: others of its group may not have.
    signal_group(leader, Signal::SIGKILL);
    match asked {
        Ok(status) => status,
        Err(_) => child.wait().await,
    }
}

fn result(status: io::Result<ExitStatus>, cause: Option<&str>) -> StepResult {
    match status {
        Ok(status) => StepResult {
            exit: status.code(),
            signal: status.signal(),
            cause: cause.map(str::to_owned),
            ..StepResult::default()
        },
        Err(e) => StepResult { cause: Some(format!("lost sight of it: {e}")), ..StepResult::default() },
    }
}
