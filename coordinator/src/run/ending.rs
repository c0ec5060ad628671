//! Aborts, the end of a run, and what is decided on the way there.

use slipstream_shared::{
    event::{Event, LeftBehind},
    id::InstanceId,
    parameter::Key,
    state::{Failure, RunState},
};

use super::{Abort, Instance, Machine, Run, change::Refused, lease::Lease, value::Leaf};
use crate::seam::Millis;

impl Run {
    /// The events of a failure: the abort of the run, or, when that is aborted already, the instance's own
    /// reason. None if there is nothing new in it, or the run has ended.
    #[must_use]
    pub fn raise_abort_for(&self, failure: Failure, instance: Option<InstanceId>, reason: &str) -> Vec<Event> {
        if self.state.is_final() {
            return vec![];
        }
        let reason = super::change::shorten(if reason.is_empty() { "(unspecified)" } else { reason });
        // What an operation adds and does not come up fails the operation, not the run.
        let joins = |id: &&InstanceId| self.instances.get(id).is_some_and(|i| i.joining) && !self.is_settled(id);
        if let Some(id) = instance.as_ref().filter(joins).filter(|_| self.abort.is_none()) {
            return vec![Event::InstanceGivenUp { instance: id.clone(), reason, failure: Some(failure) }];
        }
        match instance {
            instance if self.abort.is_none() => {
                vec![Event::AbortRaised { instance, reason, failure: Some(failure) }]
            }
            Some(instance) if self.instances.get(&instance).is_some_and(|i| i.abort.is_none()) => {
                vec![Event::InstanceAborted { instance, reason }]
            }
            _ => vec![],
        }
    }

    /// The events of a request to give up on machines that cannot be removed.
    ///
    /// # Errors
    /// The run has ended, or its end was not asked for.
    pub fn abandon(&self) -> Result<Vec<Event>, Refused> {
        let id = self.id.short();
        if self.state.is_final() {
            return Err(Refused::Gone(format!("run {id} has ended ({}): there is nothing to abandon", self.state)));
        }
        if self.state != RunState::Finalizing {
            let state = self.state;
            let reason = format!("run {id} is {state}: terminate it first, and abandon it only if that does not end");
            return Err(Refused::Busy(reason));
        }
        Ok(vec![Event::Abandoned { left: self.left_behind() }, Event::StateChanged { state: self.final_state() }])
    }

    /// The machines that may still be there.
    #[must_use]
    pub fn left_behind(&self) -> Vec<LeftBehind> {
        self.instances.iter().filter_map(|(id, i)| self.may_be_left(id, i)).collect()
    }

    fn may_be_left(&self, id: &InstanceId, instance: &Instance) -> Option<LeftBehind> {
        let failed = matches!(instance.machine, Machine::Failed(_)) && instance.native.is_some();
        (instance.may_exist() || failed).then(|| LeftBehind {
            instance: id.clone(),
            attempt: instance.attempt,
            cloud: self.node(id).map(|n| n.cloud.clone()).unwrap_or_default(),
            name: self.attempt_key(id, instance.attempt).machine_name(),
            machine: instance.native.clone(),
        })
    }

    /// Folds the beginning and the end of an abort.
    pub(super) fn change_abort(&mut self, event: &Event, at: Millis) -> Vec<Leaf> {
        let own = |id: &InstanceId| Leaf::Value(Key::instance(id, "abort"));
        let mut leaves = vec![Leaf::Value(Key::run("abort"))];
        match event {
            Event::AbortRaised { instance, reason, failure } => {
                if self.abort.is_none() {
                    let (instance, reason) = (instance.clone(), reason.clone());
                    self.abort = Some(Abort { instance, reason, failure: *failure, at });
                    self.collect_reports_again();
                }
                leaves.extend(instance.as_ref().map(own));
            }
            Event::InstanceAborted { instance: id, reason } => {
                if let Some(instance) = self.instances.get_mut(id) {
                    instance.abort.get_or_insert_with(|| reason.clone());
                }
                return vec![own(id)];
            }
            _ => {
                leaves.extend(self.abort.take().and_then(|a| a.instance).as_ref().map(own));
                self.undecided = false;
                for (id, instance) in &mut self.instances {
                    leaves.extend(instance.abort.take().map(|_| own(id)));
                }
            }
        }
        leaves
    }

    /// An abort of a run that was Ready: what its machines have to report is worth reading once more. While an
    /// operation is under way the run becomes Ready anew, which decides what stays.
    fn collect_reports_again(&mut self) {
        self.undecided = self.state == RunState::Ready;
        if self.reached_ready {
            self.instances.values_mut().for_each(|i| i.reported = false);
        }
    }

    /// Folds a change of state.
    pub(super) fn enter(&mut self, state: RunState) {
        match state {
            RunState::Ready => {
                self.reached_ready = true;
                self.succeeded |= self.abort.is_none();
                self.undecided = false;
                self.leaves = !self.keeps_running();
            }
            RunState::Finalizing => self.instances.values_mut().for_each(|i| i.replacing = false),
            // All waits are over; no event follows that could say so.
            over if over.is_final() => self.instances.values_mut().for_each(|i| i.waits.clear()),
            _ => {}
        }
    }

    /// Folds what happens to the lease.
    pub(super) fn change_lease(&mut self, event: &Event, at: Millis) {
        match event {
            Event::LeaseSet { seconds } => self.lease = seconds.map(|seconds| Lease::new(at, seconds)),
            Event::LeaseEnding { .. } => self.lease.iter_mut().for_each(|lease| lease.warned = true),
            _ => {}
        }
    }
}
