//! Talks to a running QEMU over its QMP socket.

use std::{fs::File, io, os::fd::AsRawFd as _, path::Path, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::QMP;
use crate::cloud::{CloudError, MachineState};

/// How long it may take until it says how its guest is. QEMU serves one client at a time, and none while it is busy.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long it may take until it has done something.
const WORK: Duration = Duration::from_secs(30);

/// How often the power button is pressed.
const PRESS_AGAIN: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "return")]
    answer: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

/// A conversation with a QEMU.
pub(super) struct Monitor {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Monitor {
    /// Begins one, as soon as QEMU has ended those with others.
    pub(super) async fn open(dir: &Path) -> Result<Self, CloudError> {
        let (reader, writer) = connect(dir).await.map_err(|e| lost(&e))?.into_split();
        let mut monitor = Monitor { lines: BufReader::new(reader).lines(), writer };
        monitor.ask("qmp_capabilities", json!({})).await?;
        Ok(monitor)
    }

    /// Has QEMU do something; gives its answer. What it does not want to do it does not want later either.
    pub(super) async fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, CloudError> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        let asking = async {
            self.writer.write_all(line.as_bytes()).await?;
            // Before the answer come the greeting and whatever happens meanwhile.
            while let Some(line) = self.lines.next_line().await? {
                let message: Message = serde_json::from_str(&line).map_err(io::Error::other)?;
                match message {
                    Message { error: Some(refusal), .. } => return Ok(Err(refusal.desc)),
                    Message { answer: Some(answer), .. } => return Ok(Ok(answer)),
                    _ => {}
                }
            }
            Err(io::ErrorKind::UnexpectedEof.into())
        };
        let late = || Err(io::Error::from(io::ErrorKind::TimedOut));
        let answer: io::Result<_> = tokio::time::timeout(WORK, asking).await.unwrap_or_else(|_| late());
        answer.map_err(|e| lost(&e))?.map_err(|why| CloudError::Permanent(format!("QEMU refuses {command}: {why}")))
    }
}

/// QEMU is on its way out, or busy: the same request later finds it as it is then.
fn lost(error: &io::Error) -> CloudError {
    CloudError::Transient(format!("the QEMU of the machine does not answer: {error}"))
}

/// The state of a machine whose QEMU runs.
pub(super) async fn state(dir: &Path) -> MachineState {
    let status = async {
        let answer = Monitor::open(dir).await?.ask("query-status", json!({})).await?;
        Ok::<_, CloudError>(answer.get("status").and_then(Value::as_str).map(str::to_owned))
    };
    // A QEMU that does not answer is busy: that it runs is known.
    let status = tokio::time::timeout(PATIENCE, status).await.ok().and_then(Result::ok).flatten();
    match status.as_deref().unwrap_or("running") {
        "prelaunch" => MachineState::Pending,
        "paused" | "shutdown" | "suspended" => MachineState::Stopped,
        "guest-panicked" => MachineState::Failed("its kernel has panicked".to_owned()),
        "internal-error" => MachineState::Failed("QEMU stopped it after an error of its own".to_owned()),
        "io-error" => MachineState::Failed("its disk cannot be written: the disk of this host may be full".to_owned()),
        _ => MachineState::Running,
    }
}

/// Presses the power button of a machine until its QEMU has ended, at most for `within`. More than once, since
/// a guest that is still booting does not listen yet.
pub(super) async fn power_off(dir: &Path, within: Duration) {
    let pressed = async {
        let mut socket = connect(dir).await?;
        socket.write_all(b"{\"execute\":\"qmp_capabilities\"}\n").await?;
        let mut said = [0; 4096];
        loop {
            socket.write_all(b"{\"execute\":\"system_powerdown\"}\n").await?;
            let again = tokio::time::sleep(PRESS_AGAIN);
            tokio::pin!(again);
            loop {
                tokio::select! {
                    () = &mut again => break,
                    // It ends with QEMU.
                    size = socket.read(&mut said) => if size? == 0 { return Ok(()) },
                }
            }
        }
    };
    // Whoever does not listen is ended by force.
    let _: Result<io::Result<()>, _> = tokio::time::timeout(within, pressed).await;
}

async fn connect(dir: &Path) -> io::Result<UnixStream> {
    // The path of a socket may have 107 bytes; through the folder's descriptor any folder is near.
    let folder = File::open(dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{QMP}", folder.as_raw_fd())).await
}
