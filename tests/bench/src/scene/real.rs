//! Real agents as processes of this machine, on the cloud `process`: how long an application takes to come up, how fast
//! an abort reaches its scripts, and how fast an agent that says nothing any more is noticed.

use std::{
    collections::BTreeSet,
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{getsockopt, sockopt},
    },
    unistd::Pid,
};
use slipstream_shared::{
    client::{Client, Update},
    event::Event,
    id::InstanceId,
};

use crate::{
    Run,
    ours::Ours,
    row::{Rounds, Rows},
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between two looks at a folder.
const LOOK: Duration = Duration::from_millis(1);

/// How many fall silent.
const SILENT: u32 = 20;

pub(super) async fn play(run: &Run, rows: &mut Rows) -> anyhow::Result<()> {
    let (sizes, rounds): (&[u32], _) = if run.quick { (&[2, 20], 1) } else { (&[2, 20, 200], 3) };
    let signalled = tempfile::Builder::new().prefix("signalled-").tempdir_in(&run.data)?;
    let ours = start(run, &std::path::absolute(signalled.path())?).await?;
    let client = ours.client().await?;
    for size in sizes {
        let (mut ready, mut aborted) = (Rounds::default(), Rounds::default());
        for _ in 0..rounds {
            ready.ours(until_ready(&ours, &client, *size).await?);
            aborted.ours(until_signalled(&ours, &client, *size, signalled.path()).await?);
        }
        let name = |what: &str| format!("{size} real agents: {what}");
        rows.add(&ready.row(&name("launch to Ready"), "s", "", ""))?;
        rows.add(&aborted.row(&name("abort until the last script is signalled"), "ms", "", ""))?;
    }
    if run.quick {
        return Ok(());
    }
    let mut noticed = Rounds::default();
    noticed.ours(until_noticed(&ours, &client).await?);
    rows.add(&noticed.row(&format!("{SILENT} real agents stopped: the last one is shown as silent"), "s", "", ""))
}

/// A coordinator with the cloud `local`, whose machines are processes, and what is launched there.
pub(super) async fn start(run: &Run, signalled: &Path) -> anyhow::Result<Ours> {
    let agent = run.agent.as_deref().context("say where the agent is (--agent PATH); `make bench` does")?;
    let agent = std::path::absolute(agent)?;
    ensure!(agent.is_file(), "there is no agent at {}", agent.display());
    let cloud = format!("[cloud.local]\nkind = \"process\"\nagent = {:?}\n", agent.display().to_string());
    let ours = Ours::start_on(&run.data, &cloud)?;
    let client = ours.client().await?;
    for module in modules(signalled) {
        client.put_module(&module).await?;
    }
    Ok(ours)
}

fn modules(signalled: &Path) -> Vec<String> {
    let image = "slipstream: 1\nkind: image\nname: bench/host\nnative: { local: host }\nplatform: other\n";
    let script = |name: &str, deploy: &str| {
        let component = format!(
            "slipstream: 1\nkind: component\nname: bench/{name}-one\nimage: bench/host\npublish:\n  \
             socket: {{ help: of its agent }}\n  go: {{ help: waited for }}\ndeploy: |\n  #!/bin/sh\n{deploy}"
        );
        let application = format!(
            "slipstream: 1\nkind: application\nname: bench/{name}\nnodes:\n  worker:\n    use: bench/{name}-one\n    \
             cloud: local\n    count: {{ default: 1, max: 300 }}\n"
        );
        [component, application]
    };
    let told = "  ss-set socket \"$SLIPSTREAM_SOCKET\"\n";
    let meets = format!("{told}  ss-get worker.1:socket\n");
    let waits = format!("{told}  ss-get go\n");
    let stays = format!(
        "  trap ': > \"{}/$$\"; exit 1' TERM\n{told}  while :; do sleep 1000 & wait $!; done\n",
        signalled.display()
    );
    let all = [script("meets", &meets), script("waits", &waits), script("stays", &stays)];
    [image.to_owned()].into_iter().chain(all.into_iter().flatten()).collect()
}

/// Seconds from the launch to Ready: each agent starts, enrols, runs a script that sets a value and reads that of the
/// first machine.
async fn until_ready(ours: &Ours, client: &Client, machines: u32) -> anyhow::Result<f64> {
    let began = Instant::now();
    let id = ours.launch_of(client, "bench/meets", machines).await?;
    client.wait(&id, &["ss:state=Ready".parse()?], false, PATIENCE).await?;
    let took = began.elapsed().as_secs_f64();
    remove(client, &id).await?;
    Ok(took)
}

/// Milliseconds from before the abort until every script has got its signal, and has said so by making a file.
async fn until_signalled(ours: &Ours, client: &Client, machines: u32, signalled: &Path) -> anyhow::Result<f64> {
    let id = ours.launch_of(client, "bench/stays", machines).await?;
    client.wait(&id, &["worker[*]:socket".parse()?], false, PATIENCE).await?;
    let expected = files(signalled)? + machines as usize;
    let began = Instant::now();
    client.abort(&id, "measured").await?;
    while files(signalled)? < expected {
        ensure!(began.elapsed() < PATIENCE, "not all of {machines} scripts were signalled");
        tokio::time::sleep(LOOK).await;
    }
    let took = began.elapsed();
    remove(client, &id).await?;
    Ok(took.as_secs_f64() * 1000.0)
}

fn files(folder: &Path) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(folder)?.count())
}

/// Seconds from the moment in which all agents stop until the run shows the last of them as silent.
async fn until_noticed(ours: &Ours, client: &Client) -> anyhow::Result<f64> {
    let id = ours.launch_of(client, "bench/meets", SILENT).await?;
    client.wait(&id, &["ss:state=Ready".parse()?], false, PATIENCE).await?;
    let stopped = Agents::stop(client, &id).await?;
    let began = Timestamp::now();
    let (mut events, mut silent, mut last) = (client.events(&id, 0), BTreeSet::<InstanceId>::new(), began);
    while silent.len() < SILENT as usize {
        let Update::Record(record) = tokio::time::timeout(PATIENCE, events.next()).await?? else { continue };
        if let Event::InstanceSilent { instance, .. } = record.event {
            silent.insert(instance);
            last = record.at;
        }
    }
    drop(stopped);
    remove(client, &id).await?;
    Ok(last.duration_since(began).as_secs_f64())
}

/// The agent that listens at a socket.
pub(super) fn agent_at(socket: &str) -> anyhow::Result<Pid> {
    let peer = getsockopt(&UnixStream::connect(socket)?, sockopt::PeerCredentials)?;
    Ok(Pid::from_raw(peer.pid()))
}

/// Agents that stand still until this is dropped.
struct Agents(Vec<Pid>);

impl Agents {
    async fn stop(client: &Client, run: &str) -> anyhow::Result<Self> {
        let mut agents = Agents(vec![]);
        for parameter in client.parameters(run).await?.into_iter().filter(|p| p.key.name == "socket") {
            let pid = agent_at(&parameter.value.context("every agent has told it")?)?;
            kill(pid, Signal::SIGSTOP)?;
            agents.0.push(pid);
        }
        Ok(agents)
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for pid in &self.0 {
            // It may have ended.
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }
}

/// Ends a run, machines included.
pub(super) async fn remove(client: &Client, id: &str) -> anyhow::Result<()> {
    client.terminate(id).await?;
    let deadline = Instant::now() + PATIENCE;
    while !client.run(id).await?.summary.state.is_final() {
        ensure!(Instant::now() < deadline, "run {id} does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
