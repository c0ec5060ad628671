//! The checker itself, on histories of which is known whether they can be explained.

use slipstream_tests::Random;

use crate::{
    checker::{Operation, check},
    model::{Act, Register, Test},
};

fn op(began: u64, ended: impl Into<Option<u64>>, act: Act) -> Operation {
    Operation { client: "c".into(), began, ended: ended.into(), act }
}

fn write(value: &str) -> Act {
    Act::Write { value: Some(value.into()) }
}

fn read(revision: u64, value: &str) -> Act {
    Act::Read { revision, value: (!value.is_empty()).then(|| value.into()) }
}

fn swap(expected: u64, value: &str) -> Act {
    Act::Swap { expected, value: Some(value.into()) }
}

fn missed(expected: u64, revision: impl Into<Option<u64>>) -> Act {
    Act::Missed { expected, revision: revision.into() }
}

#[test]
fn good_histories_are_explained() {
    let good: &[(&str, Vec<Operation>)] = &[
        ("nothing", vec![]),
        ("one after another", vec![op(0, 1, write("a")), op(2, 3, read(5, "a"))]),
        (
            "a read beside a write sees before or after",
            vec![op(0, 9, write("a")), op(1, 2, read(0, "")), op(3, 4, read(7, "a"))],
        ),
        ("a lost write that happened", vec![op(0, None, write("a")), op(5, 6, read(3, "a"))]),
        ("a lost write that did not", vec![op(0, None, write("a")), op(5, 6, read(0, ""))]),
        (
            "a lost write that happened late",
            vec![op(0, None, write("a")), op(5, 6, read(0, "")), op(7, 8, write("b")), op(9, 10, read(9, "a"))],
        ),
        (
            "swaps in turn",
            vec![
                op(0, 1, swap(0, "a")),
                op(2, 3, read(4, "a")),
                op(4, 9, swap(4, "b")),
                op(4, 9, missed(4, 6)),
                op(4, 9, missed(4, None)),
            ],
        ),
        (
            "a wait ends while it holds",
            vec![op(0, 9, Act::Held(Test::Equals("a".into()))), op(1, 2, write("a")), op(3, 4, write("b"))],
        ),
        ("a wait for later writes", vec![op(0, 9, Act::Held(Test::Newer(4))), op(1, 2, write("a"))]),
    ];
    for (name, history) in good {
        assert!(check(history).is_ok(), "{name}");
    }
}

#[test]
fn bad_histories_are_not() {
    let bad: &[(&str, Vec<Operation>)] = &[
        ("a lost acknowledged write", vec![op(0, 1, write("a")), op(2, 3, read(0, ""))]),
        ("a stale read", vec![op(0, 1, write("a")), op(2, 3, write("b")), op(4, 5, read(3, "a"))]),
        (
            "a write made twice",
            vec![
                op(0, 1, write("a")),
                op(2, 3, read(3, "a")),
                op(4, 5, write("b")),
                op(6, 7, read(4, "b")),
                op(8, 9, read(5, "a")),
            ],
        ),
        ("two swaps of one revision", vec![op(0, 9, swap(0, "a")), op(0, 9, swap(0, "b"))]),
        ("a swap of a revision that was gone", vec![op(0, 1, swap(0, "a")), op(2, 3, swap(0, "b"))]),
        ("a swap that was refused for no reason", vec![op(0, 1, missed(0, None))]),
        ("a swap refused for the revision it wanted", vec![op(0, 9, write("a")), op(1, 2, missed(3, 3))]),
        ("reads that go back", vec![op(0, 20, write("a")), op(1, 2, read(3, "a")), op(3, 4, read(0, ""))]),
        ("a wait that ended for nothing", vec![op(0, 9, Act::Held(Test::Set)), op(10, 11, write("a"))]),
        (
            "a wait that ended after its time",
            vec![op(0, 1, write("a")), op(2, 3, write("b")), op(4, 9, Act::Held(Test::Equals("a".into())))],
        ),
        (
            "a revision that shrinks",
            vec![op(0, 1, write("a")), op(2, 3, read(7, "a")), op(4, 5, write("b")), op(6, 7, read(7, "b"))],
        ),
        ("a value from nowhere", vec![op(0, None, write("a")), op(1, 2, read(1, "b"))]),
    ];
    for (name, history) in bad {
        assert!(check(history).is_err(), "{name} was explained");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let history = [op(0, 1, write("a")), op(2, 3, write("b")), op(4, 5, read(3, "a"))];
    let violation = check(&history).expect_err("a stale read");
    assert_eq!(violation.stuck.act, read(3, "a"));
    assert_eq!(violation.explained.len(), 2);
}

/// A real register, asked by several clients at once: whatever it answers can be explained; and when one
/// answer is changed, mostly not.
#[test]
fn histories_of_a_register_are_explained_and_changed_ones_are_not() {
    let (mut found, mut changed) = (0, 0);
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut history = simulate(&mut random);
        assert!(check(&history).is_ok(), "seed {seed}: {history:#?}");
        let reads: Vec<usize> = (0..history.len()).filter(|i| matches!(history[*i].act, Act::Read { .. })).collect();
        if reads.is_empty() {
            continue;
        }
        let Act::Read { revision, .. } = &mut history[*random.one(&reads)].act else { continue };
        *revision += random.between(1, 2);
        changed += 1;
        found += u32::from(check(&history).is_err());
    }
    // A read of a value that nobody else saw may well have had another revision.
    assert!(found * 100 > changed * 60, "only {found} of {changed} changes were noticed");
}

/// Operations of four clients that overlap, each made at one moment within its time.
fn simulate(random: &mut Random) -> Vec<Operation> {
    let mut plan: Vec<(u64, u64, u64)> = Vec::new();
    for _ in 0..4 {
        let mut now = 0;
        for _ in 0..12 {
            let began = now + random.between(1, 20);
            let ended = began + random.between(1, 60);
            plan.push((random.between(began, ended), began, ended));
            now = ended;
        }
    }
    plan.sort_unstable();
    let (mut revision, mut value) = (0, None);
    let mut history = Vec::new();
    for (number, (_, began, ended)) in plan.into_iter().enumerate() {
        let lost = random.percent(5);
        let new = Some(format!("v{number}"));
        let act = match random.below(4) {
            0 => Act::Write { value: new.clone() },
            1 if random.percent(50) => Act::Swap { expected: revision, value: new.clone() },
            1 => missed(revision + 1, revision),
            _ => Act::Read { revision, value: value.clone() },
        };
        assert!(Register::new().apply(&write("x")).is_some());
        if matches!(act, Act::Write { .. } | Act::Swap { .. }) && !(lost && random.percent(50)) {
            (revision, value) = (revision + random.between(1, 3), new);
        }
        let is_write = matches!(act, Act::Write { .. } | Act::Swap { .. });
        history.push(op(began, (!(lost && is_write)).then_some(ended), act));
    }
    history
}
