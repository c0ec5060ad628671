//! Looking at clouds: how often, and what follows from what they show.

use std::collections::{BTreeMap, BTreeSet};

use slipstream_shared::{
    event::{Author, Event},
    id::InstanceId,
};

use super::actor::{Actor, Turn};
use crate::{
    cloud::{CloudError, MachineState, Observed},
    run::{Instance, Machine, decide::Command},
    seam::Millis,
};

/// Between two looks while something is expected to change: from this, growing to [`SLOWEST_SOON`].
const SOON: Millis = 250;

/// See [`SOON`].
const SLOWEST_SOON: Millis = 2_000;

/// Between two looks at a cloud that cannot be looked at: each time longer, up to this.
const SLOWEST_FAILED: Millis = 60_000;

/// Between two looks while nothing is expected to change.
const LATER: Millis = 15_000;

/// A machine counts as gone when so many looks in a row do not show it.
const MISSES: u32 = 2;

/// When each cloud is looked at.
#[derive(Debug, Default)]
pub(super) struct Watches {
    clouds: BTreeMap<String, Watch>,
    misses: BTreeMap<InstanceId, u32>,
    /// The machines of an instance where the last look has shown more than one of the same launch.
    twins: BTreeMap<InstanceId, Vec<String>>,
    /// Who was asked for a report by this coordinator process.
    asked: BTreeSet<InstanceId>,
}

#[derive(Debug)]
struct Watch {
    /// None: a look is under way.
    next: Option<Millis>,
    pace: Millis,
    soon: bool,
    /// The last look has failed.
    failed: bool,
}

impl Watches {
    /// True if a look is due; it is then under way.
    pub(super) fn begin(&mut self, cloud: &str, soon: bool, now: Millis) -> bool {
        let watch =
            self.clouds.entry(cloud.to_owned()).or_insert(Watch { next: Some(now), pace: SOON, soon, failed: false });
        if soon && !watch.soon {
            (watch.pace, watch.next) = (SOON, watch.next.map(|_| now));
        }
        watch.soon = soon;
        let due = watch.next.is_some_and(|at| at <= now);
        if due {
            watch.next = None;
        }
        due
    }

    fn end(&mut self, cloud: &str, failed: bool, now: Millis) {
        if let Some(watch) = self.clouds.get_mut(cloud) {
            watch.failed = failed;
            watch.pace = match (failed, watch.soon) {
                (true, _) => (watch.pace * 2).min(SLOWEST_FAILED),
                (false, true) => (watch.pace * 5 / 4).min(SLOWEST_SOON),
                (false, false) => LATER,
            };
            watch.next = Some(now + watch.pace);
        }
    }

    /// Forgets the clouds that need no look any more.
    pub(super) fn keep(&mut self, wanted: &BTreeSet<&Command>) {
        let watched = |name: &String| wanted.iter().any(|c| matches!(c, Command::Watch { cloud, .. } if cloud == name));
        self.clouds.retain(|cloud, _| watched(cloud));
    }

    /// When the next look is due.
    pub(super) fn next(&self) -> Option<Millis> {
        self.clouds.values().filter_map(|w| w.next).min()
    }

    /// All machines that a launch has made, of which `machine` is one.
    pub(super) fn twins_of(&self, id: &InstanceId, machine: &str) -> Vec<String> {
        let twins = self.twins.get(id).filter(|all| all.iter().any(|one| one == machine));
        twins.cloned().unwrap_or_else(|| vec![machine.to_owned()])
    }

    fn note_twins(&mut self, id: &InstanceId, all: &[&Observed]) {
        if all.len() > 1 {
            self.twins.insert(id.clone(), all.iter().map(|one| one.machine.clone()).collect());
        } else {
            self.twins.remove(id);
        }
    }

    /// When a cloud that could not be looked at is looked at again. Now, while it is.
    pub(super) fn next_after_failure(&self) -> Option<Millis> {
        self.clouds.values().filter(|w| w.failed).map(|w| w.next.unwrap_or(0)).min()
    }

    /// Forgets who was asked for a report and owes none: there may be another one to ask for later.
    pub(super) fn asked_only(&mut self, owes: impl Fn(&InstanceId) -> bool) {
        self.asked.retain(owes);
    }

    /// True the first time it is called for an instance.
    pub(super) fn ask_once(&mut self, id: &InstanceId) -> bool {
        self.asked.insert(id.clone())
    }
}

impl Actor {
    /// Records what a look at a cloud has shown.
    pub(super) fn watched(&mut self, turn: &mut Turn, cloud: &str, result: Result<Vec<Observed>, CloudError>) {
        self.watches.end(cloud, result.is_err(), self.now());
        if self.run.state.is_final() {
            return;
        }
        let observed = match result {
            Ok(observed) => observed,
            Err(e) => return self.trouble(turn, format!("cannot look at cloud `{cloud}`: {e}")),
        };
        let of_cloud = |id: &InstanceId| self.run.node(id).is_some_and(|n| n.cloud == cloud);
        let ids: Vec<InstanceId> = self.run.instances.keys().filter(|id| of_cloud(id)).cloned().collect();
        for id in &ids {
            let Some(instance) = self.run.instances.get(id) else { continue };
            let of_launch = |o: &&Observed| o.key.instance == *id && o.key.attempt == instance.attempt;
            let mine: Vec<&Observed> = observed.iter().filter(of_launch).collect();
            let telling = most_telling(instance, &mine);
            self.watches.note_twins(id, &mine);
            match telling {
                Some(observed) => self.seen(turn, id, observed),
                None => self.missed(turn, id),
            }
        }
        self.remove_extras(cloud, &observed);
    }

    fn seen(&mut self, turn: &mut Turn, id: &InstanceId, observed: &Observed) {
        self.watches.misses.remove(id);
        if self.seen_switching(turn, id, &observed.state) {
            return;
        }
        let Some(instance) = self.run.instances.get(id) else { return };
        let (attempt, state) = (instance.attempt, instance.machine.clone());
        if !matches!(state, Machine::Launched | Machine::Running) {
            return;
        }
        let ssh = self.ssh(id, observed);
        let addresses = (&observed.public, &observed.private, &ssh);
        let known = (&instance.public, &instance.private, &instance.ssh);
        let (new, enrolled) = (addresses != known, instance.key.is_some());
        if observed.state == MachineState::Running {
            if state == Machine::Launched {
                self.record(turn, Author::System, None, Event::MachineRunning { instance: id.clone(), attempt });
            }
            if new && (observed.public.is_some() || observed.private.is_some()) {
                let (public, private) = (observed.public.clone(), observed.private.clone());
                self.record(
                    turn,
                    Author::System,
                    None,
                    Event::AddressKnown { instance: id.clone(), public, private, ssh },
                );
            }
            return;
        }
        let reason = match &observed.state {
            MachineState::Failed(reason) => reason.clone(),
            MachineState::Stopped => "its machine has stopped".to_owned(),
            _ => return,
        };
        if enrolled {
            self.lost(turn, id, &reason);
        } else {
            let instance = id.clone();
            let event = Event::LaunchFailed { instance, attempt, reason, retry: false };
            self.record(turn, Author::System, None, event);
        }
    }

    /// Where the ssh server of a machine is. What runs on somebody's machine has none of its own.
    fn ssh(&self, id: &InstanceId, observed: &Observed) -> Option<String> {
        self.is_own_machine(id).then(|| observed.ssh.clone().or_else(|| observed.public.clone()))?
    }

    /// Whether an instance has a machine of its own, so that the run may decide who logs in to it.
    pub(super) fn is_own_machine(&self, id: &InstanceId) -> bool {
        let cloud = self.run.node(id).and_then(|node| self.world.clouds.get(&node.cloud));
        cloud.is_some_and(|cloud| cloud.launches_machines())
    }

    fn missed(&mut self, turn: &mut Turn, id: &InstanceId) {
        let Some(instance) = self.run.instances.get(id) else { return };
        let (attempt, machine) = (instance.attempt, instance.machine.clone());
        let launching = self.running.contains(&Command::Launch(id.clone()));
        if launching || matches!(machine, Machine::Planned | Machine::Intended | Machine::Gone | Machine::Failed(_)) {
            return;
        }
        let misses = self.watches.misses.entry(id.clone()).or_default();
        *misses += 1;
        if *misses < MISSES {
            return;
        }
        let unexpected = machine != Machine::Terminating;
        if unexpected {
            self.lost(turn, id, "its machine is gone, and nobody here has removed it");
        }
        let event = Event::MachineGone { instance: id.clone(), attempt, unexpected };
        self.record(turn, Author::System, None, event);
        // Those of another launch are counted anew.
        self.watches.misses.remove(id);
    }

    /// A machine that was needed is not there any more.
    fn lost(&mut self, turn: &mut Turn, id: &InstanceId, reason: &str) {
        for event in self.run.lose(id, reason, self.now()) {
            self.record(turn, Author::System, None, event);
        }
    }

    /// Has machines removed that no instance of the run counts as its own: left over from an earlier
    /// attempt, or made beside the right one by a request that reached a cloud twice. The latter only when
    /// the instance goes: before that nobody can say which of the two its agent lives on.
    fn remove_extras(&mut self, cloud: &str, observed: &[Observed]) {
        let Some(connector) = self.world.clouds.get(cloud) else { return };
        for extra in observed {
            let is_left_over = |i: &Instance| {
                let second =
                    i.machine == Machine::Terminating && i.native.as_ref().is_some_and(|n| *n != extra.machine);
                extra.key.attempt < i.attempt || (extra.key.attempt == i.attempt && second)
            };
            if !self.run.instances.get(&extra.key.instance).is_none_or(is_left_over) {
                continue;
            }
            let (connector, run, machine) = (std::sync::Arc::clone(connector), self.run.id, extra.machine.clone());
            tracing::info!(%run, %machine, "removing a machine that is left over");
            self.world.seam.spawn(async move {
                if let Err(error) = connector.terminate(run, &machine).await {
                    tracing::warn!(%run, %machine, %error, "cannot remove a left-over machine");
                }
            });
        }
    }
}

/// Of several machines of one launch, which a cloud can have that does not know two requests for the same: one
/// that is not yet as it is to be, else the one that the launch was answered with. Nobody knows on which of them
/// the agent lives.
fn most_telling<'a>(instance: &Instance, all: &[&'a Observed]) -> Option<&'a Observed> {
    let behind = |o: &&&Observed| match instance.machine {
        Machine::Stopping => o.state != MachineState::Stopped,
        Machine::Starting => o.state != MachineState::Running,
        _ => false,
    };
    let answered = |o: &&&Observed| instance.native.as_ref() == Some(&o.machine);
    all.iter().find(behind).or_else(|| all.iter().find(answered)).or(all.first()).copied()
}
