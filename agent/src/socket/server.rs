//! The daemon's side of the socket: one small task per connection, thousands of waits are fine.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use slipstream_shared::{
    condition::Condition,
    link::{Change, RefusedCode, Reply, Up},
    parameter::Key,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Answer, MAX_LINE, Request, meeting};
use crate::{
    agent::{Agent, BootError, Daemon},
    durable::remedy,
    exit::End,
    link::Made,
};

/// How long a question that does not wait for a value waits for the coordinator.
const COORDINATOR_WITHIN: Duration = Duration::from_secs(10);

/// After what time is asked again what the coordinator could not answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Makes the run folder and listens in it.
///
/// # Errors
/// The folder does not work, or another agent listens there.
pub fn listen(run_dir: &Path) -> Result<UnixListener, BootError> {
    let disk = |source| BootError::Disk { path: run_dir.to_owned(), source };
    fs::create_dir_all(run_dir).map_err(disk)?;
    let path = super::path(run_dir);
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(BootError::Running(path));
    }
    // Under another name first: a command that finds no socket at all takes this for a machine without an
    // agent, so one that was left behind is replaced and never away.
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(disk(e)),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(disk)?;
    // Who may ask is decided by the peer's user, which gives a clearer answer than "permission denied".
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o666)).map_err(disk)?;
    fs::rename(&fresh, &path).map_err(disk)?;
    Ok(listener)
}

/// Answers for as long as the daemon lives.
pub async fn serve(daemon: &Arc<Daemon>, listener: UnixListener) -> std::convert::Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(one(Arc::clone(daemon), stream))),
                // Too many open files: some wait will end.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection. Its errors are the other side's.
async fn one(daemon: Arc<Daemon>, mut stream: UnixStream) {
    let allowed = allowed(&stream);
    let (reading, mut writing) = stream.split();
    let mut reading = BufReader::new(reading);
    let mut line = Vec::new();
    if (&mut reading).take(MAX_LINE).read_until(b'\n', &mut line).await.is_err() || line.is_empty() {
        return;
    }
    let answer = async {
        match serde_json::from_slice(&line) {
            _ if !allowed => failed(End::Refused, "only root and the agent's own user may ask"),
            Ok(request) => answer(&daemon, request).await,
            Err(e) => failed(End::Usage, &format!("that is no request: {e}")),
        }
    };
    let gone = async {
        // Nothing more is expected; the end of the stream means that nobody waits any more.
        let mut more = [0; 64];
        while reading.read(&mut more).await.is_ok_and(|size| size > 0) {}
    };
    let answer = tokio::select! {
        biased;
        answer = answer => answer,
        () = gone => return,
    };
    let mut line = serde_json::to_vec(&answer).expect("plain data serializes");
    line.push(b'\n');
    let _ = writing.write_all(&line).await;
}

fn allowed(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

pub(super) fn failed(end: End, message: &str) -> Answer {
    Answer::Failed { end, message: message.to_owned() }
}

async fn answer(daemon: &Daemon, request: Request) -> Answer {
    if let Request::Status { wait } = request {
        let mut status = daemon.status.subscribe();
        if wait {
            let _ = status.wait_for(|status| status.stage.is_settled()).await;
        }
        let status = status.borrow().clone();
        return Answer::Status(Box::new(status));
    }
    let Some(agent) = daemon.agent.get() else {
        let detail = daemon.status.borrow().detail.clone();
        return failed(End::Unreachable, &format!("this machine does not know its run: {detail}"));
    };
    match request {
        Request::Get { key, wait, stale_ok, timeout: seconds, ignore_abort } => {
            let key = match Key::qualify(&key, Some(&agent.context.instance)) {
                Ok(key) => key,
                Err(e) => return failed(End::Refused, &e.to_string()),
            };
            let what = || format!("{key} was not set");
            answer_within(seconds.filter(|_| wait), what, get(agent, &key, wait, stale_ok, ignore_abort)).await
        }
        Request::Wait { conditions, timeout: seconds, ignore_abort } => {
            let mut full = Vec::new();
            for condition in &conditions {
                match Condition::qualify(condition, Some(&agent.context.instance)) {
                    Ok(condition) => full.push(condition.to_string()),
                    Err(e) => return failed(End::Refused, &e.to_string()),
                }
            }
            let what = || "what was waited for did not come".to_owned();
            answer_within(seconds, what, wait(agent, &full, ignore_abort)).await
        }
        Request::Set { key, value, if_revision, request, ignore_abort } => {
            match Key::qualify(&key, Some(&agent.context.instance)) {
                Ok(key) => set(agent, key, value, if_revision, request, ignore_abort).await,
                Err(e) => failed(End::Refused, &e.to_string()),
            }
        }
        Request::Barrier { name, count, of, timeout: seconds, ignore_abort } => {
            meeting::barrier(agent, &name, meeting::parties(agent, count, &of), seconds, ignore_abort).await
        }
        Request::Lead { name, wait, timeout: seconds, ignore_abort } => {
            meeting::lead(agent, &name, wait, seconds, ignore_abort).await
        }
        Request::Resign { name } => meeting::resign(agent, &name).await,
        Request::Abort { reason } => {
            let reason = agent.scrub.clean_all(reason.as_bytes());
            change(agent, Change::Abort { reason }).await
        }
        Request::CancelAbort => change(agent, Change::CancelAbort).await,
        Request::Status { .. } => failed(End::Failed, "answered above"),
    }
}

/// Waits for an answer, but no longer than `seconds`.
pub(super) async fn answer_within(
    seconds: Option<u64>,
    what: impl Fn() -> String + Send,
    answer: impl Future<Output = Answer> + Send,
) -> Answer {
    match seconds {
        None => answer.await,
        Some(seconds) => timeout(Duration::from_secs(seconds), answer)
            .await
            .unwrap_or_else(|_| failed(End::Timeout, &format!("{} within {seconds} s", what()))),
    }
}

async fn get(agent: &Agent, key: &Key, wait: bool, stale_ok: bool, ignore_abort: bool) -> Answer {
    let asked = async {
        let answer = asked(agent, wait, |id| Up::Get { id, key: key.clone(), wait, ignore_abort }).await;
        if let Answer::Value { value, .. } = &answer {
            know(agent, key, value.as_deref());
        }
        answer
    };
    let stale = async {
        if stale_ok {
            agent.link.down().await;
            if let Some(value) = agent.seen.last(key) {
                return Answer::Value { value: Some(value), stale: true, revision: 0 };
            }
        }
        std::future::pending().await
    };
    let unreachable = async {
        if wait {
            std::future::pending::<()>().await;
        }
        sleep(COORDINATOR_WITHIN).await;
    };
    tokio::select! {
        biased;
        answer = aborted(agent, ignore_abort) => answer,
        answer = asked => answer,
        answer = stale => answer,
        () = unreachable => failed(End::Unreachable, "the coordinator can not be reached"),
    }
}

async fn wait(agent: &Agent, conditions: &[String], ignore_abort: bool) -> Answer {
    let ask = |id| Up::Wait { id, conditions: conditions.to_vec(), ignore_abort };
    tokio::select! {
        biased;
        answer = aborted(agent, ignore_abort) => answer,
        answer = asked(agent, true, ask) => answer,
    }
}

/// Asks the coordinator; asks again what waits when the coordinator can not answer just now.
pub(super) async fn asked(agent: &Agent, wait: bool, ask: impl Fn(u64) -> Up + Send + Sync) -> Answer {
    loop {
        return match agent.link.ask(&ask).await {
            Reply::Refused(refused) if wait && refused.code == RefusedCode::Unavailable => {
                sleep(ASK_AGAIN).await;
                continue;
            }
            Reply::Value { value, revision } => Answer::Value { value, stale: false, revision },
            Reply::Lead { number, leader } => Answer::Lead { number, leader },
            Reply::Met { .. } => Answer::Done { spooled: false },
            Reply::Refused(refused) => failed(refused.code.into(), &refused.message),
            Reply::Env { .. } => failed(End::Failed, "the coordinator answered with an environment"),
        };
    }
}

/// Resolves when the run is aborted, unless that is to be ignored.
pub(super) async fn aborted(agent: &Agent, ignore: bool) -> Answer {
    if ignore {
        std::future::pending::<()>().await;
    }
    failed(End::Aborted, &format!("the run is aborted: {}", agent.link.aborted().await))
}

/// Remembers a value that was answered or set; of a secret, only that it must not be shown.
fn know(agent: &Agent, key: &Key, value: Option<&str>) {
    match value {
        Some(value) if agent.is_secret(key) => agent.scrub.learn(value),
        value => agent.seen.note(key, value),
    }
}

async fn set(
    agent: &Agent,
    key: Key,
    value: Option<String>,
    if_revision: Option<u64>,
    request: Option<String>,
    ignore_abort: bool,
) -> Answer {
    let secret = agent.is_secret(&key);
    if let Some(value) = value.as_ref().filter(|_| secret) {
        // Before anything can be printed of it.
        agent.scrub.learn(value);
    }
    let (named, new) = (key.clone(), value.clone());
    let set = match if_revision {
        None => Change::Set { key: named, value: new, ignore_abort },
        Some(revision) => Change::SetIf { key: named, value: new, revision, ignore_abort },
    };
    let made = match if_revision {
        _ if secret => agent.link.change_secret(set).await,
        None => agent.link.request_and_wait(set, request).await,
        Some(_) => agent.link.request_and_know(set, request).await,
    };
    let answer = made.map_or_else(|e| not_recorded(agent, &e), answer_of);
    if let Answer::Done { .. } = answer {
        know(agent, &key, value.as_deref());
    }
    answer
}

pub(super) async fn change(agent: &Agent, change: Change) -> Answer {
    agent.link.change_and_wait(change).await.map_or_else(|e| not_recorded(agent, &e), answer_of)
}

fn answer_of(made: Made) -> Answer {
    match made {
        Made::Applied => Answer::Done { spooled: false },
        Made::Spooled => Answer::Done { spooled: true },
        Made::Refused(refused) => failed(refused.code.into(), &refused.message),
    }
}

fn not_recorded(agent: &Agent, e: &std::io::Error) -> Answer {
    let folder = agent.folder.base().display();
    failed(End::Failed, &format!("cannot record the change in {folder}: {e}{}", remedy(e)))
}
