//! What follows when a machine that took part is silent or gone: nothing, a failure, or another machine in
//! its place (`on_silent`). And what becomes of instances that are given up.
//!
//! A replaced instance keeps its id. First its key stops being good, then its machine is removed and
//! confirmed gone, then it is launched again as its next attempt, and all its steps run again. What the
//! instance itself had published loses its value at once, so that whoever waits, waits for the new one. It
//! stays a member of its node meanwhile: `${web[*].port}` waits for it.

use slipstream_shared::{
    event::{Author, Event, Record},
    id::InstanceId,
    parameter::Scope,
    plan::OnSilent,
    state::{Failure, RunState},
};

use super::{Instance, Machine, Run, decide::Decision, hardware::Hardware, value::Leaf};
use crate::seam::{Millis, time_of};

impl Run {
    /// What the node of an instance says about silence.
    #[must_use]
    pub fn on_silent(&self, id: &InstanceId) -> OnSilent {
        self.node(id).map(|n| n.on_silent).unwrap_or_default()
    }

    /// What follows from silence.
    pub(super) fn react_to_silence(&self, decision: &mut Decision) {
        if self.terminate.is_some() || self.abort.is_some() || self.state >= RunState::Finalizing {
            return;
        }
        for (id, instance) in self.instances.iter().filter(|(_, i)| i.silent.is_some() && i.is_live()) {
            let reason = "nothing is heard of its agent";
            match self.on_silent(id) {
                OnSilent::Wait => {}
                OnSilent::Fail => {
                    let reason = format!("{id} is silent: {reason} (its node says on_silent: fail)");
                    decision.events.extend(self.raise_abort_for(Failure::Silent, Some(id.clone()), &reason));
                    return;
                }
                OnSilent::Replace => decision.events.extend(self.replace(id, instance, reason)),
            }
        }
    }

    /// The events of an enrolled machine that its cloud no longer has, or no longer runs.
    #[must_use]
    pub fn lose(&self, id: &InstanceId, reason: &str, now: Millis) -> Vec<Event> {
        let Some(instance) = self.instances.get(id) else { return vec![] };
        // Nobody needs the machine of one that leaves or is stopped: it is no failure, and none comes in its place.
        let off = matches!(instance.machine, Machine::Stopping | Machine::Stopped);
        let needed = instance.is_live() && !off;
        let on_silent = if needed { self.on_silent(id) } else { OnSilent::Wait };
        if on_silent == OnSilent::Replace {
            let events = self.replace(id, instance, reason);
            if !events.is_empty() {
                return events;
            }
        }
        if needed && (!self.reached_ready || on_silent == OnSilent::Fail) {
            return self.raise_abort_for(Failure::Lost, Some(id.clone()), &format!("{id} is lost: {reason}"));
        }
        let message = format!("{id}: {reason}");
        if self.is_news(&message, now) { vec![Event::Trouble { message }] } else { vec![] }
    }

    fn replace(&self, id: &InstanceId, instance: &Instance, reason: &str) -> Vec<Event> {
        let stays = self.abort.is_some() || self.terminate.is_some() || self.is_ending() || instance.replacing;
        if stays || !instance.may_exist() || instance.machine == Machine::Terminating {
            return vec![];
        }
        let (instance, attempt, reason) = (id.clone(), instance.attempt, reason.to_owned());
        vec![Event::ReplaceIntended { instance, attempt, reason }]
    }

    /// Gives up what was to replace a lost machine and does not come. The run was Ready without it for so long
    /// that this is no reason to abort it.
    pub(super) fn give_up_replacements(&self, now: Millis, decision: &mut Decision) {
        for (id, instance) in self.instances.iter().filter(|(_, i)| i.replacing && i.given_up.is_none()) {
            if let Some((failure, reason)) = self.fault_of(id, instance, now, decision) {
                let (instance, failure) = (id.clone(), Some(failure));
                decision.events.push(Event::InstanceGivenUp { instance, reason, failure });
            }
        }
    }

    /// Folds [`Event::ReplaceIntended`].
    pub(super) fn begin_replacement(&mut self, id: &InstanceId, record: &Record) -> Vec<Leaf> {
        let at = self.changed;
        let Some(instance) = self.instances.get_mut(id) else { return vec![] };
        *instance = Instance {
            attempt: instance.attempt,
            native: instance.native.take(),
            machine: Machine::Terminating,
            replacing: true,
            // What an operation wants of it, it still wants.
            joining: instance.joining,
            powered: instance.powered,
            hardware: Hardware { changing: None, ..std::mem::take(&mut instance.hardware) },
            ..super::fold::planned(instance.ordinal, at)
        };
        self.void_tasks(id, at);
        self.lose_in_operations(id);
        let mut leaves = vec![];
        for (key, stored) in &mut self.values {
            let own = key.scope == Scope::Instance(id.clone()) && stored.by == Author::Instance(id.clone());
            if own && stored.value.is_some() {
                (stored.value, stored.revision, stored.at) = (None, record.seq, time_of(record));
                stored.by = record.by.clone();
                leaves.push(Leaf::Value(key.clone()));
            }
        }
        for leaf in &leaves {
            if let Leaf::Value(key) = leaf {
                super::fold::remember_write(&mut self.writes, key, record.seq);
            }
        }
        leaves.push(Leaf::Members(id.node.clone()));
        leaves.extend(super::fold::computed_of(id));
        leaves
    }
}
