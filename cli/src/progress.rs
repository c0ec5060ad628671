//! What a person sees of a run: a pure fold of its events into lines, and in the end into a table.

mod phases;

use std::collections::BTreeMap;

use jiff::Timestamp;
use slipstream_shared::{
    event::{Event, Record, StepResult},
    id::InstanceId,
    operation::FIRST_TASK,
    parameter::{Key, Scope},
    plan::Plan,
    state::RunState,
};

use self::phases::Phases;
use crate::{
    operation::words,
    output::{Paint, Tone, one_line, seconds},
    table::Table,
};

/// One line of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Since the run was accepted, in milliseconds.
    pub(crate) after: i64,
    /// An instance, or `run`.
    who: String,
    what: String,
    detail: String,
    tone: Tone,
    /// The step whose last output explains the line.
    pub(crate) tail: Option<(InstanceId, u32)>,
}

/// All that was seen of a run so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    began: Option<Timestamp>,
    plan: Option<Box<Plan>>,
    state: Option<RunState>,
    abort: Option<String>,
    ready_after: Option<i64>,
    clouds: BTreeMap<InstanceId, String>,
    phases: BTreeMap<InstanceId, Phases>,
    /// Operations that are over, and whether they have succeeded.
    operations: BTreeMap<u32, bool>,
    seq: u64,
}

impl Progress {
    /// The number of the last event.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether an operation has succeeded, once it is over.
    pub(crate) fn operation(&self, number: u32) -> Option<bool> {
        self.operations.get(&number).copied()
    }

    /// Where the run is.
    pub(crate) fn state(&self) -> RunState {
        self.state.unwrap_or(RunState::Initializing)
    }

    /// True when the run is aborted, or has ended before it was Ready.
    pub(crate) fn has_failed(&self) -> bool {
        self.abort.is_some() || (self.state().is_final() && self.ready_after.is_none())
    }

    /// Why it is aborted.
    pub(crate) fn abort(&self) -> Option<&str> {
        self.abort.as_deref()
    }

    /// When it was Ready, in milliseconds after its beginning.
    pub(crate) fn ready_after(&self) -> Option<i64> {
        self.ready_after
    }

    /// Seconds of each phase of each instance; none when nothing was launched.
    pub(crate) fn phases(&self) -> Table {
        phases::table(&self.phases)
    }

    /// Takes an event in and says what to show of it.
    pub(crate) fn apply(&mut self, record: &Record) -> Vec<Line> {
        self.seq = record.seq;
        let began = *self.began.get_or_insert(record.at);
        let after = record.at.as_millisecond() - began.as_millisecond();
        let mut lines = Vec::new();
        let mut say = |who: &dyn std::fmt::Display, what: &str, detail: String, tone: Tone| {
            let (who, what) = (who.to_string(), what.to_owned());
            lines.push(Line { after, who, what, detail: one_line(&detail), tone, tail: None });
        };
        match &record.event {
            Event::Accepted { plan, .. } => {
                say(&"run", "accepted", accepted(plan), Tone::Plain);
                self.plan = Some(plan.clone());
            }
            Event::StateChanged { state } => {
                self.state = Some(*state);
                let (detail, tone) = self.state_detail(*state, after);
                say(&"run", &state.to_string(), detail, tone);
            }
            Event::AbortRaised { instance, reason, .. } => {
                self.abort.get_or_insert_with(|| reason.clone());
                let by = instance.as_ref().map(ToString::to_string).filter(|name| !reason.contains(name));
                let by = by.map(|name| format!("{name}: ")).unwrap_or_default();
                say(&"run", "aborted", format!("{by}{reason}"), Tone::Bad);
            }
            Event::AbortCancelled => {
                self.abort = None;
                say(&"run", "abort", "taken back".to_owned(), Tone::Warn);
            }
            Event::TerminateRequested => say(&"run", "terminate", format!("asked for by {}", record.by), Tone::Plain),
            Event::OperationStarted { number, asked, add, remove, touch, .. } => {
                let what = words(asked, add, remove, touch);
                say(&"run", "operation", format!("{number}: {what} (asked for by {})", record.by), Tone::Plain);
            }
            Event::OperationFinished { number, failure } => {
                self.operations.insert(*number, failure.is_none());
                match failure {
                    None => say(&"run", "operation", format!("{number} is done"), Tone::Good),
                    Some(why) => say(&"run", "operation", format!("{number} has failed: {why}"), Tone::Bad),
                }
            }
            Event::BarrierOpened { barrier } => say(&"run", "barrier", format!("{barrier} is open"), Tone::Plain),
            Event::LeadChanged { lead, number, leader: Some(leader), .. } => {
                say(leader, "leads", format!("{lead} (number {number})"), Tone::Plain);
            }
            Event::LeadChanged { lead, leader: None, .. } => {
                say(&"run", "lead", format!("{lead}: {} ended it", record.by), Tone::Plain);
            }
            Event::ClockChanged { millis } => {
                let (by, way) = (seconds(millis.saturating_abs()), if *millis < 0 { "back" } else { "forward" });
                say(&"run", "clock", format!("of the coordinator was set {way} by {by}"), Tone::Warn);
            }
            Event::LeaseSet { seconds: Some(left) } => {
                say(&"run", "lease", format!("ends in {}", whole(*left)), Tone::Plain);
            }
            Event::LeaseSet { seconds: None } => say(&"run", "lease", "has no end".to_owned(), Tone::Plain),
            Event::LeaseEnding { seconds } => say(&"run", "lease", format!("ends in {}", whole(*seconds)), Tone::Warn),
            Event::LeaseEnded => say(&"run", "lease", "has ended".to_owned(), Tone::Warn),
            Event::Abandoned { left } => {
                let names: Vec<&str> = left.iter().map(|one| one.name.as_str()).collect();
                say(&"run", "abandoned", format!("and leaves {}", names.join(", ")), Tone::Bad);
            }
            Event::Noted { message } => say(&"run", "note", message.clone(), Tone::Plain),
            Event::Trouble { message } => say(&"run", "trouble", message.clone(), Tone::Warn),
            Event::ParameterSet { key, value } => set(key, value, &mut say),
            other => lines = self.of_instance(other, after),
        }
        lines
    }

    fn state_detail(&mut self, state: RunState, after: i64) -> (String, Tone) {
        match state {
            RunState::Ready => {
                self.ready_after.get_or_insert(after);
                match self.abort {
                    Some(_) => ("but aborted; what was launched is still there".to_owned(), Tone::Bad),
                    None => (format!("after {}", seconds(after)), Tone::Good),
                }
            }
            RunState::Done => ("everything is gone".to_owned(), Tone::Good),
            RunState::Aborted | RunState::Cancelled => ("everything is gone".to_owned(), Tone::Bad),
            RunState::Finalizing => ("removing what was launched".to_owned(), Tone::Plain),
            _ => (String::new(), Tone::Plain),
        }
    }

    fn of_instance(&mut self, event: &Event, after: i64) -> Vec<Line> {
        let Some(who) = event.instance().cloned() else { return vec![] };
        let line = |what: &str, detail: String, tone| {
            vec![Line {
                after,
                who: who.to_string(),
                what: one_line(what),
                detail: one_line(&detail),
                tone,
                tail: None,
            }]
        };
        if let Event::StepFinished { index, step, result, .. } = event {
            return self.step_finished(&who, *index, step, result, after);
        }
        let label = |index: u32, step: &str| self.label(&who, index, step);
        match event {
            Event::StepStarted { index, step, .. } => {
                line(step, format!("started{}", label(*index, step)), Tone::Plain)
            }
            Event::LaunchIntended { attempt, cloud, .. } => {
                self.clouds.insert(who.clone(), cloud.clone());
                self.phases.insert(who.clone(), Phases::default());
                if *attempt > 1 { line("launch", format!("once more (attempt {attempt})"), Tone::Warn) } else { vec![] }
            }
            Event::Launched { .. } => {
                self.mark(&who).launched.get_or_insert(after);
                line(
                    "launched",
                    format!("on {}", self.clouds.get(&who).map_or("its cloud", String::as_str)),
                    Tone::Plain,
                )
            }
            Event::LaunchFailed { reason, retry: true, .. } => {
                line("launch", format!("failed, will be tried again: {reason}"), Tone::Warn)
            }
            Event::PowerIntended { on, .. } => line(if *on { "starts" } else { "stops" }, String::new(), Tone::Plain),
            Event::PowerChanged { on, .. } => line(if *on { "running" } else { "stopped" }, String::new(), Tone::Plain),
            Event::PowerFailed { reason, .. } => line("power", format!("failed: {reason}"), Tone::Bad),
            Event::MachineChangeIntended { change, .. } => line("change", change.to_string(), Tone::Plain),
            Event::MachineChanged { change, .. } => line("changed", change.to_string(), Tone::Good),
            Event::MachineChangeFailed { change, reason, .. } => {
                line("change", format!("cannot {change}: {reason}"), Tone::Bad)
            }
            Event::MachineGivenUp { reason, .. } => line("change", format!("given up: {reason}"), Tone::Bad),
            Event::LaunchFailed { reason, .. } => line("launch", format!("failed: {reason}"), Tone::Bad),
            Event::MachineRunning { .. } => {
                self.mark(&who).running.get_or_insert(after);
                line("running", String::new(), Tone::Plain)
            }
            Event::Enrolled { .. } => {
                self.mark(&who).enrolled.get_or_insert(after);
                line("enrolled", String::new(), Tone::Plain)
            }
            Event::EnrolmentRefused { reason, .. } => line("refused", format!("may not enrol: {reason}"), Tone::Warn),
            Event::InstanceReady { .. } => {
                self.mark(&who).ready.get_or_insert(after);
                line("ready", String::new(), Tone::Good)
            }
            Event::WaitBegan { on, .. } => {
                self.mark(&who).waits.insert(on.clone(), after);
                line("waits", format!("for {on}"), Tone::Warn)
            }
            Event::WaitEnded { on, came, .. } => {
                let took = self.mark(&who).wait_ended(on, after);
                let verb = if *came { "has" } else { "gave up" };
                line(verb, format!("{on} after {}", seconds(took)), Tone::Plain)
            }
            Event::ChangeRefused { message, .. } => line("refused", message.clone(), Tone::Warn),
            Event::ReportFinished { size: Some(size), .. } => line("report", crate::output::bytes(*size), Tone::Dim),
            Event::InstanceAborted { reason, .. } => line("aborted", reason.clone(), Tone::Bad),
            Event::InstanceGivenUp { reason, .. } => line("given up", reason.clone(), Tone::Bad),
            Event::ReplaceIntended { reason, .. } => {
                line("replaced", format!("by another machine: {reason}"), Tone::Bad)
            }
            Event::InstanceSilent { .. } => line("silent", "nothing is heard of its agent".to_owned(), Tone::Bad),
            Event::InstanceHeard { .. } => line("heard", "again".to_owned(), Tone::Plain),
            Event::MachineGone { unexpected: true, .. } => {
                line("gone", "nobody had asked for it".to_owned(), Tone::Bad)
            }
            Event::MachineGone { .. } => line("gone", String::new(), Tone::Dim),
            _ => vec![],
        }
    }

    fn step_finished(
        &mut self,
        who: &InstanceId,
        index: u32,
        step: &str,
        result: &StepResult,
        after: i64,
    ) -> Vec<Line> {
        let took = seconds(i64::try_from(result.millis).unwrap_or(i64::MAX));
        let label = self.label(who, index, step);
        let mut line = Line {
            after,
            who: who.to_string(),
            what: one_line(step),
            detail: format!("done in {took}{label}"),
            tone: Tone::Plain,
            tail: None,
        };
        if result.succeeded() {
            // Tasks of operations are no phases of the deployment.
            if index < FIRST_TASK {
                self.mark(who).step_done(step, after);
            }
        } else {
            line.detail = one_line(&format!("failed after {took}{label}: {result}"));
            // A step ended by the abort of another one explains nothing.
            let is_cause = result.cause.as_deref() != Some("aborted");
            line.tone = if is_cause { Tone::Bad } else { Tone::Warn };
            line.tail = is_cause.then(|| (who.clone(), index));
        }
        vec![line]
    }

    fn mark(&mut self, who: &InstanceId) -> &mut Phases {
        self.phases.entry(who.clone()).or_default()
    }

    /// Names the module of a step where an instance has several steps of that name.
    fn label(&self, who: &InstanceId, index: u32, step: &str) -> String {
        let node = self.plan.as_ref().and_then(|plan| plan.nodes.get(&who.node));
        let Some(node) = node else { return String::new() };
        let all: Vec<_> = node.steps.iter().chain(&node.report).collect();
        if all.iter().filter(|s| s.step == step).count() < 2 {
            return String::new();
        }
        all.get(index as usize).map(|s| format!(" ({})", s.origin)).unwrap_or_default()
    }

    /// How wide the second column must be.
    fn width(&self) -> usize {
        let nodes = self.plan.iter().flat_map(|plan| &plan.nodes);
        nodes.map(|(name, node)| name.as_str().len() + 1 + node.count.to_string().len()).max().unwrap_or(10)
    }

    /// A line as text.
    pub(crate) fn render(&self, line: &Line, paint: Paint) -> String {
        let time = paint.tone(Tone::Dim, &format!("[{:>7.1}s]", line.after as f64 / 1000.0));
        let who = format!("{:<width$}", line.who, width = self.width());
        let what = paint.tone(line.tone, &format!("{:<12}", line.what));
        let detail = match line.tone {
            Tone::Good | Tone::Plain => paint.tone(Tone::Plain, &line.detail),
            tone => paint.tone(tone, &line.detail),
        };
        format!("{time}  {who}  {what}  {detail}").trim_end().to_owned()
    }

    /// Text below a line, such as the last output of a failed step.
    pub(crate) fn below(&self, text: &str, paint: Paint) -> String {
        let text = text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect::<String>();
        paint.tone(Tone::Dim, &format!("{:width$}| {text}", "", width = 13 + self.width())).trim_end().to_owned()
    }
}

fn whole(seconds_left: u64) -> String {
    seconds(i64::try_from(seconds_left.saturating_mul(1000)).unwrap_or(i64::MAX))
}

fn accepted(plan: &Plan) -> String {
    let nodes: Vec<String> = plan.nodes.iter().map(|(name, node)| format!("{} {name}", node.count)).collect();
    format!("{}: {}", plan.module, nodes.join(", "))
}

fn set(key: &Key, value: &str, say: &mut impl FnMut(&dyn std::fmt::Display, &str, String, Tone)) {
    match (&key.scope, key.name.as_str()) {
        (Scope::Instance(instance), "statecustom") if !value.is_empty() => {
            say(instance, "says", value.to_owned(), Tone::Said);
        }
        (Scope::Run, "url.service") if !value.is_empty() => say(&"run", "serves at", value.to_owned(), Tone::Said),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows a recorded run as a person would see it in the end.
    fn shown(events: &str) -> String {
        let mut progress = Progress::default();
        let mut out = String::new();
        for json in events.lines() {
            let record: Record = serde_json::from_str(json).expect(json);
            for line in progress.apply(&record) {
                out.push_str(&progress.render(&line, Paint::default()));
                out.push('\n');
                if let Some((instance, index)) = line.tail {
                    out.push_str(&progress.below(&format!("(the end of {instance} {index})"), Paint::default()));
                    out.push('\n');
                }
            }
        }
        format!("{out}\n{}", progress.phases().render(Paint::default()))
    }

    #[test]
    fn a_run_that_succeeds_reads_like_this() {
        let text = shown(include_str!("../tests/golden/succeeds.events"));
        assert_eq!(text, include_str!("../tests/golden/succeeds.txt"), "\n{text}");
    }

    #[test]
    fn a_run_that_fails_reads_like_this() {
        let text = shown(include_str!("../tests/golden/fails.events"));
        assert_eq!(text, include_str!("../tests/golden/fails.txt"), "\n{text}");
    }

    #[test]
    fn a_failure_is_known_and_can_be_taken_back() {
        let mut progress = Progress::default();
        let mut apply = |seq: u64, event: &str| {
            let json = format!(r#"{{"seq":{seq},"at":"2026-11-20T12:00:00Z","by":"system",{event}}}"#);
            progress.apply(&serde_json::from_str(&json).expect(&json));
            progress.has_failed()
        };
        assert!(!apply(1, r#""kind":"state_changed","state":"Provisioning""#));
        assert!(apply(2, r#""kind":"abort_raised","reason":"no""#));
        assert!(!apply(3, r#""kind":"abort_cancelled""#));
        assert!(apply(4, r#""kind":"state_changed","state":"Cancelled""#), "never Ready");
    }
}
