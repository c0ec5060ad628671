//! Asks a running QEMU how its guest is, over its QMP socket.

use std::{fs::File, io, os::fd::AsRawFd as _, path::Path, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

use super::QMP;
use crate::cloud::MachineState;

/// How long an answer may take. QEMU serves one client at a time, and none while it is busy.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often the power button is pressed.
const PRESS_AGAIN: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "return")]
    answer: Option<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    status: Option<String>,
}

/// The state of a machine whose QEMU runs.
pub(super) async fn state(dir: &Path) -> MachineState {
    // A QEMU that does not answer is busy: that it runs is known.
    let status = tokio::time::timeout(PATIENCE, status(dir)).await.ok().and_then(Result::ok);
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

async fn status(dir: &Path) -> io::Result<String> {
    let (reader, mut writer) = connect(dir).await?.into_split();
    let asked = b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-status\"}\n";
    writer.write_all(asked).await?;
    let mut lines = BufReader::new(reader).lines();
    // Before the answer come the greeting, an empty answer, and whatever happens meanwhile.
    while let Some(line) = lines.next_line().await? {
        let message: Message = serde_json::from_str(&line).map_err(io::Error::other)?;
        if let Some(status) = message.answer.and_then(|answer| answer.status) {
            return Ok(status);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
