//! A machine of the cloud `processes` whose agent and link a test can break.

use std::{
    fs,
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use slipstream_shared::context::Context;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::{Coordinator, Process, eventually, processes_of, program};

/// A machine whose agent was taken over from its cloud.
#[derive(Debug)]
pub struct Machine {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    socket: PathBuf,
    child: Option<Child>,
    /// Between its agent and the coordinator.
    pub proxy: Proxy,
}

impl Machine {
    /// Takes the agent of an instance over: it is started again with its link through a [`Proxy`].
    ///
    /// # Panics
    /// There is none.
    pub async fn take_over(coordinator: &Coordinator, run: &str, instance: &str) -> Self {
        // Until then its cloud looks often, and a moment without its process would be the end of the machine.
        let known = ["vmstate=Running", "address"].map(|what| format!("{instance}:{what}").parse().expect("valid"));
        coordinator.client().wait(run, &known, false, std::time::Duration::from_secs(60)).await.expect("it runs");
        let name = format!("-{}-", instance.replace('.', "-"));
        let machines = coordinator.machines();
        let found = machines.into_iter().find(|path| path.display().to_string().contains(&name));
        let folder = found.unwrap_or_else(|| panic!("no machine of {instance}"));
        let boots = |p: &Process| p.command.contains(" boot ") && p.command.contains(&folder.display().to_string());
        let running = processes_of(&folder).into_iter().find(boots).expect("its agent runs");
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", running.pid)).expect("readable");
        let arguments: Vec<String> = read("cmdline").split('\0').skip(1).map(str::to_owned).collect();
        let arguments = arguments[..arguments.len() - 1].to_vec();
        let pair = |text: &str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = read("environ").split('\0').filter_map(pair).collect();
        let after = |option: &str| {
            let at = arguments.iter().position(|a| a == option).expect("started with it");
            PathBuf::from(&arguments[at + 1])
        };
        let (context_file, socket) = (after("--context"), after("--run-dir").join("agent.sock"));
        let mut context = Context::from_user_data(&fs::read(&context_file).expect("readable")).expect("ours");
        let port = context.urls[0].rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], port))).await;
        context.urls = vec![format!("https://127.0.0.1:{}", proxy.port)];
        fs::write(&context_file, context.to_user_data().expect("small")).expect("writable");
        let mut machine = Machine { arguments, environment, folder, socket, child: None, proxy };
        running.kill();
        // It is no child of ours to wait for; as long as it answers, no other one starts.
        eventually("its agent has ended", || async { UnixStream::connect(machine.socket()).is_err().then_some(()) })
            .await;
        machine.restart().await;
        machine
    }

    /// Its agent's process.
    ///
    /// # Panics
    /// It was killed.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Kills its agent without a word.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Starts its agent again, and waits until it is connected.
    ///
    /// # Panics
    /// It does not start.
    pub async fn restart(&mut self) {
        self.start();
        eventually("the agent is connected", || async {
            let output = self.command(&["status"]).output().expect("runs");
            String::from_utf8_lossy(&output.stdout).contains("link      up").then_some(())
        })
        .await;
    }

    /// Starts its agent again.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = fs::File::options().create(true).append(true).open(self.folder.join("taken-over.log"));
        let log = log.expect("a log");
        let mut command = Command::new(program("slipstream-agent"));
        command.args(&self.arguments).env_clear().envs(self.environment.iter().map(|(n, v)| (n, v)));
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("it starts"));
    }

    /// One of its commands, as a script would call it.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("slipstream-agent"));
        command.args(arguments).env("SLIPSTREAM_SOCKET", &self.socket).stdin(Stdio::null());
        command
    }

    /// Where its agent listens.
    #[must_use]
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Carries TCP connections, until it is told to cut them.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    up: watch::Sender<bool>,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (up, watched) = watch::channel(true);
        let (open, accepted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&open), Arc::clone(&accepted));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, to, watched.clone(), Arc::clone(&counts.0), Arc::clone(&counts.1)));
                while connections.try_join_next().is_some() {}
            }
        });
        Proxy { port, up, open, accepted, _tasks: tasks }
    }

    /// Cuts all connections and carries no others.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Carries connections again.
    pub fn mend(&self) {
        self.up.send_replace(true);
    }

    /// How many connections it carries now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// How many it has carried.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn carry(
    mut client: TcpStream,
    to: SocketAddr,
    mut up: watch::Receiver<bool>,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
) {
    if !*up.borrow_and_update() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(to).await else { return };
    accepted.fetch_add(1, Ordering::SeqCst);
    open.fetch_add(1, Ordering::SeqCst);
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = up.wait_for(|up| !up) => {}
    }
    open.fetch_sub(1, Ordering::SeqCst);
}
