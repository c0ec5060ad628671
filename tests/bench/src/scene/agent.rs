//! What an agent costs its machine, as it goes into images.

use std::{
    io::Write as _,
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use super::{quantile, real};
use crate::{
    Run, process,
    row::{Rounds, Rows},
};

/// Waits of scripts beside the first.
const MORE: usize = 1000;

/// Until they are known to the coordinator.
const SETTLE: Duration = Duration::from_secs(2);

const MIB: f64 = 1024.0 * 1024.0;

pub(super) async fn play(run: &Run, rows: &mut Rows) -> anyhow::Result<()> {
    let tries = if run.quick { 20 } else { 200 };
    let ours = real::start(run, &run.data).await?;
    let client = ours.client().await?;
    let id = ours.launch_of(&client, "bench/waits", 1).await?;
    let value = async |key: &str| {
        let parameter = client.wait_parameter(&id, &key.parse()?, Duration::from_secs(60)).await?;
        parameter.value.context("it was waited for")
    };
    let socket = value("worker.1:socket").await?;
    let pid = real::agent_at(&socket)?.as_raw().try_into()?;
    tokio::time::sleep(SETTLE).await;
    let agent = run.agent.as_deref().context("its machine was started with it")?;
    let mut add = |what: &str, unit: &str, value: f64, budget: &str| {
        let mut rounds = Rounds::default();
        rounds.ours(value);
        rows.add(&rounds.row(&format!("agent: {what}"), unit, "", budget))
    };
    add("size", "MB", std::fs::metadata(agent)?.len() as f64 / 1e6, "<4")?;
    let waiting = process::resident_of(pid)? as f64;
    add("resident while a script waits", "MB", waiting / 1e6, "<5")?;
    let version = || succeeds(Command::new(agent).arg("--version").stdout(Stdio::null()));
    add("`--version`, whole process, p50", "ms", median(tries, version)?, "<1.5")?;
    add("`/bin/true` for comparison, p50", "ms", median(tries, || succeeds(&mut Command::new("/bin/true")))?, "")?;
    let bin = Path::new(&socket).with_file_name("bin");
    let command = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(bin.join(name));
        command.args(arguments).env("SLIPSTREAM_SOCKET", &socket).stdout(Stdio::null());
        command
    };
    let get = || succeeds(&mut command("ss-get", &["socket"]));
    add("`ss-get` of a set value, whole process, p50", "ms", median(tries, get)?, "<2")?;
    let set = || succeeds(&mut command("ss-set", &["statecustom", "measured"]));
    add("`ss-set`, whole process, durable, p50", "ms", median(tries, set)?, "")?;
    let before = process::resident_of(pid)? as f64;
    let mut waits = Vec::with_capacity(MORE);
    for _ in 0..MORE {
        let mut stream = UnixStream::connect(&socket)?;
        writeln!(stream, r#"{{"do":"get","key":"go","wait":true}}"#)?;
        waits.push(stream);
    }
    tokio::time::sleep(SETTLE).await;
    let with = process::resident_of(pid)? as f64;
    add(&format!("resident with {MORE} more waits of scripts"), "MiB", with / MIB, "")?;
    add("memory per wait of a script", "KiB", (with - before) / 1024.0 / MORE as f64, "")?;
    real::remove(&client, &id).await
}

fn succeeds(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?} has ended with {status}");
    Ok(())
}

/// In milliseconds.
fn median(tries: usize, run: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut took = Vec::with_capacity(tries);
    for _ in 0..tries {
        let began = Instant::now();
        run()?;
        took.push(began.elapsed());
    }
    Ok(quantile(&mut took, 0.5) * 1000.0)
}
