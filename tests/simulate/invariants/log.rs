//! One run, as its log on disk says.

use std::collections::BTreeMap;

use slipstream_shared::{
    event::{Author, Event, Record},
    id::InstanceId,
    operation::Asked,
    parameter::{Key, Scope},
    plan::Plan,
    state::RunState::{
        self, Aborted, Cancelled, Done, Executing, Finalizing, Initializing, Provisioning, Ready, SendingReports,
    },
};

use super::{
    REMOVAL, REPORTS, SLACK, TABLE,
    meetings::Meetings,
    members::{Members, Moment},
};

/// What a log says.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) records: Vec<Record>,
    pub(super) plan: Plan,
    created: u64,
    pub(super) state: RunState,
    since: Moment,
    pub(super) abort: Option<u64>,
    reached_ready: bool,
    /// When there was last an operation, or an abort was taken back.
    released: Moment,
    enrolled: std::collections::BTreeSet<(InstanceId, u32)>,
    pub(super) attempts: BTreeMap<InstanceId, u32>,
    ops: BTreeMap<InstanceId, u64>,
    parameters: BTreeMap<Key, Written>,
    /// Which event wrote a value. All values that are written in a world are different.
    pub(super) values: BTreeMap<String, u64>,
    pub(super) members: Members,
    pub(super) meetings: Meetings,
    /// When it was last noticed that the clock had been set.
    clock_noticed: u64,
    /// Of what was before this nobody knows how long it took: the clock was set, and before that was noticed, the
    /// coordinator was killed.
    leap: u64,
}

/// A parameter.
#[derive(Debug)]
struct Written {
    revision: u64,
    is_set: bool,
    by: Author,
}

impl Log {
    pub(super) fn new(now: Moment, plan: &Plan) -> Self {
        let mut members = Members::default();
        let of_node = |(node, n): (&slipstream_shared::id::NodeName, &slipstream_shared::plan::NodePlan)| {
            let node = node.clone();
            (1..=n.count).map(move |i| InstanceId::new(node.clone(), i))
        };
        members.begin(plan.nodes.iter().flat_map(of_node), now);
        Log {
            records: vec![],
            plan: plan.clone(),
            created: now.at,
            state: Initializing,
            since: now,
            abort: None,
            reached_ready: false,
            released: now,
            enrolled: std::collections::BTreeSet::new(),
            attempts: BTreeMap::new(),
            ops: BTreeMap::new(),
            parameters: BTreeMap::new(),
            values: BTreeMap::new(),
            members,
            meetings: Meetings::default(),
            clock_noticed: 0,
            leap: 0,
        }
    }

    /// Takes an event; says which rule it breaks.
    pub(super) fn take(&mut self, now: Moment, record: Record, expected: &BTreeMap<String, u64>) -> Option<String> {
        let seq = self.records.len() as u64 + 1;
        if record.seq != seq {
            return Some(format!("event {} follows {}", record.seq, seq - 1));
        }
        let timeout = self.plan.policy.timeout * 1000;
        let broken = (self.state.is_final())
            .then(|| format!("an event after {}: {:?}", self.state, record.event))
            .or_else(|| self.once(&record))
            .or_else(|| self.meetings.take(now.at, self.leap, &record, &self.members))
            .or_else(|| self.members.take(now, &record, timeout))
            .or_else(|| self.change(now, &record, expected));
        self.records.push(record);
        broken
    }

    /// The coordinator is killed; the clock was set before.
    pub(super) fn lose_clock(&mut self, now: u64, set: u64) {
        if self.clock_noticed < set {
            self.leap = now;
        }
    }

    /// A machine's change is applied once, in its order. One change may make several events, side by side.
    fn once(&mut self, record: &Record) -> Option<String> {
        let (Author::Instance(by), Some(op)) = (&record.by, record.op) else { return None };
        let last = self.ops.insert(by.clone(), op).unwrap_or(0);
        let beside = self.records.last().is_some_and(|before| before.by == record.by && before.op == record.op);
        (op < last || (op == last && !beside)).then(|| format!("change {op} of {by} was applied after {last}"))
    }

    fn change(&mut self, now: Moment, record: &Record, expected: &BTreeMap<String, u64>) -> Option<String> {
        match &record.event {
            Event::StateChanged { state } => {
                let from = std::mem::replace(&mut self.state, *state);
                self.since = now;
                self.reached_ready |= *state == Ready;
                let allowed = TABLE.iter().find(|(known, _)| *known == from).map_or(&[][..], |(_, to)| to);
                return (!allowed.contains(state)).then(|| format!("it went from {from} to {state}"));
            }
            Event::AbortRaised { .. } => {
                self.abort.get_or_insert(now.at);
                self.since.outage = now.outage;
            }
            Event::ClockChanged { .. } => self.clock_noticed = now.at,
            Event::AbortCancelled => (self.abort, self.released) = (None, now),
            Event::OperationFinished { .. } => self.released = now,
            Event::OperationStarted { asked, .. } => {
                if let Asked::Update { plan: Some(plan), .. } = &**asked {
                    self.plan = Plan { policy: self.plan.policy.clone(), ..(**plan).clone() };
                }
            }
            Event::LaunchIntended { instance, attempt, .. } => {
                self.ops.remove(instance);
                self.attempts.insert(instance.clone(), *attempt);
            }
            Event::Enrolled { instance, attempt, .. } => {
                let first = self.enrolled.insert((instance.clone(), *attempt));
                return (!first).then(|| format!("attempt {attempt} of {instance} enrolled twice"));
            }
            Event::ReplaceIntended { instance, .. } => self.forget_values(instance, record.seq),
            Event::ParameterSet { key, value, .. } => return self.written(key, Some(value), record, expected),
            Event::ParameterUnset { key } => return self.written(key, None, record, expected),
            _ => {}
        }
        None
    }

    fn written(
        &mut self,
        key: &Key,
        value: Option<&String>,
        record: &Record,
        expected: &BTreeMap<String, u64>,
    ) -> Option<String> {
        let new = Written { revision: record.seq, is_set: value.is_some(), by: record.by.clone() };
        let had = self.parameters.insert(key.clone(), new).map_or(0, |before| before.revision);
        let value = value?;
        if let Some(twice) = self.values.insert(value.clone(), record.seq) {
            return Some(format!("`{value}` was written twice, in {twice} and {}", record.seq));
        }
        let wanted = expected.get(value).filter(|wanted| **wanted != had)?;
        Some(format!("`{value}` was to be written over revision {wanted} and was over {had}"))
    }

    /// What a machine that is replaced has published has no value any more.
    fn forget_values(&mut self, id: &InstanceId, seq: u64) {
        for (_, written) in self.parameters.iter_mut().filter(|(key, written)| {
            key.scope == Scope::Instance(id.clone()) && written.by == Author::Instance(id.clone()) && written.is_set
        }) {
            *written = Written { revision: seq, is_set: false, by: Author::System };
        }
    }

    /// Whether a parameter has a value, or was written since an event.
    pub(super) fn holds(&self, key: &Key, newer_than: Option<u64>) -> bool {
        let of = |written: &Written| newer_than.map_or(written.is_set, |than| written.revision > than);
        self.parameters.get(key).is_some_and(of)
    }

    /// Whether an event wrote, or took away, that value of a parameter.
    pub(super) fn wrote(&self, seq: u64, key: &Key, value: Option<&str>) -> bool {
        let at = usize::try_from(seq.saturating_sub(1)).ok().and_then(|at| self.records.get(at));
        match at.map(|record| &record.event) {
            Some(Event::ParameterSet { key: set, value: new, .. }) => set == key && Some(new.as_str()) == value,
            Some(Event::ParameterUnset { key: unset, .. }) => unset == key && value.is_none(),
            Some(Event::ReplaceIntended { instance, .. }) => {
                key.scope == Scope::Instance(instance.clone()) && value.is_none()
            }
            _ => false,
        }
    }

    /// What is not over although its time is.
    pub(super) fn late(&self, now: Moment, healed: Option<u64>) -> Option<String> {
        let timeout = self.plan.policy.timeout * 1000;
        let since = |at: u64| Moment { at, outage: self.since.outage };
        let late = match self.state {
            Initializing => self.since.is_over(0, now),
            Provisioning | Executing => match self.abort {
                Some(abort) => since(abort.max(self.since.at)).is_over(REPORTS, now),
                // It lasts as long as operations do, which have deadlines of their own.
                None if self.reached_ready => {
                    !self.members.has_open_operation() && self.released.is_over(0, now) && self.since.is_over(0, now)
                }
                None => now.at > self.created + timeout + SLACK + now.outage,
            },
            SendingReports => self.since.is_over(REPORTS, now),
            Finalizing => healed.is_some_and(|healed| now.at > healed.max(self.since.at) + REMOVAL),
            Ready | Done | Aborted | Cancelled => false,
        };
        if late {
            return Some(format!("it is still {} after {} s", self.state, (now.at - self.since.at) / 1000));
        }
        let goes_on = !self.state.is_final() && self.state != Finalizing;
        goes_on.then(|| self.members.late(now, self.abort.is_some(), healed))?
    }
}
