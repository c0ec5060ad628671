//! What must hold in every world, at every step. All of it is here and below.
//!
//! [`Rules`] is told of each event when it is on disk, of what users and machines are told, and of what
//! reaches the cloud; it remembers what is broken. What it knows of a run it has from the log alone ([`log`]):
//! who takes part and which operations are open ([`members`]), barriers and leads ([`meetings`]). To add an
//! operation, add its events there, and tell `Rules` what was acknowledged.

mod log;
mod meetings;
mod members;

use std::collections::{BTreeMap, BTreeSet};

use slipstream_shared::{
    event::{Author, Event, Record},
    id::{AttemptKey, InstanceId, RunId},
    meeting::{Leader, MeetingName},
    parameter::Key,
    plan::Plan,
    state::RunState::{
        self, Aborted, Cancelled, Done, Executing, Finalizing, Initializing, Provisioning, Ready, SendingReports,
    },
};

use self::{log::Log, members::Moment};

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
const SLACK: u64 = 3 * MINUTE;

/// In milliseconds.
const MINUTE: u64 = 60 * 1000;

/// From the last mishap, or the request, to the end of a run that is being removed.
const REMOVAL: u64 = 30 * MINUTE;

/// After an abort, and for reports: the product's deadline.
const REPORTS: u64 = MINUTE;

/// A wait whose condition holds is over by then, however often its answer is lost.
const ANSWER: u64 = 90 * 1000;

/// A wait that somebody is in.
#[derive(Debug)]
struct Wait {
    what: String,
    began: u64,
    /// Of which run, for a value of what, or one written since an event.
    condition: Option<(RunId, Key, Option<u64>)>,
    /// Since when that holds.
    holds: Option<Moment>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    runs: BTreeMap<RunId, Log>,
    /// Values that may be written only over that revision.
    expected: BTreeMap<String, u64>,
    stray: BTreeSet<(RunId, InstanceId)>,
    waits: BTreeMap<u64, Wait>,
    next_wait: u64,
    /// How long the coordinator was away or could not write, in all, and since when it is.
    outage: u64,
    out_since: Option<u64>,
    healed: Option<u64>,
    clock_set: Option<u64>,
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
        if let Some(set) = self.clock_set.filter(|_| begins) {
            self.runs.values_mut().for_each(|log| log.lose_clock(now, set));
        }
    }

    /// The clock of the coordinator's machine is set.
    pub(crate) fn clock_set(&mut self, now: u64) {
        self.clock_set = Some(now);
    }

    fn moment(&self, now: u64) -> Moment {
        Moment { at: now, outage: self.outage + self.out_since.map_or(0, |since| now - since) }
    }

    /// An event is on disk.
    pub(crate) fn durable(&mut self, now: u64, run: RunId, record: Record) {
        self.events += 1;
        let moment = self.moment(now);
        if let Event::Accepted { plan, .. } = &record.event
            && self.runs.insert(run, Log::new(moment, plan)).is_some()
        {
            self.broken(format!("run {run} was accepted twice"));
        }
        let Some(log) = self.runs.get_mut(&run) else {
            return self.broken(format!("run {run} does not begin with its first event"));
        };
        let broken = log.take(moment, record, &self.expected);
        for wait in self.waits.values_mut() {
            let holds = |(of, key, than): &(RunId, Key, Option<u64>)| *of == run && log.holds(key, *than);
            if wait.condition.as_ref().is_some_and(|(of, ..)| *of == run) {
                wait.holds = wait.condition.as_ref().filter(|c| holds(c)).map(|_| wait.holds.unwrap_or(moment));
            }
        }
        self.broken.extend(broken.map(|what| format!("run {run}: {what}")));
        self.tick(now);
    }

    /// Time passes: every transient state is left by its deadline, and so is every wait whose condition holds.
    pub(crate) fn tick(&mut self, now: u64) {
        let moment = self.moment(now);
        let healed = self.healed;
        let late = self.runs.iter().find_map(|(run, log)| Some(format!("run {run}: {}", log.late(moment, healed)?)));
        let kept = self.waits.values().find(|wait| wait.holds.is_some_and(|since| since.is_late(ANSWER, moment)));
        let kept = kept.map(|wait| format!("a wait goes on although its condition holds: {}", wait.what));
        self.broken.extend(late.or(kept));
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
        if !log.wrote(revision, key, value) {
            self.broken(format!(
                "run {run}: {key} was shown as {value:?} of revision {revision}, which is not on disk"
            ));
        }
    }

    /// Somebody was told that an operation was begun for a request.
    pub(crate) fn told_operation(&mut self, run: RunId, by: &Author, op: u64, number: u32) {
        self.acknowledged += 1;
        if self.runs.get(&run).and_then(|log| log.members.begun(by, op)) != Some(number) {
            self.broken(format!("run {run}: operation {number} was acknowledged and is not on disk"));
        }
    }

    /// A machine was told that a barrier is open.
    pub(crate) fn told_open(&mut self, run: RunId, barrier: &MeetingName) {
        self.acknowledged += 1;
        if !self.runs.get(&run).is_some_and(|log| log.meetings.is_open(barrier)) {
            self.broken(format!("run {run}: somebody has passed barrier {barrier}, which is not open"));
        }
    }

    /// Somebody was told that it leads.
    pub(crate) fn told_leads(&mut self, run: RunId, lead: &MeetingName, who: &Leader, number: u64) {
        self.acknowledged += 1;
        if !self.runs.get(&run).is_some_and(|log| log.meetings.has_led(lead, who, number)) {
            self.broken(format!("run {run}: {who} was told that it leads {lead} as {number}, which is not on disk"));
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

    /// Somebody begins to wait; for a value of a parameter of a run, or one written since an event, if that is what
    /// it waits for.
    pub(crate) fn wait_begins(&mut self, now: u64, what: String, condition: Option<(RunId, Key, Option<u64>)>) -> u64 {
        self.next_wait += 1;
        let holds =
            |(run, key, than): &(RunId, Key, Option<u64>)| self.runs.get(run).is_some_and(|l| l.holds(key, *than));
        let holds = condition.as_ref().filter(|c| holds(c)).map(|_| self.moment(now));
        self.waits.insert(self.next_wait, Wait { what, began: now, condition, holds });
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
        if let Some(wait) = self.waits.values().next() {
            self.broken(format!("a wait never ended: {}, since {} s", wait.what, wait.began / 1000));
        }
    }

    /// How many operations were begun.
    pub(crate) fn operations(&self) -> u64 {
        self.runs.values().map(|log| u64::from(log.members.operations())).sum()
    }

    /// The last state of one.
    pub(crate) fn state(&self, run: RunId) -> Option<RunState> {
        self.runs.get(&run).map(|log| log.state)
    }

    /// What a run does now; none once it has ended.
    pub(crate) fn plan(&self, run: RunId) -> Option<Plan> {
        self.runs.get(&run).filter(|log| !log.state.is_final()).map(|log| log.plan.clone())
    }

    /// Who takes part in a run.
    pub(crate) fn live(&self, run: RunId) -> Vec<InstanceId> {
        self.runs.get(&run).into_iter().flat_map(|log| log.members.live()).cloned().collect()
    }

    /// Whether a run is aborted.
    pub(crate) fn is_aborted(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(|log| log.abort.is_some())
    }

    /// A run rests in Ready: these machines there are, each of an attempt of an instance.
    pub(crate) fn rests(&mut self, run: RunId, machines: &[(InstanceId, u32)]) {
        let stray = self.stray.iter().filter(|(of, _)| *of == run).map(|(_, id)| id.clone()).collect();
        let broken = self.runs.get(&run).and_then(|log| log.members.rest(machines, &stray));
        self.broken.extend(broken.map(|what| format!("run {run} rests, and {what}")));
    }
}
