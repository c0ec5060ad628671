//! One script as a process group: started, watched, and ended when its time is up.

use std::{collections::BTreeMap, ffi::OsString, io, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use slipstream_shared::event::StepResult;
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    output::{self, LastLine, Target},
    shim::{Files, Mark},
};
use crate::{
    agent::Agent,
    system::{System, signal_group},
    trouble::say,
};

/// From asking a script to end to ending it.
const GRACE: Duration = Duration::from_secs(5);

/// From the end of the first process of a machine that shuts down to that of its agent.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// How long after a script's end its last output may come, if something it left running keeps the
/// pipe open.
const DRAIN: Duration = Duration::from_millis(50);

/// How often a process is looked at that an earlier agent has started.
const LOOK: Duration = Duration::from_millis(100);

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

/// The process that leads the group.
enum Leader {
    Child(Box<Child>),
    Adopted(Mark),
}

impl Leader {
    fn pid(&self) -> u32 {
        match self {
            Leader::Child(child) => child.id().unwrap_or(0),
            Leader::Adopted(mark) => mark.pid,
        }
    }

    /// Waits for its end. May be dropped and called again.
    async fn ended(&mut self) {
        match self {
            Leader::Child(child) => drop(child.wait().await),
            Leader::Adopted(mark) => {
                while mark.lives() {
                    sleep(LOOK).await;
                }
            }
        }
    }
}

/// Output being read: standard output and standard error.
type Readings = Vec<JoinHandle<()>>;

/// Runs a script to its end.
pub(super) async fn run(agent: &Arc<Agent>, job: Job<'_>) -> StepResult {
    let last = LastLine::default();
    let files = Files::of(&job.program);
    match start(agent, &job, &files, &last) {
        Ok((child, readings)) => {
            watch(agent, &job, &files, Leader::Child(Box::new(child)), Duration::ZERO, readings, &last).await
        }
        Err(e) => StepResult { cause: Some(format!("cannot run it: {e}")), ..StepResult::default() },
    }
}

/// Goes on watching a script that an earlier agent has started, if there is one.
pub(super) async fn adopt(agent: &Arc<Agent>, job: &Job<'_>) -> Option<StepResult> {
    let files = Files::of(&job.program);
    let mark = files.found(&agent.system)?;
    say(format_args!("step {} was begun before the agent was restarted", job.name));
    let last = LastLine::default();
    let readings = output::resume(agent, job.index, &last);
    let passed = u64::try_from(System::now().as_millisecond() - mark.began).unwrap_or(0);
    let passed = Duration::from_millis(passed);
    Some(watch(agent, job, &files, Leader::Adopted(mark), passed, readings, &last).await)
}

fn start(agent: &Arc<Agent>, job: &Job<'_>, files: &Files, last: &LastLine) -> io::Result<(Child, Readings)> {
    let target = |err| Target { index: job.index, name: job.name.to_owned(), err, last: Arc::clone(last) };
    files.clear()?;
    let [out, err] = agent.folder.pipes(job.index);
    let (out, reading_out) = output::capture(agent, &out, target(false))?;
    let (err, reading_err) = output::capture(agent, &err, target(true))?;
    // Not by its path: the program may have been replaced since it was started.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("slipstream-agent").arg("run-step").arg(&files.record).arg("--");
    if job.shell {
        command.args(["/bin/sh", "-e"]);
    }
    command
        .arg(&job.program)
        .env_clear()
        .envs(&job.env)
        .current_dir(&job.folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::from(out))
        .stderr(Stdio::from(err));
    let child = command.spawn()?;
    files.keep(child.id().unwrap_or(0), &agent.system)?;
    Ok((child, vec![reading_out, reading_err]))
}

async fn watch(
    agent: &Agent,
    job: &Job<'_>,
    files: &Files,
    mut leader: Leader,
    passed: Duration,
    readings: Readings,
    last: &LastLine,
) -> StepResult {
    // Not by the time of day, which may be set while the script runs.
    let began = Instant::now();
    let cause = tokio::select! {
        () = ended_by_itself(&mut leader, files) => None,
        cause = out_of_time(agent, job, passed) => Some(cause),
    };
    if cause.is_some() {
        end(&mut leader).await;
    }
    let drained = timeout(DRAIN, async {
        for reading in readings {
            let _ = reading.await;
        }
    });
    if drained.await.is_err() && cause.is_none() {
        say(format_args!("step {} has left something running", job.name));
    }
    let killed = || StepResult { signal: Some(Signal::SIGKILL as i32), ..StepResult::default() };
    let mut result = files.result().unwrap_or_else(killed);
    result.cause = cause.map(str::to_owned).or(result.cause);
    result.millis = u64::try_from((passed + began.elapsed()).as_millis()).unwrap_or(u64::MAX);
    if !result.succeeded() {
        result.last_stderr = last.lock().expect("nothing panics while holding it").take();
    }
    result
}

/// Resolves when a script has ended. One that was told to end by somebody else is held for a moment: a machine
/// that shuts down tells all its processes at once, and what that cuts short has not failed but is run again.
async fn ended_by_itself(leader: &mut Leader, files: &Files) {
    leader.ended().await;
    let told = [Signal::SIGTERM as i32, Signal::SIGKILL as i32];
    if files.result().is_none_or(|result| result.signal.is_some_and(|signal| told.contains(&signal))) {
        sleep(SHUTDOWN).await;
    }
}

/// Resolves when a script must not run any longer, with the cause.
async fn out_of_time(agent: &Agent, job: &Job<'_>, passed: Duration) -> &'static str {
    let deadline = async {
        let Some(seconds) = job.within else { return std::future::pending().await };
        sleep(Duration::from_secs(seconds).saturating_sub(passed)).await;
    };
    let abort = async {
        if !job.abortable {
            std::future::pending::<()>().await;
        }
        agent.link.aborted().await
    };
    tokio::select! {
        () = deadline => "deadline",
        _ = abort => "aborted",
    }
}

/// Ends a whole process group: asks, waits, insists.
async fn end(leader: &mut Leader) {
    let pid = leader.pid();
    signal_group(pid, Signal::SIGTERM);
    let _ = timeout(GRACE, leader.ended()).await;
    // Also when the leader has obeyed: others of its group may not have.
    signal_group(pid, Signal::SIGKILL);
    leader.ended().await;
}
