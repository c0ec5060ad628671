//! The daemon: wires context, identity, link, steps and socket together.
//!
//! Nothing here ends the process but a signal, or the certainty that this machine belongs to no run: a
//! daemon that was refused stays for `status`, so that no supervisor starts it over and over.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use slipstream_shared::{context::Context, link::Boot, parameter::Key};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::task::TaskTracker;

use crate::{
    connect::Dialer,
    context::{self, Found, LOOK_FOR, LOOK_SLOWLY},
    durable::remedy,
    enrol,
    identity::{Identity, IdentityError},
    link::{
        Link,
        keep::{Current, keep},
    },
    scrub::Scrub,
    seen::Seen,
    socket::server,
    state::Folder,
    step,
    system::{self, System},
    tls::{self, Trust},
    trouble::{Trouble, say},
};

/// What `boot` was told.
#[derive(Debug, Clone)]
pub struct Options {
    /// A file with the context, instead of looking for one.
    pub context: Option<PathBuf>,
    /// What must survive a reboot.
    pub state_dir: PathBuf,
    /// What must not.
    pub run_dir: PathBuf,
    /// The machine.
    pub root: PathBuf,
}

/// How far the daemon has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Looks for the context.
    Looking,
    /// Asks for its certificate.
    Enrolling,
    /// Waits for its plan or for a step's values.
    Waiting,
    /// Runs a step.
    Deploying,
    /// All steps have succeeded; the ready check is tried.
    Checking,
    /// The ready check has passed.
    Ready,
    /// A step or the ready check has failed.
    Failed,
    /// Nothing more will happen.
    Stopped,
}

impl Stage {
    /// True when `status --wait` need not wait any longer.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Stage::Ready | Stage::Failed | Stage::Stopped)
    }
}

/// What `status` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// How far it has come.
    pub stage: Stage,
    /// More about it: the step, or what is wrong.
    pub detail: String,
    /// The run, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The instance, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// `up`, or why the coordinator can not be talked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Why the run is aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<String>,
}

/// What the socket needs, from the first moment on.
#[derive(Debug)]
pub struct Daemon {
    /// Its options.
    pub options: Options,
    /// How far it has come.
    pub status: watch::Sender<Status>,
    /// The agent, once the context is known.
    pub agent: OnceLock<Arc<Agent>>,
}

/// What everything needs once the context is known.
#[derive(Debug)]
pub struct Agent {
    /// Who this machine is.
    pub context: Context,
    /// Its files.
    pub folder: Folder,
    /// Where the socket and the command names are.
    pub run_dir: PathBuf,
    /// The machine.
    pub system: System,
    /// False where it was started with a context, and runs on somebody's machine.
    pub own_machine: bool,
    /// The coordinator.
    pub link: Link,
    /// The connection of the link, for short calls.
    pub connection: Current,
    /// The values seen last.
    pub seen: Seen,
    /// The secrets that scripts know, so that they can be kept out of logs.
    pub scrub: Scrub,
    /// Work that outlives the step it began in.
    pub tasks: TaskTracker,
    /// How far it has come.
    pub status: watch::Sender<Status>,
}

impl Agent {
    /// True for a parameter whose value is neither kept on this machine nor shown.
    pub fn is_secret(&self, key: &Key) -> bool {
        self.link.plan().borrow().as_ref().is_some_and(|plan| plan.secrets.contains(key))
    }

    /// Says how far it has come.
    pub fn stage(&self, stage: Stage, detail: &str) {
        set_stage(&self.status, stage, detail);
    }
}

fn set_stage(status: &watch::Sender<Status>, stage: Stage, detail: &str) {
    status.send_modify(|status| {
        status.stage = stage;
        detail.clone_into(&mut status.detail);
    });
}

/// Why the daemon can not go on.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A folder or file does not work.
    #[error("cannot use {path}: {source}{}", remedy(.source))]
    Disk {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent answers on the socket.
    #[error("an agent is running already: {0} answers")]
    Running(PathBuf),
}

/// Runs the daemon until `stop` resolves, or until it is certain that this machine belongs to no run.
///
/// # Errors
/// See [`BootError`].
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), BootError> {
    let status = Status {
        stage: Stage::Looking,
        detail: "looking for the contextualization data".to_owned(),
        run: None,
        instance: None,
        link: None,
        abort: None,
    };
    let daemon = Arc::new(Daemon { options, status: watch::Sender::new(status), agent: OnceLock::new() });
    let listener = server::listen(&daemon.options.run_dir)?;
    tokio::select! {
        () = stop => Ok(()),
        never = server::serve(&daemon, listener) => match never {},
        ended = live(&daemon) => ended,
    }
}

/// The life of the daemon. Returns only when there is nothing to do on this machine.
async fn live(daemon: &Daemon) -> Result<(), BootError> {
    let system = System::new(daemon.options.root.clone());
    let context = match look(daemon, &system).await {
        Ok(Some(context)) => context,
        Ok(None) => return Ok(()),
        Err(line) => return idle(daemon, &system, &line).await,
    };
    let agent = prepare(daemon, context, system)?;
    let agent = daemon.agent.get_or_init(|| Arc::new(agent));
    let disk = |source| BootError::Disk { path: agent.folder.base().to_owned(), source };
    if !agent.folder.is_of(&agent.system.platform()).map_err(disk)? {
        let line = "this is a copy of a machine that has enrolled already: held, nothing is run";
        return idle(daemon, &agent.system, line).await;
    }
    let identity = match Identity::open(agent.folder.base()) {
        Ok(identity) => identity,
        // It may have space again when the supervisor tries next.
        Err(IdentityError::Disk { folder, source }) => return Err(BootError::Disk { path: folder, source }),
        Err(e) => return idle(daemon, &agent.system, &e.to_string()).await,
    };
    let trust = Trust { pin: agent.context.pin.clone(), issued: agent.context.issued };
    if tls::clock_is_behind(&trust) {
        say("the clock is behind; certificates are judged by the time of the contextualization data");
    }
    let dialer = Dialer::new(&agent.context);
    let boot = Boot { id: agent.system.boot_id(), made: agent.link.made() };
    let enrolment = Enrolment { agent, trust: &trust, dialer: &dialer, identity: &identity, boot: &boot };
    let (enrolled, ()) = tokio::join!(enrolment.enrolled(), addresses(agent));
    if let Err(line) = enrolled {
        return idle(daemon, &agent.system, &line).await;
    }
    let config = || {
        let client = identity.client().ok().flatten();
        Arc::new(tls::config(&trust, client).expect("the certificate was issued for this key"))
    };
    agent.stage(Stage::Waiting, "for the plan");
    tokio::select! {
        refused = enrolment.renewed() => idle(daemon, &agent.system, &refused).await,
        reason = keep(&agent.link, &dialer, config, &boot, &agent.connection) => {
            idle(daemon, &agent.system, &format!("the coordinator needs this machine no longer: {reason}")).await
        }
        never = step::run(agent) => match never {},
        never = mirror(agent) => match never {},
    }
}

/// Says a line that an administrator must see: in the journal, and on the console of the machine, unless
/// somebody who named the context has started this agent on a machine that is not its own.
fn announce(daemon: &Daemon, system: &System, line: &str) {
    say(line);
    if daemon.options.context.is_none() {
        system.say_on_console(line);
    }
}

/// Stays for `status`.
async fn idle(daemon: &Daemon, system: &System, line: &str) -> Result<(), BootError> {
    announce(daemon, system, line);
    set_stage(&daemon.status, Stage::Stopped, line);
    std::future::pending().await
}

/// Finds the context. `None`: this machine has none. An error is the line to show.
async fn look(daemon: &Daemon, system: &System) -> Result<Option<Context>, String> {
    if let Some(path) = &daemon.options.context {
        return context::from_file(path).map(Some).map_err(|e| format!("{}: {e}", path.display()));
    }
    let began = Instant::now();
    let mut trouble = Trouble::new("find the context", Duration::from_millis(200), Duration::from_secs(5));
    loop {
        let root = system.clone();
        let found = tokio::task::spawn_blocking(move || context::find(&root)).await;
        match found.expect("sources do not panic") {
            Found::Context(context, source) => {
                say(format_args!("context of {} in run {} found: {source}", context.instance, context.run));
                return Ok(Some(*context));
            }
            Found::Unusable(e, source) => return Err(format!("{source}: {e}")),
            Found::Absent => {
                let line = "no contextualization data: this machine belongs to no run, nothing to do";
                announce(daemon, system, line);
                return Ok(None);
            }
            Found::Unknown(why) => {
                set_stage(&daemon.status, Stage::Looking, &why);
                let delay = trouble.failed(&why);
                sleep(if began.elapsed() < LOOK_FOR { delay } else { LOOK_SLOWLY }).await;
            }
        }
    }
}

fn prepare(daemon: &Daemon, context: Context, system: System) -> Result<Agent, BootError> {
    let Options { state_dir, run_dir, .. } = &daemon.options;
    let disk = |source| BootError::Disk { path: state_dir.clone(), source };
    let folder = Folder::open(state_dir, &context.run, &context.instance).map_err(disk)?;
    let link = Link::open(&folder.file("ops")).map_err(disk)?;
    step::commands::make(run_dir).map_err(|source| BootError::Disk { path: run_dir.clone(), source })?;
    daemon.status.send_modify(|status| {
        status.run = Some(context.run.to_string());
        status.instance = Some(context.instance.to_string());
    });
    Ok(Agent {
        context,
        folder,
        run_dir: run_dir.clone(),
        system,
        own_machine: daemon.options.context.is_none(),
        link,
        connection: Current::new(None),
        seen: Seen::default(),
        scrub: Scrub::default(),
        tasks: TaskTracker::new(),
        status: daemon.status.clone(),
    })
}

/// How this machine gets its certificates.
struct Enrolment<'a> {
    agent: &'a Agent,
    trust: &'a Trust,
    dialer: &'a Dialer,
    identity: &'a Identity,
    boot: &'a Boot,
}

impl Enrolment<'_> {
    /// Sees to it that there is a certificate of this boot. An error is the line to show: trying again is pointless.
    async fn enrolled(&self) -> Result<(), String> {
        let mut trouble = Trouble::new("enrol", Duration::from_millis(200), Duration::from_secs(10));
        while !self.has_certificate().map_err(|e| e.to_string())? {
            self.agent.stage(Stage::Enrolling, "");
            match self.ask().await {
                Ok(()) => trouble.over(),
                Err(e) if e.may_pass() => {
                    let cause = e.to_string();
                    self.agent.stage(Stage::Enrolling, &cause);
                    sleep(trouble.failed(&cause)).await;
                }
                Err(e) => return Err(e.to_string()),
            }
        }
        Ok(())
    }

    fn has_certificate(&self) -> Result<bool, IdentityError> {
        let of_this_boot = self.identity.terms().is_some_and(|terms| terms.boot == self.boot.id);
        Ok(self.identity.client()?.is_some() && of_this_boot)
    }

    /// Renews the certificate whenever it is time to, also when that has passed while this machine was paused.
    /// Returns when there will be no other one, with the reason. The link goes on with what it has: the new one
    /// is shown with the next connection.
    async fn renewed(&self) -> String {
        let mut trouble = Trouble::new("renew the certificate", Duration::from_secs(1), Duration::from_secs(60));
        loop {
            let Some(renew_at) = self.identity.terms().and_then(|terms| terms.renew_at) else {
                // An older coordinator, which does not say.
                return std::future::pending().await;
            };
            let left = u64::try_from(renew_at - System::now().as_millisecond()).unwrap_or(0);
            if left > 0 {
                // By the time of day, which goes on while a machine is paused.
                sleep(Duration::from_millis(left).min(LOOK_AT_CLOCK)).await;
                continue;
            }
            match self.ask().await {
                Ok(()) => trouble.over(),
                Err(e) if e.may_pass() => sleep(trouble.failed(&e.to_string())).await,
                Err(e) => return e.to_string(),
            }
        }
    }

    async fn ask(&self) -> Result<(), enrol::EnrolError> {
        let Enrolment { agent, trust, dialer, identity, boot } = self;
        enrol::enrol(&agent.context, trust, dialer, identity, &agent.system, boot).await
    }
}

/// How often the time of day is looked at, while a certificate grows old.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);

/// How long to wait for an interface that the context names.
const INTERFACE_WITHIN: Duration = Duration::from_secs(30);

/// Sets the addresses the context gives to this machine's interfaces.
async fn addresses(agent: &Agent) {
    if agent.context.interfaces.is_empty() {
        return;
    }
    if !system::is_root() {
        return say("not root: the addresses of the contextualization data are not set");
    }
    let deadline = Instant::now() + INTERFACE_WITHIN;
    for (mac, address) in &agent.context.interfaces {
        let name = loop {
            match agent.system.interface(mac) {
                Some(name) => break Some(name),
                None if Instant::now() >= deadline => break None,
                None => sleep(Duration::from_millis(100)).await,
            }
        };
        match name.map(|name| (system::set_address(&name, address), name)) {
            Some((Ok(()), name)) => say(format_args!("{name} has {address}")),
            Some((Err(e), name)) => say(format_args!("cannot set {address} on {name}: {e}")),
            None => say(format_args!("no interface has the hardware address {mac}: {address} is not set")),
        }
    }
}

/// Shows link and abort in the status.
async fn mirror(agent: &Agent) -> std::convert::Infallible {
    use crate::link::Phase;
    let (mut phase, mut abort) = (agent.link.phase(), agent.link.abort());
    loop {
        let link = match phase.borrow_and_update().clone() {
            Phase::Up => "up".to_owned(),
            Phase::Away(why) | Phase::Gone(why) => why,
        };
        let reason = abort.borrow_and_update().clone();
        agent.status.send_modify(|status| (status.link, status.abort) = (Some(link), reason));
        tokio::select! {
            _ = phase.changed() => {}
            _ = abort.changed() => {}
        }
    }
}
