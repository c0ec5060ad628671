//! What is done on clouds, outside the actor, and what came of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use slipstream_shared::{
    context::{Context, VERSION},
    event::{Author, Event},
    id::{AttemptKey, InstanceId, RunId},
    link::Down,
};

use super::{
    World,
    actor::{Actor, Turn},
    handle::Message,
};
use crate::{
    cloud::{CloudError, Connector, LaunchRequest, Observed, UserData},
    run::{
        Machine,
        decide::{BOOT_DEADLINE, Command, MOST_ATTEMPTS},
        hardware::Changing,
    },
};

/// How long a cloud may take for one call.
const CALL_LIMIT: Duration = Duration::from_secs(300);

/// How often a lost answer is followed up within one launch.
const MOST_LOST_ANSWERS: u32 = 3;

/// What came of a command.
#[derive(Debug)]
pub(super) enum Outcome {
    Launched {
        instance: InstanceId,
        attempt: u32,
        result: Result<String, CloudError>,
    },
    Terminated {
        instance: InstanceId,
        result: Result<(), CloudError>,
    },
    Powered {
        instance: InstanceId,
        attempt: u32,
        on: bool,
        result: Result<(), CloudError>,
    },
    Changed {
        instance: InstanceId,
        attempt: u32,
        changing: Changing,
        result: Result<(), CloudError>,
    },
    Watched {
        cloud: String,
        result: Result<Vec<Observed>, CloudError>,
    },
    /// True: nothing is left anywhere.
    Released(Result<bool, CloudError>),
}

impl Actor {
    /// Starts those commands that are neither under way nor to be tried later.
    pub(super) fn start_commands(&mut self, commands: Vec<Command>) {
        let now = self.now();
        let wanted: std::collections::BTreeSet<&Command> = commands.iter().collect();
        self.retry.retain(|command, _| wanted.contains(command));
        self.watches.keep(&wanted);
        let run = &self.run;
        self.watches.asked_only(|id| run.owes_report(id));
        for command in commands {
            if self.running.contains(&command) || self.retry.get(&command).is_some_and(|(at, _)| *at > now) {
                continue;
            }
            match &command {
                Command::Launch(id) => self.start_launch(id, &command),
                // What is under way is awaited first, so that its machine is known, and stays gone.
                Command::Terminate(id) if !self.is_handled(id) => {
                    self.start_terminate(id, &command);
                }
                Command::Terminate(_) => {}
                Command::Power(id, on) => self.start_power(id, *on, &command),
                Command::Change(id) => self.start_change(id, &command),
                Command::Watch { cloud, soon } => self.start_watch(cloud, *soon, now),
                Command::Report => self.ask_for_reports(),
                Command::Release => self.start_release(&command),
            }
        }
    }

    /// True while a cloud is asked to make, to switch or to change the machine of an instance.
    fn is_handled(&self, id: &InstanceId) -> bool {
        let switches = [true, false].map(|on| Command::Power(id.clone(), on));
        let others = [Command::Launch(id.clone()), Command::Change(id.clone())];
        switches.iter().chain(&others).any(|command| self.running.contains(command))
    }

    pub(super) fn job<F>(&mut self, command: Option<&Command>, work: F)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.running.extend(command.cloned());
        let own = self.own.clone();
        self.world.seam.spawn(async move {
            let outcome = work.await;
            let _ = own.send(Message::Outcome(outcome)).await;
        });
    }

    fn start_launch(&mut self, id: &InstanceId, command: &Command) {
        let Some((connector, request)) = self.launch_request(id) else { return };
        let (instance, attempt) = (id.clone(), request.key.attempt);
        let first = self.tried.insert((instance.clone(), attempt));
        let world = Arc::clone(&self.world);
        self.job(Some(command), async move {
            let _permit = world.launching.acquire().await;
            Outcome::Launched { instance, attempt, result: launch(&*connector, &request, first).await }
        });
    }

    fn launch_request(&self, id: &InstanceId) -> Option<(Arc<dyn Connector>, LaunchRequest)> {
        let (node, instance) = (self.run.node(id)?, self.run.instances.get(id)?);
        let connector = Arc::clone(self.world.clouds.get(&node.cloud)?);
        let key = self.run.attempt_key(id, instance.attempt);
        let context = context(&self.world, &key, &connector.coordinator_hosts(), self.run.shown(instance.since));
        let (size, disks) = self.run.to_launch(id);
        let request = LaunchRequest {
            name: key.machine_name(),
            key,
            image: node.image.clone(),
            size,
            disks,
            network: node.network,
            ordinal: instance.ordinal,
            user_data: UserData(context),
        };
        Some((connector, request))
    }

    fn start_terminate(&mut self, id: &InstanceId, command: &Command) {
        let (Some(node), Some(instance)) = (self.run.node(id), self.run.instances.get(id)) else { return };
        let Some(connector) = self.world.clouds.get(&node.cloud).map(Arc::clone) else { return };
        let key = self.run.attempt_key(id, instance.attempt);
        let (native, instance) = (instance.native.clone(), id.clone());
        self.job(Some(command), async move {
            let result = bounded(terminate(&*connector, &key, native)).await;
            Outcome::Terminated { instance, result }
        });
    }

    fn start_watch(&mut self, cloud: &str, soon: bool, now: u64) {
        if !self.watches.begin(cloud, soon, now) {
            return;
        }
        let Some(connector) = self.world.clouds.get(cloud).map(Arc::clone) else { return };
        let (run, cloud) = (self.run.id, cloud.to_owned());
        self.job(None, async move {
            let result = bounded(connector.find(run)).await;
            Outcome::Watched { cloud, result }
        });
    }

    fn ask_for_reports(&mut self) {
        let ids: Vec<InstanceId> = self.run.instances.keys().filter(|id| self.wants_report(id)).cloned().collect();
        for id in ids {
            if self.watches.ask_once(&id) {
                self.links.tell(&id, Down::Report);
            }
        }
    }

    /// True when the report of an instance is due.
    pub(super) fn wants_report(&self, id: &InstanceId) -> bool {
        self.run.owes_report(id)
    }

    fn start_release(&mut self, command: &Command) {
        let clouds =
            self.run.clouds().into_iter().filter_map(|name| self.world.clouds.get(name)).map(Arc::clone).collect();
        let run = self.run.id;
        self.job(Some(command), async move { Outcome::Released(release(run, clouds).await) });
    }

    /// Records what came of a command.
    pub(super) fn outcome(&mut self, turn: &mut Turn, outcome: Outcome) {
        match outcome {
            Outcome::Launched { instance, attempt, result } => self.launched(turn, instance, attempt, result),
            Outcome::Terminated { instance, result } => {
                let command = Command::Terminate(instance);
                self.running.remove(&command);
                if self.run.state.is_final() {
                    return;
                }
                // Asked again if the machine is still there after a while.
                self.try_again(turn, command, result.err().as_ref(), 10_000);
            }
            Outcome::Powered { instance, attempt, on, result } => self.powered(turn, instance, attempt, on, result),
            Outcome::Changed { instance, attempt, changing, result } => {
                self.changed(turn, instance, attempt, &changing, result);
            }
            Outcome::Watched { cloud, result } => self.watched(turn, &cloud, result),
            Outcome::Released(result) => {
                self.running.remove(&Command::Release);
                // It may have been abandoned meanwhile.
                if self.run.state.is_final() {
                    return;
                }
                if let Ok(true) = result {
                    let state = self.run.final_state();
                    self.record(turn, Author::System, None, Event::StateChanged { state });
                } else {
                    self.try_again(turn, Command::Release, result.err().as_ref(), 500);
                }
            }
        }
    }

    fn launched(&mut self, turn: &mut Turn, instance: InstanceId, attempt: u32, result: Result<String, CloudError>) {
        self.running.remove(&Command::Launch(instance.clone()));
        if self.run.state.is_final()
            || self.run.instances.get(&instance).is_none_or(|i| i.attempt != attempt || i.machine != Machine::Intended)
        {
            return;
        }
        if result.is_ok() {
            self.note_remark(turn, &instance);
        }
        let event = match result {
            Ok(machine) => Event::Launched { instance, attempt, machine },
            Err(e) => {
                let retry = e.is_transient() && attempt < MOST_ATTEMPTS;
                Event::LaunchFailed { instance, attempt, reason: e.to_string(), retry }
            }
        };
        self.record(turn, Author::System, None, event);
    }

    /// Puts on record, once, what people should know about the machines of a cloud.
    fn note_remark(&mut self, turn: &mut Turn, instance: &InstanceId) {
        let connector = self.run.node(instance).and_then(|node| self.world.clouds.get(&node.cloud));
        let message = connector.and_then(|connector| connector.remark());
        if let Some(message) = message.filter(|m| !self.run.notes.contains(m)) {
            self.record(turn, Author::System, None, Event::Noted { message });
        }
    }

    /// Notes that a command is to be tried again, and records why it has failed.
    pub(super) fn try_again(&mut self, turn: &mut Turn, command: Command, error: Option<&CloudError>, least: u64) {
        let failed = self.retry.get(&command).map_or(0, |(_, n)| *n);
        let delay = if error.is_some() { least.max(1000 << failed.min(6)) } else { least };
        self.retry.insert(command, (self.now() + delay, failed + u32::from(error.is_some())));
        if let Some(error) = error {
            self.trouble(turn, error.to_string());
        }
    }

    /// Records a trouble, unless it was lately: what is tried for days does not fill the log.
    pub(super) fn trouble(&mut self, turn: &mut Turn, message: String) {
        if self.run.is_news(&message, self.now()) {
            self.record(turn, Author::System, None, Event::Trouble { message });
        }
    }
}

fn context(world: &World, key: &AttemptKey, near: &[String], issued: Timestamp) -> Context {
    let trust = &world.trust;
    let mut hosts: Vec<&String> = near.iter().chain(&trust.hosts).collect();
    hosts.dedup();
    let url = |host: &&String| {
        if host.contains(':') {
            format!("https://[{host}]:{}", trust.port)
        } else {
            format!("https://{host}:{}", trust.port)
        }
    };
    Context {
        version: VERSION,
        run: key.run,
        instance: key.instance.clone(),
        attempt: key.attempt,
        urls: hosts.iter().map(url).collect(),
        server_name: trust.server_name.clone(),
        pin: trust.pin.clone(),
        token: trust.secret.token(key),
        issued,
        expires: issued.saturating_add(Duration::from_millis(BOOT_DEADLINE)).unwrap_or(Timestamp::MAX),
        interfaces: BTreeMap::new(),
    }
}

pub(super) async fn bounded<T>(call: impl Future<Output = Result<T, CloudError>>) -> Result<T, CloudError> {
    let late = || CloudError::Ambiguous(format!("the cloud did not answer within {} s", CALL_LIMIT.as_secs()));
    tokio::time::timeout(CALL_LIMIT, call).await.unwrap_or_else(|_| Err(late()))
}

/// Launches a machine, or adopts the one that an earlier, interrupted launch has made. Where this is the
/// first there can be none, and the cloud need not list the whole run for each machine.
async fn launch(connector: &dyn Connector, request: &LaunchRequest, first: bool) -> Result<String, CloudError> {
    let mut lost = 0;
    loop {
        if !first || lost > 0 {
            let there = bounded(connector.find(request.key.run)).await?;
            if let Some(machine) = there.into_iter().find(|o| o.key == request.key) {
                return Ok(machine.machine);
            }
        }
        match bounded(connector.launch(request)).await {
            Err(CloudError::Ambiguous(_)) if lost < MOST_LOST_ANSWERS => lost += 1,
            result => return result,
        }
    }
}

async fn terminate(connector: &dyn Connector, key: &AttemptKey, native: Option<String>) -> Result<(), CloudError> {
    if let Some(machine) = native {
        return connector.terminate(key.run, &machine).await;
    }
    for observed in connector.find(key.run).await?.into_iter().filter(|o| o.key == *key) {
        connector.terminate(key.run, &observed.machine).await?;
    }
    Ok(())
}

/// Removes what is shared, and makes sure, twice, that nothing is left.
async fn release(run: RunId, clouds: Vec<Arc<dyn Connector>>) -> Result<bool, CloudError> {
    for connector in &clouds {
        bounded(connector.release(run)).await?;
    }
    for connector in clouds.iter().chain(&clouds) {
        let left = bounded(connector.find(run)).await?;
        for observed in &left {
            bounded(connector.terminate(run, &observed.machine)).await?;
        }
        if !left.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}
