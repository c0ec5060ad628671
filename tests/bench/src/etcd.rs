//! etcd, as Debian has it, on this machine, and clients of it.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};

use crate::{
    connection::{Connection, pieces, whole},
    grpc::{self, Messages, PutRequest, PutResponse, WatchCreate, WatchRequest, WatchResponse},
    process::Process,
    scene::{Crowd, Setter, Waker},
};

/// How long it may take to serve.
const START: Duration = Duration::from_secs(30);

/// A server of its own, with a folder of its own.
pub(crate) struct Etcd {
    pub(crate) process: Process,
    _folder: tempfile::TempDir,
    port: u16,
}

impl Etcd {
    pub(crate) async fn start(data: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("etcd-").tempdir_in(data)?;
        let held = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [port, peers] = [held[0].local_addr()?.port(), held[1].local_addr()?.port()];
        drop(held);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut command = Command::new("etcd");
        command
            .arg("--data-dir")
            .arg(folder.path())
            .args(["--listen-client-urls", &url(port), "--advertise-client-urls", &url(port)])
            .args(["--listen-peer-urls", &url(peers), "--initial-advertise-peer-urls", &url(peers)])
            .args(["--initial-cluster", &format!("default={}", url(peers)), "--logger", "zap", "--log-level", "error"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start("etcd", &mut command).context("is the package etcd-server installed?")?;
        let etcd = Etcd { process, _folder: folder, port };
        let began = Instant::now();
        while etcd.set_once().await.is_err() {
            ensure!(began.elapsed() < START, "etcd does not serve within {} s", START.as_secs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(etcd)
    }

    async fn set_once(&self) -> anyhow::Result<()> {
        tokio::time::timeout(Duration::from_secs(2), async { self.setter("first").await?.set("1").await }).await?
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await?;
        tcp.set_nodelay(true)?;
        Connection::over(tcp).await
    }

    /// A client with a connection of its own that sets one key.
    pub(crate) async fn setter(&self, key: &str) -> anyhow::Result<Box<dyn Setter>> {
        Ok(Box::new(Put { connection: self.connect().await?, key: key.as_bytes().to_vec() }))
    }

    /// A client with a connection of its own that waits for one key.
    pub(crate) async fn waker(&self, key: &str) -> anyhow::Result<Box<dyn Waker>> {
        let connection = self.connect().await?;
        let watch = Watch::begin(&connection, key, 1).await?;
        Ok(Box::new(Watcher { watch, _connection: connection }))
    }

    /// `connections` times `each` waiters: each with a stream of its own, or all of a connection on one.
    pub(crate) async fn crowd(
        &self,
        key: &str,
        connections: usize,
        each: usize,
        own_stream: bool,
    ) -> anyhow::Result<Box<dyn Crowd>> {
        let mut crowd = Watchers { watches: vec![], waiting: JoinSet::new(), _connections: vec![] };
        let (streams, watches) = if own_stream { (each, 1) } else { (1, each) };
        for _ in 0..connections {
            let connection = self.connect().await?;
            for _ in 0..streams {
                crowd.watches.push(Watch::begin(&connection, key, watches).await?);
            }
            crowd._connections.push(connection);
        }
        Ok(Box::new(crowd))
    }
}

struct Put {
    connection: Connection,
    key: Vec<u8>,
}

#[async_trait]
impl Setter for Put {
    async fn set(&mut self, value: &str) -> anyhow::Result<()> {
        let put = PutRequest { key: self.key.clone(), value: value.as_bytes().to_vec() };
        let body = whole(grpc::frame(&put));
        grpc::call(&self.connection, "etcdserverpb.KV/Put", body).await?.next::<PutResponse>().await?;
        Ok(())
    }
}

/// A stream with some watches on it.
struct Watch {
    messages: Messages,
    watches: usize,
    // The call ends with it.
    _requests: mpsc::UnboundedSender<Bytes>,
}

impl Watch {
    async fn begin(connection: &Connection, key: &str, watches: usize) -> anyhow::Result<Self> {
        let (requests, body) = pieces();
        let create = WatchRequest { create: Some(WatchCreate { key: key.as_bytes().to_vec() }) };
        for _ in 0..watches {
            let _ = requests.send(grpc::frame(&create));
        }
        let mut messages = grpc::call(connection, "etcdserverpb.Watch/Watch", body).await?;
        for _ in 0..watches {
            let answer: WatchResponse = messages.next().await?;
            ensure!(answer.created, "etcd does not watch: {answer:?}");
        }
        Ok(Watch { messages, watches, _requests: requests })
    }

    /// Returns when all its watches have seen a change.
    async fn woken(&mut self) -> anyhow::Result<Instant> {
        let mut seen = 0;
        while seen < self.watches {
            let answer: WatchResponse = self.messages.next().await?;
            ensure!(!answer.canceled, "etcd has ended a watch: {answer:?}");
            seen += answer.events.len();
        }
        Ok(Instant::now())
    }
}

struct Watcher {
    watch: Watch,
    _connection: Connection,
}

#[async_trait]
impl Waker for Watcher {
    async fn arm(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn woken(&mut self) -> anyhow::Result<Instant> {
        self.watch.woken().await
    }
}

struct Watchers {
    watches: Vec<Watch>,
    waiting: JoinSet<anyhow::Result<(Instant, Watch)>>,
    _connections: Vec<Connection>,
}

#[async_trait]
impl Crowd for Watchers {
    async fn arm(&mut self) -> anyhow::Result<()> {
        for mut watch in self.watches.drain(..) {
            self.waiting.spawn(async move { watch.woken().await.map(|at| (at, watch)) });
        }
        Ok(())
    }

    async fn last_woken(&mut self) -> anyhow::Result<Instant> {
        let mut last = None;
        while let Some(woken) = self.waiting.join_next().await {
            let (at, watch) = woken??;
            last = last.max(Some(at));
            self.watches.push(watch);
        }
        last.context("nobody waits")
    }
}
