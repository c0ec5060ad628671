//! The real coordinator as a process.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use slipstream_shared::{
    api::{LaunchRequest, RunDetail},
    client::Client,
    http::Limits,
    state::RunState,
};

use crate::{eventually, eventually_within, processes_of, program};

/// How to start one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A folder of images: adds the cloud `local`.
    pub images: Option<PathBuf>,
    /// A folder of its data that is a disk of its own, and the size of that, such as `("store", "24m")`. Only
    /// this coordinator and what it starts see it; only root can have it.
    pub disk: Option<(&'static str, &'static str)>,
    /// Where it looks for programs, instead of where we do.
    pub path: Option<&'static str>,
    /// What it logs, as in `RUST_LOG`.
    pub log: Option<&'static str>,
    /// The bug it is to have, where it was built with the feature `planted-bugs`.
    pub bug: Option<&'static str>,
}

/// A coordinator with a folder, ports and processes of its own. They go with it.
#[derive(Debug)]
pub struct Coordinator {
    folder: Option<tempfile::TempDir>,
    options: Options,
    ports: [u16; 2],
    child: Option<Child>,
}

impl Coordinator {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// It does not start; its log is shown.
    pub async fn start(options: Options) -> Self {
        let folder = tempfile::Builder::new().prefix("ss-test-").tempdir().expect("a temporary folder");
        let mut coordinator = Coordinator { folder: Some(folder), options, ports: free_ports(), child: None };
        coordinator.restart().await;
        coordinator
    }

    /// Its folder.
    ///
    /// # Panics
    /// Never while it exists.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.as_ref().expect("kept until the end").path().join("data")
    }

    /// The profile for the command line.
    #[must_use]
    pub fn profile(&self) -> PathBuf {
        self.data().join("cli.toml")
    }

    /// Its process id.
    ///
    /// # Panics
    /// It was killed.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Kills it without a word, as a crash would.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Stops it as an operator would, and waits until it has ended.
    ///
    /// # Panics
    /// It does not run, or does not end well.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it can be told");
        let end = child.wait().expect("it ends");
        assert!(end.success(), "{end}:\n{}", self.log());
    }

    /// Starts it again in the same folder on the same ports, and waits until it answers.
    ///
    /// # Panics
    /// It does not start; its log is shown.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let data = self.data();
        let log = self.log_path();
        let log_file = File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = self.command();
        command.args(["serve", "--dev", "--data"]).arg(&data);
        command.args(["--listen", &address(self.ports[0]), "--agent-listen", &address(self.ports[1])]);
        command.envs(self.options.path.map(|path| ("PATH", path)));
        command.envs(self.options.log.map(|filter| ("RUST_LOG", filter)));
        command.envs(self.options.bug.map(|bug| ("SLIPSTREAM_PLANTED_BUG", bug)));
        if let Some(images) = &self.options.images {
            command.arg("--images").arg(images);
        }
        let err = log_file.try_clone().expect("a second handle");
        command.stdin(Stdio::null()).stdout(log_file).stderr(err);
        self.child = Some(command.spawn().expect("the coordinator starts"));
        eventually("the coordinator answers", || async {
            let child = self.child.as_ref().expect("started");
            assert!(alive(child.id()), "the coordinator has ended:\n{}", self.log());
            fs::metadata(self.profile()).ok()?;
            self.client().health().await.ok()
        })
        .await;
    }

    /// The program, or what starts it on a small disk in the same process.
    fn command(&self) -> Command {
        let program = program("slipstream-coordinator");
        let Some((folder, size)) = self.options.disk else { return Command::new(program) };
        let mount = "mkdir -p \"$0\" && mount -t tmpfs -o \"size=$1,mode=700\" none \"$0\" && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", mount]).arg(self.data().join(folder)).arg(size).arg(program);
        command
    }

    /// Where a path of the coordinator is to us, whatever it has mounted.
    #[must_use]
    pub fn seen_by_it(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn log_path(&self) -> PathBuf {
        self.folder.as_ref().expect("kept until the end").path().join("coordinator.log")
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A client of it.
    ///
    /// # Panics
    /// Its profile is unreadable.
    #[must_use]
    pub fn client(&self) -> Client {
        let text = fs::read_to_string(self.profile()).expect("it has written its profile");
        let profile: toml::Table = text.parse().expect("TOML");
        let get = |name: &str| profile.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        Client::new(&get("url"), &get("token"), &get("authority"), Limits::default()).expect("a good profile")
    }

    /// Puts all modules of an example.
    ///
    /// # Panics
    /// One is refused.
    pub async fn put_example(&self, example: &Path) {
        let mut files: Vec<PathBuf> = fs::read_dir(example).expect("the example").flatten().map(|e| e.path()).collect();
        let rank = |p: &PathBuf| {
            let text = fs::read_to_string(p).unwrap_or_default();
            ["kind: image", "kind: component", "kind: application"].iter().position(|kind| text.contains(kind))
        };
        files.sort_by_key(rank);
        for file in files {
            let text = fs::read_to_string(&file).expect("readable");
            self.client().put_module(&text).await.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
    }

    /// Launches a module.
    ///
    /// # Panics
    /// It is refused.
    pub async fn launch(&self, module: &str) -> String {
        let request = LaunchRequest { module: module.to_owned(), ..LaunchRequest::default() };
        let key = format!("{module}-{}", self.client().runs(None, 1000).await.expect("listed").items.len());
        self.client().launch(&request, &key).await.expect("accepted").summary.id.to_string()
    }

    /// Waits until a run is in a state.
    ///
    /// # Panics
    /// It does not come there within `limit`; the run and the log are shown.
    pub async fn wait_for(&self, run: &str, state: RunState, limit: Duration) -> RunDetail {
        let what = format!("run {run} is {state}");
        let client = self.client();
        let look =
            || async { client.run(run).await.ok().filter(|d| d.summary.state == state || d.summary.state.is_final()) };
        let detail = eventually_within(limit, &what, look).await;
        assert_eq!(detail.summary.state, state, "{detail:#?}\n{}", self.log());
        detail
    }

    /// The folders of all machines on this host: `clouds/<cloud>/<run>/ss-...`.
    #[must_use]
    pub fn machines(&self) -> Vec<PathBuf> {
        machines_below(&self.data())
    }

    /// Checks that nothing is left of any run: no process, no machine folder.
    ///
    /// # Panics
    /// Something is; it is named.
    pub async fn assert_nothing_left(&self) {
        let own = self.child.as_ref().map(|c| i32::try_from(c.id()).unwrap_or(0));
        eventually("only the coordinator is left running", || async {
            let left: Vec<_> = processes_of(&self.data()).into_iter().filter(|p| Some(p.pid) != own).collect();
            left.is_empty().then_some(())
        })
        .await;
        let left = self.machines();
        assert!(left.is_empty(), "left: {left:?}");
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for process in self.folder.iter().flat_map(|f| processes_of(f.path())) {
            process.kill();
        }
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("the folder of the failed test is kept: {}", folder.keep().display());
        }
    }
}

/// The folders of all machines of a coordinator with that data.
#[must_use]
pub fn machines_below(data: &Path) -> Vec<PathBuf> {
    let below = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let machine = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains("ss-"));
    below(data.join("clouds")).flat_map(below).flat_map(below).filter(machine).collect()
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Two free ports that stay the same over restarts. Held at once, so that they differ.
fn free_ports() -> [u16; 2] {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|l| l.local_addr().expect("bound").port())
}

fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "))
}
