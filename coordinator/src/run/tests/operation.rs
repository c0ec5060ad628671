//! Operations and meetings where several things happen at once.

use slipstream_shared::{event::Event, meeting::Parties, operation::Asked};

use super::{Bench, id, plan};

fn ends(events: &[Event]) -> usize {
    events.iter().filter(|e| matches!(e, Event::OperationFinished { .. })).count()
}

#[test]
fn an_operation_that_is_done_when_the_run_is_aborted_ends_once() {
    let mut bench = Bench::new(plan());
    bench.all_ready();
    let stop = Asked::Stop { instances: vec![id("web.1")] };
    for event in bench.run.start_operation(&stop).expect("possible") {
        bench.happen(event);
    }
    bench.settle();
    bench.happen(Event::MachineGone { instance: id("web.1"), attempt: 1, unexpected: true });
    bench.happen(Event::AbortRaised { instance: None, reason: "enough".into(), failure: None });
    let (_, events) = bench.settle();
    assert_eq!(ends(&events), 1, "{events:?}");
    let failure = bench.run.operations[&1].failure.as_deref();
    assert_eq!(failure, Some("the run was aborted: enough"));
}

#[test]
fn an_operation_that_the_cloud_refuses_ends_once_whatever_else_is_over() {
    let mut bench = Bench::new(plan());
    bench.all_ready();
    for event in bench.run.start_operation(&Asked::Stop { instances: vec![id("web.1")] }).expect("possible") {
        bench.happen(event);
    }
    bench.settle();
    let (instance, reason) = (id("web.1"), "no".to_owned());
    bench.happen(Event::PowerFailed { instance: instance.clone(), attempt: 1, on: false, reason });
    bench.happen(Event::MachineGone { instance, attempt: 1, unexpected: true });
    let (_, events) = bench.settle();
    assert_eq!(ends(&events), 1, "{events:?}");
    assert_eq!(bench.run.operations[&1].failure.as_deref(), Some("web.1: no"));
}

#[test]
fn a_barrier_does_not_open_because_machines_are_being_removed() {
    let mut bench = Bench::new(plan());
    bench.all_ready();
    let parties = Parties::Nodes(["web".parse().expect("valid")].into());
    bench.happen_by("web.1", Event::BarrierArrived { barrier: "b".parse().expect("valid"), parties });
    bench.happen(Event::ReplaceIntended { instance: id("web.2"), attempt: 1, reason: "lost".into() });
    bench.happen(Event::TerminateRequested);
    let (_, events) = bench.settle();
    assert!(!events.iter().any(|e| matches!(e, Event::BarrierOpened { .. })), "web.2 has not come: {events:?}");
}
