//! The fold: how each event changes a [`Run`].
//!
//! Total: any sequence of events that begins with `Accepted` folds without an error, so that a log
//! can always be read. An event about an instance the run does not have changes nothing.

use std::collections::{BTreeMap, VecDeque};

use slipstream_shared::{
    event::{Event, Record},
    id::{InstanceId, RunId},
    parameter::{Key, Scope},
    plan::{NeedMilestone, Plan},
    state::RunState,
};

use super::{
    Instance, Machine, Run, StepState, Stored, any, barrier, hardware::Hardware, lead, lease::Lease, refusal, request,
    value::Leaf,
};
use crate::seam::{Millis, time_of};

/// How many writes of a parameter can be looked up.
pub const HISTORY: usize = 100;

/// The names that depend on the addresses of a machine.
const ADDRESSES: [&str; 5] = ["address", "address.public", "address.private", "hostname", "url.ssh"];

impl Run {
    /// Begins a run with its first event. None: that is not an `Accepted`.
    #[must_use]
    pub fn begin(id: RunId, record: &Record) -> Option<Self> {
        let Event::Accepted { plan, owner, tags, ssh_keys } = &record.event else { return None };
        let at = time_of(record);
        Some(Run {
            id,
            seq: record.seq,
            clock: 0,
            listening_since: 0,
            created: at,
            changed: at,
            instances: instances(plan, at),
            plan: (**plan).clone(),
            owner: owner.clone(),
            tags: tags.clone(),
            ssh_keys: ssh_keys.clone(),
            state: RunState::Initializing,
            since: at,
            reached_ready: false,
            succeeded: false,
            leaves: false,
            undecided: false,
            lease: plan.policy.lease.map(|seconds| Lease::new(at, seconds)),
            left: vec![],
            lately: BTreeMap::new(),
            abort: None,
            terminate: None,
            values: BTreeMap::new(),
            writes: BTreeMap::new(),
            chosen: any::references(plan),
            requests: VecDeque::new(),
            barriers: BTreeMap::new(),
            leads: BTreeMap::new(),
            trouble: None,
            notes: std::collections::BTreeSet::new(),
            retired: BTreeMap::new(),
            operations: BTreeMap::new(),
            tasks: BTreeMap::new(),
            vault: None,
        })
    }

    /// Applies the next event. Returns what may have got another value by it, for those who wait.
    pub fn apply(&mut self, record: &Record) -> Vec<Leaf> {
        let mut leaves = self.change(record);
        if !self.chosen.is_empty() {
            self.choose(&mut leaves);
        }
        leaves
    }

    fn change(&mut self, record: &Record) -> Vec<Leaf> {
        if let Event::ClockChanged { millis } = record.event {
            self.clock = self.clock.saturating_add(millis);
        }
        let at = time_of(record).saturating_add_signed(self.clock.saturating_neg());
        self.seq = record.seq;
        self.changed = at;
        if let (slipstream_shared::event::Author::Instance(by), Some(op)) = (&record.by, record.op)
            && let Some(instance) = self.instances.get_mut(by)
        {
            instance.last_op = instance.last_op.max(op);
        }
        request::remember(&mut self.requests, record);
        if let Some(leaves) = self.apply_operation(record, at) {
            if let Event::InstanceGivenUp { instance, .. } = &record.event {
                self.leave_meetings(instance, at);
            }
            return leaves;
        }
        match &record.event {
            Event::Accepted { .. } | Event::ClockChanged { .. } => vec![],
            Event::StateChanged { state } => {
                self.state = *state;
                self.since = at;
                self.enter(*state);
                vec![Leaf::Value(Key::run("state"))]
            }
            Event::ParameterSet { key, value } => self.store(key, Some(value.clone()), false, record),
            Event::SecretSet { key, sealed } => self.store_secret(key, sealed.clone(), record),
            Event::ParameterUnset { key } => self.store(key, None, false, record),
            Event::AbortRaised { .. } | Event::InstanceAborted { .. } | Event::AbortCancelled => {
                self.change_abort(&record.event, at)
            }
            Event::LeaseSet { .. } | Event::LeaseEnding { .. } | Event::LeaseEnded => {
                self.change_lease(&record.event, at);
                vec![]
            }
            Event::ReplaceIntended { instance, .. } => {
                self.leave_meetings(instance, at);
                self.begin_replacement(instance, record)
            }
            Event::Abandoned { left } => {
                self.left.clone_from(left);
                vec![]
            }
            Event::TerminateRequested => {
                self.terminate.get_or_insert(at);
                vec![]
            }
            Event::BarrierArrived { barrier, parties } => {
                barrier::arrived(&mut self.barriers, barrier, parties, &record.by);
                vec![]
            }
            Event::BarrierOpened { barrier } => {
                barrier::opened(&mut self.barriers, barrier, at);
                vec![Leaf::Barrier(barrier.clone())]
            }
            Event::LeadChanged { lead, number, leader, seconds } => {
                let until = seconds.map(|seconds| at + seconds.saturating_mul(1000));
                let new = lead::Lead { number: *number, leader: leader.clone(), since: at, until };
                lead::changed(&mut self.leads, lead, new);
                vec![Leaf::Lead(lead.clone())]
            }
            Event::Noted { message } => {
                self.notes.insert(message.clone());
                vec![]
            }
            Event::Trouble { message } => {
                self.trouble = Some(message.clone());
                self.remember_trouble(message, at);
                vec![]
            }
            of_instance => {
                let Some(id) = of_instance.instance() else { return vec![] };
                let was_live = self.instances.get(id).is_some_and(Instance::is_live);
                let attempt = self.instances.get(id).map(|i| i.attempt);
                let mut leaves = self.apply_to_instance(id, of_instance, at, record.op);
                let now = self.instances.get(id);
                // One that leaves is not live from then on, but says goodbye first.
                let goes = matches!(of_instance, Event::TerminateIntended { .. } | Event::MachineGone { .. });
                if goes || now.is_some_and(Instance::is_live) != was_live || now.map(|i| i.attempt) != attempt {
                    self.leave_meetings(id, at);
                }
                if self.instances.get(id).is_some_and(Instance::is_live) != was_live {
                    let computed = ["ids", "multiplicity"].map(|name| Leaf::Value(Key::node(&id.node, name)));
                    leaves.extend([Leaf::Members(id.node.clone())].into_iter().chain(computed));
                }
                leaves
            }
        }
    }

    /// The machine of an instance goes, or it begins anew: it has arrived nowhere and leads nothing, and is not
    /// what `[any]` means.
    fn leave_meetings(&mut self, id: &InstanceId, at: Millis) {
        barrier::left(&mut self.barriers, id);
        lead::left(&mut self.leads, id, at);
        any::left(&mut self.chosen, id);
    }

    fn store_secret(&mut self, key: &Key, sealed: Option<String>, record: &Record) -> Vec<Leaf> {
        let mut leaves = self.store(key, sealed, true, record);
        // Chosen for a node as a whole: each of its instances has it now.
        if let Scope::Node(node) = &key.scope {
            let instances = self.instances.keys().filter(|id| id.node == *node);
            leaves.extend(instances.map(|id| Leaf::Value(Key::instance(id, &key.name))));
        }
        leaves
    }

    fn store(&mut self, key: &Key, value: Option<String>, secret: bool, record: &Record) -> Vec<Leaf> {
        let stored = Stored { value, revision: record.seq, by: record.by.clone(), at: time_of(record), secret };
        self.values.insert(key.clone(), stored);
        remember_write(&mut self.writes, key, record.seq);
        vec![Leaf::Value(key.clone())]
    }

    fn apply_to_instance(&mut self, id: &InstanceId, event: &Event, at: Millis, op: Option<u64>) -> Vec<Leaf> {
        let node = self.plan.nodes.get(&id.node).or_else(|| self.retired.get(&id.node));
        let Some(instance) = self.instances.get_mut(id) else { return vec![] };
        let values =
            |names: &[&str]| -> Vec<Leaf> { names.iter().map(|n| Leaf::Value(Key::instance(id, n))).collect() };
        match event {
            Event::LaunchIntended { attempt, .. } => {
                let (joining, replacing, powered) = (instance.joining, instance.replacing, instance.powered);
                let mut hardware = std::mem::take(&mut instance.hardware);
                if let Some(node) = node {
                    hardware = hardware.launched(node);
                }
                *instance = Instance {
                    attempt: *attempt,
                    joining,
                    replacing,
                    powered,
                    hardware,
                    ..planned(instance.ordinal, at)
                };
                instance.machine = Machine::Intended;
                computed_of(id)
            }
            Event::Launched { machine, .. } => {
                instance.native = Some(machine.clone());
                instance.become_(Machine::Launched, at);
                values(&["instanceid", "vmstate"])
            }
            Event::LaunchFailed { reason, retry, .. } => {
                instance.become_(if *retry { Machine::Planned } else { Machine::Failed(reason.clone()) }, at);
                values(&["vmstate"])
            }
            Event::MachineRunning { .. } => {
                instance.become_(Machine::Running, at);
                values(&["vmstate"])
            }
            Event::PowerIntended { on, operation, .. } => {
                instance.become_(if *on { Machine::Starting } else { Machine::Stopping }, at);
                (instance.ready, instance.silent) = (false, None);
                instance.waits.clear();
                if *on {
                    instance.powered = *operation;
                }
                values(&["vmstate"])
            }
            Event::PowerChanged { on, .. } => {
                instance.become_(if *on { Machine::Running } else { Machine::Stopped }, at);
                values(&["vmstate"])
            }
            Event::PowerFailed { on, .. } => {
                instance.become_(if *on { Machine::Stopped } else { Machine::Running }, at);
                values(&["vmstate"])
            }
            Event::AddressKnown { public, private, ssh, .. } => {
                (instance.public, instance.private, instance.ssh) = (public.clone(), private.clone(), ssh.clone());
                values(&ADDRESSES)
            }
            Event::Enrolled { key, agent, .. } => {
                (instance.key, instance.agent) = (Some(key.clone()), Some(agent.clone()));
                (instance.reached, instance.replacing) = (at, false);
                [vec![Leaf::Milestone(id.clone(), NeedMilestone::Enrolled)], values(&["complete"])].concat()
            }
            Event::EnrolmentRefused { reason, .. } => {
                instance.refused = Some(reason.clone());
                vec![]
            }
            Event::StepStarted { index, .. } => {
                instance.steps.insert(*index, StepState { started: at, result: None });
                instance.reached = at;
                values(&["complete"])
            }
            Event::StepFinished { index, result, .. } => {
                let step = instance.steps.entry(*index).or_insert(StepState { started: at, result: None });
                step.result = Some(result.clone());
                instance.reached = at;
                [vec![Leaf::Milestone(id.clone(), NeedMilestone::Deployed)], values(&["complete"])].concat()
            }
            Event::InstanceReady { .. } => {
                instance.ready = true;
                instance.reached = at;
                vec![Leaf::Milestone(id.clone(), NeedMilestone::Ready)]
            }
            Event::WaitBegan { on, .. } => {
                instance.waits.insert(on.clone(), at);
                vec![]
            }
            Event::WaitEnded { on, .. } => {
                instance.waits.remove(on);
                vec![]
            }
            Event::ChangeRefused { code, message, .. } => {
                refusal::remember(&mut instance.refused_ops, op, *code, message);
                vec![]
            }
            Event::ReportFinished { .. } => {
                instance.reported = true;
                vec![]
            }
            Event::InstanceSilent { .. } => {
                instance.silent = Some(at);
                vec![]
            }
            Event::InstanceHeard { .. } => {
                instance.silent = None;
                vec![]
            }
            Event::TerminateIntended { .. } => {
                instance.hardware.changing = None;
                instance.become_(Machine::Terminating, at);
                instance.waits.clear();
                instance.silent = None;
                values(&["vmstate"])
            }
            Event::MachineGone { .. } => {
                instance.become_(Machine::Gone, at);
                instance.waits.clear();
                instance.silent = None;
                values(&["vmstate"])
            }
            _ => vec![],
        }
    }
}

impl Instance {
    fn become_(&mut self, machine: Machine, at: Millis) {
        self.machine = machine;
        self.since = at;
        self.reached = at;
    }
}

/// What another launch of an instance changes.
pub(super) fn computed_of(id: &InstanceId) -> Vec<Leaf> {
    let names = ADDRESSES.iter().chain(&["instanceid", "vmstate", "complete"]);
    names.map(|name| Leaf::Value(Key::instance(id, name))).collect()
}

/// Keeps the number of a write, so that it can be looked up.
pub(super) fn remember_write(writes: &mut BTreeMap<Key, VecDeque<u64>>, key: &Key, seq: u64) {
    let writes = writes.entry(key.clone()).or_default();
    writes.push_back(seq);
    if writes.len() > HISTORY {
        writes.pop_front();
    }
}

fn instances(plan: &Plan, at: Millis) -> BTreeMap<InstanceId, Instance> {
    let ids = plan.nodes.iter().flat_map(|(node, n)| (1..=n.count).map(|i| InstanceId::new(node.clone(), i)));
    ids.zip(1..).map(|(id, ordinal)| (id, planned(ordinal, at))).collect()
}

pub(super) fn planned(ordinal: u32, at: Millis) -> Instance {
    Instance {
        ordinal,
        attempt: 0,
        machine: Machine::Planned,
        since: at,
        native: None,
        public: None,
        private: None,
        ssh: None,
        key: None,
        agent: None,
        steps: BTreeMap::new(),
        ready: false,
        reported: false,
        last_op: 0,
        refused_ops: VecDeque::new(),
        waits: BTreeMap::new(),
        refused: None,
        powered: 0,
        joining: false,
        leaving: false,
        given_up: None,
        silent: None,
        reached: at,
        abort: None,
        replacing: false,
        hardware: Hardware::default(),
    }
}
