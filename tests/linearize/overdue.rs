//! Lost wake-ups: waits that ended by their time though what they waited for had come and stayed.

use crate::{
    checker::Operation,
    model::{Act, Test},
    record::{Overdue, Part, Record, nanos},
};

/// The waits of one parameter that should have ended otherwise, each with the write that should have ended it.
///
/// The coordinator began to wait after the client asked and before the answer minus the time it waited; a
/// write that was asked for after that and answered well before the end was there to be seen. Where what is
/// waited for can pass again, nobody else may have written meanwhile: a wait may miss what does not last.
pub(crate) fn lost(part: &Part, record: &Record) -> Vec<(Overdue, Operation)> {
    let of = |overdue: &Overdue| {
        let culprit = part.operations.iter().find(|write| should_end(write, overdue, part))?;
        record.is_calm(overdue.began, overdue.ended).then(|| (overdue.clone(), culprit.clone()))
    };
    part.overdue.iter().filter_map(of).collect()
}

fn should_end(write: &Operation, overdue: &Overdue, part: &Part) -> bool {
    let (Act::Write { value } | Act::Swap { value, .. }, Some(ended)) = (&write.act, write.ended) else {
        return false;
    };
    let waiting = overdue.ended.saturating_sub(nanos(overdue.within));
    let over = (overdue.began + nanos(overdue.within)).saturating_sub(nanos(overdue.grace));
    if write.began < waiting || ended > over {
        return false;
    }
    match &overdue.test {
        Test::Newer(than) => is_above(write, *than, part),
        test => test.holds(0, value.as_deref()) && is_last(write, overdue, part),
    }
}

/// True if the revision of a write is surely above `than`: somebody saw that before it was asked for.
fn is_above(write: &Operation, than: u64, part: &Part) -> bool {
    let saw = |o: &Operation| {
        let seen = match &o.act {
            Act::Read { revision, .. } => Some(*revision),
            Act::Missed { revision, .. } => *revision,
            Act::Swap { expected, .. } => Some(*expected),
            _ => None,
        };
        seen.is_some_and(|seen| seen >= than) && o.ended.is_some_and(|ended| ended < write.began)
    };
    than == 0 || part.operations.iter().any(saw)
}

/// True if nobody else can have written between a write and the end of a wait.
fn is_last(write: &Operation, overdue: &Overdue, part: &Part) -> bool {
    let others = part.operations.iter().filter(|o| matches!(o.act, Act::Write { .. } | Act::Swap { .. }));
    let mut beside = others.filter(|o| o.began < overdue.ended && o.ended.is_none_or(|ended| ended > write.began));
    beside.all(|o| o.client == write.client && o.began == write.began)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn write(began: u64, ended: Option<u64>, value: &str) -> Operation {
        Operation { client: "w".into(), began, ended, act: Act::Write { value: Some(value.into()) } }
    }

    fn lost_with(test: Test, operations: Vec<Operation>) -> usize {
        let overdue = Overdue {
            client: "c".into(),
            test,
            began: 10 * SECOND,
            ended: 12 * SECOND + 1,
            within: Duration::from_secs(2),
            grace: Duration::from_millis(100),
        };
        lost(&Part { operations, overdue: vec![overdue] }, &Record::new()).len()
    }

    #[test]
    fn a_wait_that_saw_its_write_come_and_go_on_is_lost() {
        let came = write(11 * SECOND, Some(11 * SECOND + 9), "a");
        assert_eq!(lost_with(Test::Newer(0), vec![came.clone()]), 1);
        assert_eq!(lost_with(Test::Set, vec![came.clone()]), 1);
        assert_eq!(lost_with(Test::Equals("a".into()), vec![came.clone()]), 1);
        assert_eq!(lost_with(Test::Equals("b".into()), vec![came.clone()]), 0, "another value");
        assert_eq!(lost_with(Test::Newer(3), vec![came]), 0, "its revision may be below");
    }

    #[test]
    fn what_came_too_early_too_late_or_did_not_last_is_not() {
        for (began, ended) in [(9, Some(9)), (10, Some(10)), (12, Some(12)), (11, None)] {
            let came = write(began * SECOND, ended.map(|e| e * SECOND), "a");
            let lost = lost_with(Test::Set, vec![came]);
            assert_eq!(lost, 0, "{began} to {ended:?}");
        }
        let came = write(11 * SECOND, Some(11 * SECOND + 9), "a");
        let other = write(11 * SECOND + 5, None, "b");
        assert_eq!(lost_with(Test::Equals("a".into()), vec![came.clone(), other.clone()]), 0);
        assert_eq!(lost_with(Test::Newer(0), vec![came, other]), 1, "revisions only grow");
    }
}
