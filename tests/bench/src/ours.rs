//! The coordinator in a process of its own, and clients of it.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_trait::async_trait;
use slipstream_shared::{
    api::LaunchRequest,
    client::Client,
    context::Context,
    http::Limits,
    link::{Change, Down, Reply, Up},
    parameter::Key,
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    agent::Agent,
    process::Process,
    rest::Rest,
    scene::{Crowd, Setter, Waker},
    serve::Greeting,
};

/// Parameters `k0` to `k15` of each machine.
pub(crate) const KEYS: usize = 16;

/// Its configuration, in its folder.
const CONFIG: &str = "coordinator.toml";

/// A coordinator with a folder of its own.
pub(crate) struct Ours {
    pub(crate) process: Process,
    pub(crate) contexts: mpsc::UnboundedReceiver<Context>,
    greeting: Greeting,
    folder: tempfile::TempDir,
}

impl Ours {
    pub(crate) async fn start(data: &Path) -> anyhow::Result<Self> {
        let ours = Ours::start_on(data, "")?;
        let client = ours.client().await?;
        for module in modules() {
            client.put_module(&module).await?;
        }
        Ok(ours)
    }

    /// The same without any modules, and with these clouds of its configuration beside the one that is played.
    pub(crate) fn start_on(data: &Path, clouds: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("ours-").tempdir_in(data)?;
        let config = folder.path().join(CONFIG);
        let data = std::path::absolute(folder.path())?.join("data");
        let anywhere = "127.0.0.1:0";
        let text = format!(
            "data = {:?}\n[server]\nlisten = \"{anywhere}\"\nagent_listen = \"{anywhere}\"\n{clouds}",
            data.display().to_string()
        );
        std::fs::write(&config, text)?;
        Ours::open(folder)
    }

    /// Ends it as an administrator would, and starts it again with what it has kept. Says how long it took
    /// until it served.
    pub(crate) fn restart(self) -> anyhow::Result<(Self, Duration)> {
        let Ours { mut process, folder, .. } = self;
        process.stop()?;
        let began = Instant::now();
        Ok((Ours::open(folder)?, began.elapsed()))
    }

    fn open(folder: tempfile::TempDir) -> anyhow::Result<Self> {
        let config = folder.path().join(CONFIG);
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("coordinator").arg(&config).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Process::start("the coordinator", &mut command)?;
        let mut lines = BufReader::new(process.child.stdout.take().context("its output is a pipe")?).lines();
        let first = lines.next().context("the coordinator does not start")??;
        let greeting: Greeting = serde_json::from_str(&first)?;
        let (sender, contexts) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            // Until it ends, or nobody wants them any more.
            for line in lines.map_while(Result::ok) {
                let Ok(context) = serde_json::from_str(&line) else { continue };
                if sender.send(context).is_err() {
                    break;
                }
            }
        });
        Ok(Ours { process, contexts, greeting, folder })
    }

    /// Where it keeps its data.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection that only sets and waits.
    pub(crate) async fn rest(&self) -> anyhow::Result<Rest> {
        Rest::connect(&self.greeting).await
    }

    /// A client with a connection of its own.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let Greeting { api, token, authority } = &self.greeting;
        let client = Client::new(api, token, authority, Limits::default())?;
        // Opens the connection, or the first requests would each open one.
        client.health().await?;
        Ok(client)
    }

    /// Starts a run of so many machines; nobody plays them yet.
    pub(crate) async fn launch(&self, client: &Client, machines: u32) -> anyhow::Result<String> {
        self.launch_of(client, "bench/system", machines).await
    }

    /// The same with another application, of one node `worker`.
    pub(crate) async fn launch_of(&self, client: &Client, module: &str, machines: u32) -> anyhow::Result<String> {
        let count = [("worker".to_owned(), machines)].into();
        let launch = LaunchRequest { module: module.to_owned(), count, ..LaunchRequest::default() };
        let run = client.launch(&launch, &uuid::Uuid::now_v7().to_string()).await?;
        Ok(run.summary.id.to_string())
    }

    /// The machines of a run, with their links open and nothing else.
    pub(crate) async fn agents(&mut self, machines: usize) -> anyhow::Result<Vec<Agent>> {
        let mut agents = Vec::new();
        for _ in 0..machines {
            let context = self.contexts.recv().await.context("the coordinator has ended")?;
            agents.push(Agent::start(&context).await?);
        }
        agents.sort_by_key(|agent| agent.instance.to_string());
        Ok(agents)
    }
}

fn modules() -> [String; 3] {
    let image = "slipstream: 1\nkind: image\nname: bench/image\nnative: { bench: played }\nplatform: other\n";
    let publish: String = (0..KEYS).map(|n| format!("  k{n}: {{ help: measured }}\n")).collect();
    let worker = format!(
        "slipstream: 1\nkind: component\nname: bench/worker\nimage: bench/image\npublish:\n{publish}\
         deploy: |\n  #!/bin/sh\n  true\n"
    );
    let system = "slipstream: 1\nkind: application\nname: bench/system\nnodes:\n  worker:\n    use: bench/worker\n    cloud: bench\n    count: { default: 1, max: 300 }\n";
    [image.to_owned(), worker, system.to_owned()]
}

/// The n-th parameter of a run.
pub(crate) fn key(n: usize) -> anyhow::Result<Key> {
    Ok(format!("worker.{}:k{}", n / KEYS + 1, n % KEYS).parse()?)
}

/// Sets through the API.
pub(crate) struct RestSetter {
    pub(crate) rest: Rest,
    pub(crate) run: String,
    pub(crate) key: Key,
}

#[async_trait]
impl Setter for RestSetter {
    async fn set(&mut self, value: &str) -> anyhow::Result<()> {
        self.rest.set(&self.run, &self.key, value).await
    }
}

/// Waits for the next write of a parameter by long polls.
pub(crate) struct RestWaker {
    rest: Rest,
    run: String,
    key: Key,
    seen: u64,
    waiting: JoinSet<anyhow::Result<(Instant, u64)>>,
}

impl RestWaker {
    pub(crate) fn new(rest: Rest, run: &str, key: Key) -> Self {
        RestWaker { rest, run: run.to_owned(), key, seen: 0, waiting: JoinSet::new() }
    }
}

#[async_trait]
impl Waker for RestWaker {
    async fn arm(&mut self) -> anyhow::Result<()> {
        let (rest, run, key, seen) = (self.rest.clone(), self.run.clone(), self.key.clone(), self.seen);
        self.waiting.spawn(async move {
            let seen = rest.newer(&run, &key, seen).await?;
            Ok((Instant::now(), seen))
        });
        Ok(())
    }

    async fn woken(&mut self) -> anyhow::Result<Instant> {
        let (at, seen) = self.waiting.join_next().await.context("it was not armed")???;
        self.seen = seen;
        Ok(at)
    }
}

/// Sets over a link.
#[async_trait]
impl Setter for (Agent, Key) {
    async fn set(&mut self, value: &str) -> anyhow::Result<()> {
        let (agent, key) = self;
        let set = Change::Set { key: key.clone(), value: Some(value.to_owned()), ignore_abort: false };
        let number = agent.change(set);
        agent.done(number).await
    }
}

/// Waits for the next write of a parameter over a link, as often at a time as told.
pub(crate) struct LinkWaker {
    agent: Agent,
    key: Key,
    seen: u64,
    waits: u64,
    number: u64,
}

impl LinkWaker {
    pub(crate) fn new(agent: Agent, key: Key, waits: u64) -> Self {
        LinkWaker { agent, key, seen: 0, waits, number: 0 }
    }
}

#[async_trait]
impl Waker for LinkWaker {
    async fn arm(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.waits {
            self.number += 1;
            let conditions = vec![format!("{}@{}", self.key, self.seen)];
            self.agent.say(&Up::Wait { id: self.number, conditions, ignore_abort: false });
        }
        // Lines are answered in order: once this is, the coordinator knows of the waits.
        self.number += 1;
        let last = self.number;
        self.agent.say(&Up::Get { id: last, key: self.key.clone(), wait: false, ignore_abort: true });
        while !matches!(self.agent.hear().await?, Down::Answer { id, .. } if id == last) {}
        Ok(())
    }

    async fn woken(&mut self) -> anyhow::Result<Instant> {
        let mut left = self.waits;
        while left > 0 {
            match self.agent.hear().await? {
                Down::Answer { reply: Reply::Met { seq }, .. } => {
                    (left, self.seen) = (left - 1, seq);
                }
                Down::Answers { ids, reply: Reply::Met { seq } } => {
                    (left, self.seen) = (left - ids.len() as u64, seq);
                }
                Down::Answer { reply, .. } => anyhow::bail!("no wait ended so: {reply:?}"),
                _ => {}
            }
        }
        Ok(Instant::now())
    }
}

/// Many that wait for the same.
pub(crate) struct Many<W> {
    pub(crate) wakers: Vec<W>,
    waiting: JoinSet<anyhow::Result<(Instant, W)>>,
}

impl<W> Many<W> {
    pub(crate) fn new(wakers: Vec<W>) -> Self {
        Many { wakers, waiting: JoinSet::new() }
    }
}

#[async_trait]
impl<W: Waker + 'static> Crowd for Many<W> {
    async fn arm(&mut self) -> anyhow::Result<()> {
        for mut waker in self.wakers.drain(..) {
            waker.arm().await?;
            self.waiting.spawn(async move { waker.woken().await.map(|at| (at, waker)) });
        }
        Ok(())
    }

    async fn last_woken(&mut self) -> anyhow::Result<Instant> {
        let mut last = None;
        while let Some(woken) = self.waiting.join_next().await {
            let (at, waker) = woken??;
            last = last.max(Some(at));
            self.wakers.push(waker);
        }
        last.context("nobody waits")
    }
}
