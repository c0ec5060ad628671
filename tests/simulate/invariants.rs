//! What must hold in every world, at every step. All of it is here.
//!
//! [`Rules`] is told of each event when it is on disk, of what users and machines are told, and of what
//! reaches the cloud; it remembers what is broken. To add an operation, add its events to the table of
//! states if they change one, and tell `Rules` what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use slipstream_shared::{
    event::{Author, Event, Record},
    id::{AttemptKey, InstanceId, RunId},
    parameter::Key,
    state::RunState::{
        self, Aborted, Cancelled, Done, Executing, Finalizing, Initializing, Provisioning, Ready, SendingReports,
    },
};

/// Which state may follow which.
const TABLE: &[(RunState, &[RunState])] = &[
    (Initializing, &[Provisioning, SendingReports, Ready, Finalizing]),
    (Provisioning, &[Executing, SendingReports, Ready, Finalizing]),
    // Back: taking an abort back counts again who has not enrolled.
    (Executing, &[Provisioning, SendingReports, Ready, Finalizing]),
    (SendingReports, &[Provisioning, Executing, Ready, Finalizing]),
    // Back: an operation, such as scaling, or an abort, after which reports are collected again.
    (Ready, &[Provisioning, Executing, SendingReports, Finalizing]),
    (Finalizing, &[Done, Aborted, Cancelled]),
];

/// How long something may take beyond its deadline, in milliseconds, when nothing goes wrong.
const SLACK: u64 = 3 * 60 * 1000;

/// From the last mishap, or the request, to the end of a run that is being removed.
const REMOVAL: u64 = 30 * 60 * 1000;

/// After an abort, and for reports: the product's deadline.
const REPORTS: u64 = 60 * 1000;

/// One run, as its log on disk says.
#[derive(Debug)]
struct Log {
    records: Vec<Record>,
    timeout: u64,
    created: u64,
    state: RunState,
    since: u64,
    abort: Option<u64>,
    /// How much of the time was outage when it came to its state.
    outage_then: u64,
    attempts: BTreeMap<InstanceId, u32>,
    enrolled: BTreeSet<(InstanceId, u32)>,
    ops: BTreeMap<InstanceId, u64>,
    /// Revision of each parameter.
    revisions: BTreeMap<Key, u64>,
    /// Which event wrote a value. All values that are written in a world are different.
    values: BTreeMap<String, u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    runs: BTreeMap<RunId, Log>,
    /// Values that may be written only over that revision.
    expected: BTreeMap<String, u64>,
    stray: BTreeSet<(RunId, InstanceId)>,
    waits: BTreeMap<u64, (String, u64)>,
    next_wait: u64,
    /// How long the coordinator was away or could not write, in all, and since when it is.
    outage: u64,
    out_since: Option<u64>,
    healed: Option<u64>,
    broken: Vec<String>,
    /// Events on disk.
    pub(crate) events: u64,
    /// Things users and machines were told.
    pub(crate) acknowledged: u64,
}

impl Rules {
    /// A rule is broken.
    pub(crate) fn broken(&mut self, what: String) {
        self.broken.push(what);
    }

    /// The first rule that was broken.
    pub(crate) fn verdict(&self) -> Option<&str> {
        self.broken.first().map(String::as_str)
    }

    /// Nothing goes wrong from now on.
    pub(crate) fn healed(&mut self, now: u64) {
        self.healed = Some(now);
    }

    /// The coordinator is away, or cannot write; or it is back.
    pub(crate) fn outage(&mut self, now: u64, begins: bool) {
        if let Some(since) = self.out_since.take() {
            self.outage += now - since;
        }
        self.out_since = begins.then_some(now);
    }

    /// An event is on disk.
    pub(crate) fn durable(&mut self, now: u64, run: RunId, record: Record) {
        self.events += 1;
        let outage = self.outage;
        if let Event::Accepted { plan, .. } = &record.event {
            let log = Log::new(now, plan.policy.timeout * 1000, outage);
            if self.runs.insert(run, log).is_some() {
                self.broken(format!("run {run} was accepted twice"));
            }
        }
        let Some(log) = self.runs.get_mut(&run) else {
            return self.broken(format!("run {run} does not begin with its first event"));
        };
        let broken = log.take(now, outage, record, &self.expected);
        self.broken.extend(broken.map(|what| format!("run {run}: {what}")));
        self.tick(now);
    }

    /// Time passes: every transient state is left by its deadline.
    pub(crate) fn tick(&mut self, now: u64) {
        let out = self.outage + self.out_since.map_or(0, |since| now - since);
        for (run, log) in &self.runs {
            let late = |from: u64, within: u64| now > from + within + SLACK + (out - log.outage_then);
            let late = match log.state {
                Initializing => late(log.since, 0),
                Provisioning | Executing => match log.abort {
                    Some(abort) => late(abort, REPORTS),
                    None => now > log.created + log.timeout + SLACK + out,
                },
                SendingReports => late(log.since, REPORTS),
                Finalizing => self.healed.is_some_and(|healed| now > healed.max(log.since) + REMOVAL),
                Ready | Done | Aborted | Cancelled => false,
            };
            if late {
                let seconds = (now - log.since) / 1000;
                self.broken.push(format!("run {run} is still {} after {seconds} s", log.state));
                return;
            }
        }
    }

    /// Somebody was told that a value is written.
    pub(crate) fn told_written(&mut self, run: RunId, value: &str) {
        self.acknowledged += 1;
        if !self.runs.get(&run).is_some_and(|log| log.values.contains_key(value)) {
            self.broken(format!("run {run}: `{value}` was acknowledged and is not on disk"));
        }
    }

    /// A machine was told that its change is applied.
    pub(crate) fn told_applied(&mut self, run: RunId, instance: &InstanceId, value: Option<&str>) {
        self.acknowledged += 1;
        if let Some(value) = value
            && !self.runs.get(&run).is_some_and(|log| log.values.contains_key(value))
        {
            self.broken(format!("run {run}: `{value}` of {instance} was acknowledged and is not on disk"));
        }
    }

    /// Somebody was shown a value, as of that revision.
    pub(crate) fn told_value(&mut self, run: RunId, key: &Key, value: Option<&str>, revision: u64) {
        let Some(log) = self.runs.get(&run).filter(|_| revision > 0) else { return };
        let at = usize::try_from(revision - 1).ok().and_then(|at| log.records.get(at));
        let there = match at.map(|record| &record.event) {
            Some(Event::ParameterSet { key: set, value: new, .. }) => set == key && Some(new.as_str()) == value,
            Some(Event::ParameterUnset { key: unset, .. }) => unset == key && value.is_none(),
            _ => false,
        };
        if !there {
            self.broken(format!(
                "run {run}: {key} was shown as {value:?} of revision {revision}, which is not on disk"
            ));
        }
    }

    /// Somebody who follows a run was shown an event.
    pub(crate) fn told_event(&mut self, run: RunId, record: &Record) {
        let at = usize::try_from(record.seq).unwrap_or(0).saturating_sub(1);
        if self.runs.get(&run).and_then(|log| log.records.get(at)) != Some(record) {
            self.broken(format!("run {run}: event {} was shown and is not on disk", record.seq));
        }
    }

    /// A value is about to be written on the condition that its parameter has that revision.
    pub(crate) fn expect(&mut self, value: &str, revision: u64) {
        self.expected.insert(value.to_owned(), revision);
    }

    /// A launch has reached the cloud.
    pub(crate) fn launched(&mut self, key: &AttemptKey) {
        let attempt = self.runs.get(&key.run).and_then(|log| log.attempts.get(&key.instance));
        if attempt.is_none_or(|attempt| *attempt < key.attempt) {
            self.broken(format!("{} of run {} was launched before that was on disk", key.instance, key.run));
        }
    }

    /// A launch reached the cloud twice, or when nobody counted on it any more: if the cloud does not know it
    /// for the same, there is a second machine, until the instance goes.
    pub(crate) fn stray_launch(&mut self, key: AttemptKey) {
        self.stray.insert((key.run, key.instance));
    }

    /// Somebody begins to wait.
    pub(crate) fn wait_begins(&mut self, now: u64, what: String) -> u64 {
        self.next_wait += 1;
        self.waits.insert(self.next_wait, (what, now));
        self.next_wait
    }

    /// A wait is over, however it ended.
    pub(crate) fn wait_ends(&mut self, number: u64) {
        self.waits.remove(&number);
    }

    /// The last state of each run.
    pub(crate) fn states(&self) -> BTreeMap<RunId, RunState> {
        self.runs.iter().map(|(run, log)| (*run, log.state)).collect()
    }

    /// Everything has come to rest: all runs have ended, nothing is left, nobody waits.
    pub(crate) fn at_rest(&mut self, machines: usize) {
        let unfinished: Vec<String> = self
            .runs
            .iter()
            .filter(|(_, log)| !log.state.is_final())
            .map(|(run, log)| format!("{run} is {}", log.state))
            .collect();
        if !unfinished.is_empty() {
            self.broken(format!("at the end, {}", unfinished.join(", ")));
        }
        if machines > 0 {
            self.broken(format!("at rest there are {machines} machines that no run owns"));
        }
        if let Some((what, since)) = self.waits.values().next().cloned() {
            self.broken(format!("a wait never ended: {what}, since {} s", since / 1000));
        }
    }

    /// A run rests in Ready: so many machines there are, for so many instances that are up.
    pub(crate) fn rests(&mut self, run: RunId, machines: &[(InstanceId, String)]) {
        let mut seen = BTreeSet::new();
        for (instance, machine) in machines {
            if !seen.insert(instance) && !self.stray.contains(&(run, instance.clone())) {
                self.broken(format!("run {run} rests, and {instance} has two machines, {machine} and another"));
                return;
            }
        }
    }
}

impl Log {
    fn new(now: u64, timeout: u64, outage: u64) -> Self {
        Log {
            records: vec![],
            timeout,
            created: now,
            state: Initializing,
            since: now,
            abort: None,
            outage_then: outage,
            attempts: BTreeMap::new(),
            enrolled: BTreeSet::new(),
            ops: BTreeMap::new(),
            revisions: BTreeMap::new(),
            values: BTreeMap::new(),
        }
    }

    /// Takes an event; says which rule it breaks.
    fn take(&mut self, now: u64, outage: u64, record: Record, expected: &BTreeMap<String, u64>) -> Option<String> {
        let seq = self.records.len() as u64 + 1;
        if record.seq != seq {
            return Some(format!("event {} follows {}", record.seq, seq - 1));
        }
        let broken = (self.state.is_final())
            .then(|| format!("an event after {}: {:?}", self.state, record.event))
            .or_else(|| self.once(&record))
            .or_else(|| self.change(now, outage, &record, expected));
        self.records.push(record);
        broken
    }

    /// A machine's change is applied once, in its order. One change may make several events, side by side.
    fn once(&mut self, record: &Record) -> Option<String> {
        let (Author::Instance(by), Some(op)) = (&record.by, record.op) else { return None };
        let last = self.ops.insert(by.clone(), op).unwrap_or(0);
        let beside = self.records.last().is_some_and(|before| before.by == record.by && before.op == record.op);
        (op < last || (op == last && !beside)).then(|| format!("change {op} of {by} was applied after {last}"))
    }

    fn change(&mut self, now: u64, outage: u64, record: &Record, expected: &BTreeMap<String, u64>) -> Option<String> {
        match &record.event {
            Event::StateChanged { state } => {
                let from = std::mem::replace(&mut self.state, *state);
                (self.since, self.outage_then) = (now, outage);
                let allowed = TABLE.iter().find(|(known, _)| *known == from).map_or(&[][..], |(_, to)| to);
                return (!allowed.contains(state)).then(|| format!("it went from {from} to {state}"));
            }
            Event::AbortRaised { .. } => {
                self.abort.get_or_insert(now);
                self.outage_then = outage;
            }
            Event::AbortCancelled => self.abort = None,
            Event::LaunchIntended { instance, attempt, .. } => {
                self.ops.remove(instance);
                let before = self.attempts.insert(instance.clone(), *attempt).unwrap_or(0);
                return (*attempt != before + 1).then(|| format!("attempt {attempt} of {instance} follows {before}"));
            }
            Event::Enrolled { instance, attempt, .. } => {
                let first = self.enrolled.insert((instance.clone(), *attempt));
                return (!first).then(|| format!("attempt {attempt} of {instance} enrolled twice"));
            }
            Event::ParameterSet { key, value, .. } => {
                let had = self.revisions.insert(key.clone(), record.seq).unwrap_or(0);
                if let Some(twice) = self.values.insert(value.clone(), record.seq) {
                    return Some(format!("`{value}` was written twice, in {twice} and {}", record.seq));
                }
                let wanted = expected.get(value).copied();
                return wanted
                    .filter(|wanted| *wanted != had)
                    .map(|wanted| format!("`{value}` was to be written over revision {wanted} and was over {had}"));
            }
            Event::ParameterUnset { key, .. } => {
                self.revisions.insert(key.clone(), record.seq);
            }
            _ => {}
        }
        None
    }
}
