//! Machines that boot again, and certificates that grow old.

use slipstream_shared::{
    event::StepResult,
    link::{AgentStep, Change},
};

use crate::common::{Machine, coordinator::Coordinator, plan, poll, step};

fn finished(coordinator: &Coordinator, index: u32) -> Vec<StepResult> {
    let changes = &coordinator.world().changes;
    let of_it = changes.iter().filter_map(|change| match change {
        Change::StepFinished { index: i, result } if *i == index => Some(result.clone()),
        _ => None,
    });
    of_it.collect()
}

fn readies(coordinator: &Coordinator) -> usize {
    coordinator.world().changes.iter().filter(|change| **change == Change::Ready).count()
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_in_each_boot() {
    let coordinator = Coordinator::new(plan(vec![step("deploy", "true")]));
    coordinator.world().renew_in = Some(1);
    let mut machine = Machine::started(&coordinator);
    poll("the third certificate", || (coordinator.world().enrolments.len() >= 3).then_some(()));
    assert_eq!(coordinator.world().links, 1, "the link goes on meanwhile");
    let keys: Vec<_> = coordinator.world().enrolments.iter().map(|e| (e.boot.id.clone(), e.boot.made)).collect();
    assert!(keys.iter().all(|key| *key == ("one".to_owned(), 0)), "{keys:?}");

    coordinator.world().renew_in = Some(1000);
    let before = coordinator.world().enrolments.len();
    poll("ready", || (readies(&coordinator) == 1).then_some(()));
    machine.kill();
    let made = coordinator.world().last_op;
    machine.boot("two");
    poll("the second link", || (coordinator.world().links == 2).then_some(()));
    let world = coordinator.world();
    let last = world.enrolments.last().unwrap();
    assert!(world.enrolments.len() > before);
    assert_eq!((last.boot.id.as_str(), last.boot.made), ("two", made));
}

#[test]
fn a_script_of_each_boot_runs_once_in_each_and_before_the_ready_check() {
    let each = AgentStep { each_boot: true, ..step("install", "echo \"$SLIPSTREAM_TRY\" >>\"$OUT\"") };
    let coordinator = Coordinator::new(plan(vec![step("pre_install", "true"), each]));
    let mut machine = Machine::new(&coordinator);
    let out = machine.path("out");
    coordinator.world().plan.env.insert("OUT".to_owned(), out.display().to_string());
    let said = || std::fs::read_to_string(&out).unwrap_or_default();
    machine.start();
    poll("ready", || (readies(&coordinator) == 1).then_some(()));
    machine.kill();
    machine.boot("one");
    poll("the second link", || (coordinator.world().links == 2).then_some(()));
    machine.kill();
    machine.boot("two");
    poll("ready again", || (readies(&coordinator) == 2).then_some(()));
    assert_eq!(said(), "1\n1\n", "once in each boot, each a first try");
    assert_eq!((finished(&coordinator, 0).len(), finished(&coordinator, 1).len()), (1, 2));
    let last: Vec<_> = coordinator.world().changes.iter().rev().take(2).cloned().collect();
    assert!(matches!(last[..], [Change::Ready, Change::StepFinished { index: 1, .. }]), "{last:?}");
}

#[test]
fn a_step_that_a_reboot_cuts_short_is_begun_again_and_knows_it() {
    // As a machine that shuts down: the script is told to end, and its agent ends a moment later.
    let script = r#"
        echo "$SLIPSTREAM_TRY" >>"$OUT"
        [ "$SLIPSTREAM_TRY" -gt 1 ] || kill -TERM $$
    "#;
    let coordinator = Coordinator::new(plan(vec![step("deploy", script)]));
    let mut machine = Machine::new(&coordinator);
    let out = machine.path("out");
    coordinator.world().plan.env.insert("OUT".to_owned(), out.display().to_string());
    machine.start();
    poll("its end", || machine.state(&coordinator, "steps/0-deploy.ended").exists().then_some(()));
    machine.kill();
    machine.boot("two");
    poll("ready", || (readies(&coordinator) == 1).then_some(()));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "1\n2\n");
    let results = finished(&coordinator, 0);
    assert!(results.len() == 1 && results[0].succeeded(), "it has not failed: {results:?}");
}
