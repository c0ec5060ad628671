//! Who takes part in a run, by its log: what operations want, machines that come, go and are switched, and
//! by when each of that is over.

use std::collections::{BTreeMap, BTreeSet};

use slipstream_shared::{
    event::{Author, Event, Record},
    id::InstanceId,
    operation::{Asked, HOOK_WITHIN, Task, Work},
};

use super::{MINUTE, SLACK};

/// How long an instance may take to its next milestone: the longest of the product's deadlines.
const MILESTONE: u64 = 30 * MINUTE;

/// How long a machine may take to power off or on, the mishaps of asking for it included.
const SWITCH: u64 = 10 * MINUTE;

/// What the machine of an instance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    /// Not launched, or failed to be.
    Absent,
    /// Intended, launched or running.
    There,
    /// Being powered off or on.
    Switching,
    Off,
    /// Being removed.
    Going,
    Gone,
}

/// An instance.
#[derive(Debug)]
struct Member {
    attempt: u32,
    machine: Machine,
    failed: bool,
    leaving: bool,
    given_up: bool,
    replacing: bool,
    silent: bool,
    since: Moment,
}

/// A moment, and how much of the time before was outage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: u64,
    pub(super) outage: u64,
}

impl Moment {
    /// Whether more than so much time has passed, outage and slack apart.
    pub(super) fn is_over(self, within: u64, now: Moment) -> bool {
        self.is_late(within + SLACK, now)
    }

    /// The same without slack.
    pub(super) fn is_late(self, within: u64, now: Moment) -> bool {
        now.at > self.at + within + now.outage.saturating_sub(self.outage)
    }
}

/// An operation that is under way.
#[derive(Debug)]
struct Open {
    since: Moment,
    within: u64,
    remove: Vec<InstanceId>,
}

/// All instances and operations of a run.
#[derive(Debug, Default)]
pub(super) struct Members {
    all: BTreeMap<InstanceId, Member>,
    open: BTreeMap<u32, Open>,
    last: u32,
    /// Which operation a request has begun.
    begun: BTreeMap<(Author, u64), u32>,
}

impl Member {
    fn new(since: Moment) -> Self {
        Member {
            attempt: 0,
            machine: Machine::Absent,
            failed: false,
            leaving: false,
            given_up: false,
            replacing: false,
            silent: false,
            since,
        }
    }

    fn is_live(&self) -> bool {
        let there = !matches!(self.machine, Machine::Going | Machine::Gone) && !self.failed;
        !self.given_up && !self.leaving && (there || self.replacing)
    }
}

impl Members {
    /// Who takes part.
    pub(super) fn live(&self) -> impl Iterator<Item = &InstanceId> {
        self.all.iter().filter(|(_, member)| member.is_live()).map(|(id, _)| id)
    }

    /// Whether another one may lead in its place.
    pub(super) fn may_be_succeeded(&self, id: &InstanceId) -> bool {
        let off = |member: &Member| matches!(member.machine, Machine::Switching | Machine::Off);
        self.all.get(id).is_none_or(|member| !member.is_live() || member.silent || off(member))
    }

    /// How many operations there were.
    pub(super) fn operations(&self) -> u32 {
        self.last
    }

    pub(super) fn has_open_operation(&self) -> bool {
        !self.open.is_empty()
    }

    /// The operation that a request has begun.
    pub(super) fn begun(&self, by: &Author, op: u64) -> Option<u32> {
        self.begun.get(&(by.clone(), op)).copied()
    }

    /// The instances of the plan that a run begins with.
    pub(super) fn begin(&mut self, ids: impl Iterator<Item = InstanceId>, now: Moment) {
        self.all = ids.map(|id| (id, Member::new(now))).collect();
    }

    /// Takes an event; says which rule it breaks.
    pub(super) fn take(&mut self, now: Moment, record: &Record, timeout: u64) -> Option<String> {
        match &record.event {
            Event::OperationStarted { number, asked, add, remove, tasks, .. } => {
                let broken = self.start(*number, asked, add, remove);
                if let Some(twice) = record.op.and_then(|op| self.begun.insert((record.by.clone(), op), *number)) {
                    return Some(format!("a request began operation {twice}, and once more {number}"));
                }
                for id in add {
                    if self.all.insert(id.clone(), Member::new(now)).is_some() {
                        return Some(format!("operation {number} adds {id}, whose number was used before"));
                    }
                }
                for id in remove {
                    if let Some(member) = self.all.get_mut(id) {
                        member.leaving = true;
                    }
                }
                let within = timeout + 2 * MILESTONE + tasks.iter().map(|task| time_of(task, timeout)).sum::<u64>();
                self.open.insert(*number, Open { since: now, within, remove: remove.clone() });
                broken
            }
            Event::OperationFinished { number, .. } => {
                let Some(open) = self.open.remove(number) else {
                    return Some(format!("operation {number} ended and was not open"));
                };
                for id in &open.remove {
                    if let Some(member) = self.all.get_mut(id) {
                        member.leaving &= matches!(member.machine, Machine::Going | Machine::Gone);
                    }
                }
                // Those behind it had to wait for it.
                self.open.values_mut().for_each(|open| open.since = now);
                None
            }
            event => {
                let member = event.instance().and_then(|id| self.all.get_mut(id))?;
                member.take(now, event)
            }
        }
    }

    /// Whether an operation does what was asked for.
    fn start(&mut self, number: u32, asked: &Asked, add: &[InstanceId], remove: &[InstanceId]) -> Option<String> {
        if number != self.last + 1 {
            return Some(format!("operation {number} follows {}", self.last));
        }
        self.last = number;
        let Asked::Scale { count, remove: named } = asked else { return None };
        for (node, wanted) in count {
            let of_node = |ids: &[InstanceId]| ids.iter().filter(|id| id.node == *node).count();
            let live = self.live().filter(|id| id.node == *node).count();
            let will = live + of_node(add) - of_node(remove);
            if will != *wanted as usize {
                return Some(format!("operation {number} leads to {will} of {node}, and {wanted} were asked for"));
            }
        }
        let kept = named.iter().find(|id| !remove.contains(id));
        kept.map(|id| format!("operation {number} was to remove {id} and does not"))
    }

    /// What is not over although its time is.
    pub(super) fn late(&self, now: Moment, is_aborted: bool, healed: Option<u64>) -> Option<String> {
        let late = |since: Moment, within: u64| since.is_over(within, now);
        if let Some((number, open)) = self.open.iter().find(|(_, open)| late(open.since, open.within)) {
            return Some(format!("operation {number} is still open after {} s", (now.at - open.since.at) / 1000));
        }
        self.all.iter().find_map(|(id, member)| {
            let what = match member.machine {
                Machine::Switching if late(member.since, SWITCH) => "is being switched",
                Machine::Going if healed.is_some_and(|at| now.at > at.max(member.since.at) + SWITCH + SLACK) => {
                    "is being removed"
                }
                Machine::There | Machine::Absent
                    if member.replacing && !is_aborted && late(member.since, MILESTONE) =>
                {
                    "is not there again"
                }
                _ => return None,
            };
            Some(format!("{id} {what}, after {} s", (now.at - member.since.at) / 1000))
        })
    }

    /// The run rests: each instance has its machine, and each machine an instance.
    pub(super) fn rest(&self, machines: &[(InstanceId, u32)], stray: &BTreeSet<InstanceId>) -> Option<String> {
        let mut seen: BTreeMap<&InstanceId, u32> = BTreeMap::new();
        for (id, attempt) in machines.iter().filter(|(id, _)| !stray.contains(id)) {
            let owner = self.all.get(id).filter(|member| member.is_live() && member.attempt == *attempt);
            if owner.is_none() && self.open.is_empty() {
                return Some(format!("{id} takes no part, and has a machine of attempt {attempt}"));
            }
            *seen.entry(id).or_default() += 1;
            if seen.get(id).is_some_and(|count| *count > 1) {
                return Some(format!("{id} has two machines"));
            }
        }
        let there = |member: &Member| matches!(member.machine, Machine::There | Machine::Off) && member.is_live();
        let without = self.all.iter().find(|(id, m)| there(m) && !machines.iter().any(|(of, _)| of == *id));
        without.filter(|_| self.open.is_empty()).map(|(id, _)| format!("{id} counts as there and has no machine"))
    }
}

impl Member {
    fn take(&mut self, now: Moment, event: &Event) -> Option<String> {
        let before = (self.machine, self.attempt, self.replacing);
        match event {
            Event::LaunchIntended { instance, attempt, .. } => {
                let known = std::mem::replace(&mut self.attempt, *attempt);
                (self.machine, self.failed, self.silent) = (Machine::There, false, false);
                if *attempt != known + 1 {
                    return Some(format!("attempt {attempt} of {instance} follows {known}"));
                }
            }
            Event::Launched { .. } | Event::MachineRunning { .. } => self.since = now,
            Event::LaunchFailed { retry, .. } => (self.machine, self.failed) = (Machine::Absent, !retry),
            Event::Enrolled { .. } => self.replacing = false,
            Event::InstanceGivenUp { .. } => (self.given_up, self.replacing) = (true, false),
            Event::ReplaceIntended { .. } => {
                (self.machine, self.replacing, self.silent) = (Machine::Going, true, false);
            }
            Event::TerminateIntended { .. } => self.machine = Machine::Going,
            Event::MachineGone { .. } => self.machine = Machine::Gone,
            Event::InstanceSilent { .. } => self.silent = true,
            Event::InstanceHeard { .. } => self.silent = false,
            Event::PowerIntended { .. } => (self.machine, self.silent) = (Machine::Switching, false),
            Event::PowerChanged { on, .. } => self.machine = if *on { Machine::There } else { Machine::Off },
            Event::PowerFailed { on, .. } => self.machine = if *on { Machine::Off } else { Machine::There },
            _ => {}
        }
        if before != (self.machine, self.attempt, self.replacing) {
            self.since = now;
        }
        None
    }
}

/// How long a task may take, in milliseconds, its agent's answer included.
fn time_of(task: &Task, timeout: u64) -> u64 {
    match task.work {
        Work::Hook { .. } => HOOK_WITHIN * 1000 + MINUTE,
        Work::Step { .. } => timeout + MINUTE,
    }
}
