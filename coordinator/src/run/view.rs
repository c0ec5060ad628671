//! What people see of a run.

use slipstream_shared::{
    api::{InstanceInfo, Parameter, RunDetail, RunSummary, StepInfo, TroubleInfo, WaitInfo},
    id::InstanceId,
    parameter::Key,
    plan::StepPlan,
    state::{Milestone, Outcome, RunState},
};

use super::{
    Instance, Machine, Run, StepState,
    expand::reason,
    value::{address, ssh_url},
};
use crate::seam::Millis;

impl Run {
    /// What lists show.
    #[must_use]
    pub fn summary(&self) -> RunSummary {
        RunSummary {
            id: self.id,
            module: self.plan.module.clone(),
            title: self.plan.title.clone(),
            owner: self.owner.clone(),
            state: self.state,
            outcome: self.outcome(),
            abort: self.abort.as_ref().map(|a| a.reason.clone()),
            failure: self.abort.as_ref().and_then(|a| a.failure),
            ready: self.ready_count(),
            instances: self.member_count(),
            health: self.health(),
            url: self.value(&Key::run("url.service")).ok(),
            tags: self.tags.clone(),
            created: self.shown(self.created),
            changed: self.shown(self.changed),
        }
    }

    /// How it turned out.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match (&self.abort, self.succeeded) {
            (Some(_), _) => Outcome::Failed,
            (None, true) => Outcome::Succeeded,
            (None, false) if self.state.is_final() || self.state == RunState::Finalizing => Outcome::Failed,
            (None, false) => Outcome::Pending,
        }
    }

    /// Everything but the parameters. `connected` says whether the agent of an instance is.
    #[must_use]
    pub fn detail(&self, connected: impl Fn(&InstanceId) -> bool) -> RunDetail {
        RunDetail {
            summary: self.summary(),
            category: self.plan.category,
            seq: self.seq,
            keep_running: self.plan.policy.keep_running,
            nodes: self.instances.iter().map(|(id, i)| self.instance_info(id, i, connected(id))).collect(),
            operations: self.latest_operations(),
            outputs: self.plan.outputs.iter().map(|(name, t)| (name.clone(), self.expand(t, None).ok())).collect(),
            lease_end: self.lease.as_ref().map(|lease| self.shown(lease.end)),
            retrying: self.trouble.as_ref().map(|message| TroubleInfo {
                message: message.clone(),
                since: self.shown(self.lately.get(message).map_or(self.changed, |(since, _)| *since)),
                next_try: self.shown(self.changed),
            }),
            left: self.left.clone(),
            troubles: self.trouble.clone().into_iter().chain(self.broken_outputs()).collect(),
        }
    }

    /// A time of the run as the clock of the machine shows it now.
    #[must_use]
    pub fn shown(&self, at: Millis) -> jiff::Timestamp {
        timestamp(at.saturating_add_signed(self.clock))
    }

    fn broken_outputs(&self) -> impl Iterator<Item = String> {
        let outputs = self.plan.outputs.iter().filter_map(|(name, t)| Some((name, self.expand(t, None).err()?)));
        outputs.filter_map(|(name, leaves)| Some(format!("the output `{name}`: {}", reason(&leaves)?)))
    }

    fn instance_info(&self, id: &InstanceId, instance: &Instance, connected: bool) -> InstanceInfo {
        let node = self.node(id);
        let steps = self.scripts(id).map(|(i, plan)| step_info(i, plan, instance.steps.get(&i)));
        let steps = steps.chain(self.task_infos(id)).collect();
        InstanceInfo {
            instance: id.clone(),
            milestone: self.milestone(id, instance),
            attempt: instance.attempt,
            cloud: node.map(|n| n.cloud.clone()).unwrap_or_default(),
            machine: instance.native.clone(),
            size: self.size_of(id, instance),
            wanted_size: self.wanted_size(id, instance),
            disks: instance.hardware.infos(),
            address: node.and_then(|n| address(instance, n.network)),
            ssh: node.and_then(|n| ssh_url(instance, &n.login)),
            display: self.value(&Key::instance(id, "statecustom")).ok(),
            waiting: instance
                .waits
                .iter()
                .map(|(on, at)| WaitInfo { on: on.clone(), since: self.shown(*at) })
                .collect(),
            steps,
            failure: self.failure(id, instance),
            connected,
            silent: instance.silent.map(|at| self.shown(at)),
        }
    }

    fn failure(&self, id: &InstanceId, instance: &Instance) -> Option<String> {
        if let Machine::Failed(reason) = &instance.machine {
            return Some(reason.clone());
        }
        let first = self.abort.as_ref().filter(|a| a.instance.as_ref() == Some(id)).map(|a| a.reason.clone());
        instance.given_up.clone().or(first).or_else(|| instance.abort.clone())
    }

    /// How far an instance has come.
    #[must_use]
    pub fn milestone(&self, id: &InstanceId, instance: &Instance) -> Milestone {
        let failed = |s: &StepState| s.result.as_ref().is_some_and(|r| !r.succeeded());
        match instance.machine {
            Machine::Failed(_) => Milestone::Failed,
            Machine::Gone if instance.replacing => Milestone::Planned,
            Machine::Gone => Milestone::Gone,
            Machine::Terminating => Milestone::Terminating,
            Machine::Stopping | Machine::Stopped => Milestone::Stopped,
            _ if instance.steps.values().any(failed) => Milestone::Failed,
            _ if instance.ready => Milestone::Ready,
            _ if self.is_deployed(id) => Milestone::Deployed,
            _ if !instance.steps.is_empty() => Milestone::Executing,
            _ if instance.key.is_some() => Milestone::Enrolled,
            Machine::Running if instance.public.is_some() || instance.private.is_some() => Milestone::Address,
            Machine::Running | Machine::Starting => Milestone::Running,
            Machine::Launched => Milestone::Launched,
            Machine::Intended => Milestone::Intended,
            Machine::Planned => Milestone::Planned,
        }
    }

    /// One parameter. None: the run has none of that key.
    #[must_use]
    pub fn parameter(&self, key: &Key) -> Option<Parameter> {
        let kind = self.kind_of(key)?;
        let stored = self.stored(key);
        let value = self.value(key);
        Some(Parameter {
            key: key.clone(),
            broken: value.as_ref().err().and_then(|leaves| reason(leaves)).map(str::to_owned),
            value: value.ok(),
            kind,
            revision: stored.map_or(0, |s| s.revision),
            by: stored.map(|s| s.by.clone()),
            at: stored.map(|s| timestamp(s.at)),
        })
    }

    /// All parameters, by key.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all: Vec<Parameter> = self.keys().filter_map(|k| self.parameter(&k)).collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }
}

pub(super) fn step_info(index: u32, plan: &StepPlan, state: Option<&StepState>) -> StepInfo {
    let result = state.and_then(|s| s.result.as_ref());
    let status = match (state, result) {
        (None, _) => "waiting",
        (Some(_), None) => "running",
        (Some(_), Some(r)) if r.succeeded() => "succeeded",
        (Some(_), Some(_)) => "failed",
    };
    StepInfo {
        index,
        step: plan.step.clone(),
        origin: plan.origin.clone(),
        status: status.to_owned(),
        result: result.filter(|r| !r.succeeded()).map(ToString::to_string),
        millis: result.map(|r| r.millis),
    }
}

/// A recorded time.
#[must_use]
pub fn timestamp(at: Millis) -> jiff::Timestamp {
    i64::try_from(at).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or(jiff::Timestamp::MAX)
}
