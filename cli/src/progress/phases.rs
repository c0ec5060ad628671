//! How long an instance took for each phase of its way to ready.

use std::collections::BTreeMap;

use slipstream_shared::id::InstanceId;

use crate::table::{Cell, Table};

/// When an instance reached what, in milliseconds after the beginning of the run.
#[derive(Debug, Default)]
pub(super) struct Phases {
    pub(super) launched: Option<i64>,
    pub(super) running: Option<i64>,
    pub(super) enrolled: Option<i64>,
    installed: Option<i64>,
    deployed: Option<i64>,
    pub(super) ready: Option<i64>,
    /// Waits that have begun, by what for.
    pub(super) waits: BTreeMap<String, i64>,
    waited: i64,
}

impl Phases {
    pub(super) fn step_done(&mut self, step: &str, after: i64) {
        match step {
            "pre_install" | "packages" | "install" => self.installed = Some(after),
            "deploy" => self.deployed = Some(after),
            _ => {}
        }
    }

    /// Ends a wait; how long it was. Of waits that overlap only the time of the longest counts.
    pub(super) fn wait_ended(&mut self, on: &str, after: i64) -> i64 {
        let took = after - self.waits.remove(on).unwrap_or(after);
        let others = self.waits.values().map(|began| after - began).max().unwrap_or(0);
        self.waited += (took - others).max(0);
        took
    }
}

/// A column for each phase with the time since the one before; the sum is the time to ready.
pub(super) fn table(instances: &BTreeMap<InstanceId, Phases>) -> Table {
    let header =
        ["INSTANCE", "LAUNCHED", "RUNNING", "ENROLLED", "INSTALL", "DEPLOY", "READY", "TOTAL", "OF IT WAITING"];
    let mut table = Table::new(&header).numbers();
    for (instance, phases) in instances {
        let mut last = 0;
        let reached = [
            // A cloud may tell that a machine runs after its agent has already enrolled.
            phases.launched,
            phases.running.map(|at| phases.enrolled.map_or(at, |enrolled| at.min(enrolled))),
            phases.enrolled,
            phases.installed,
            phases.deployed,
            phases.ready,
        ];
        let [launched, running, enrolled, install, deploy, ready] = reached.map(|at| match at {
            Some(at) => {
                let took = (at - last).max(0);
                last = last.max(at);
                Cell::from(tenths(took))
            }
            None => Cell::from(""),
        });
        let waited = if phases.waited > 0 { Cell::from(tenths(phases.waited)) } else { Cell::default() };
        let total = Cell::from(tenths(last));
        table.row([instance.to_string().into(), launched, running, enrolled, install, deploy, ready, total, waited]);
    }
    table
}

fn tenths(millis: i64) -> String {
    format!("{:.1}", millis as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_that_overlap_are_counted_once() {
        let waits = [("a".to_owned(), 1000), ("b".to_owned(), 2000)].into();
        let mut phases = Phases { waits, ..Phases::default() };
        assert_eq!(phases.wait_ended("a", 5000), 4000);
        assert_eq!(phases.wait_ended("b", 6000), 4000);
        assert_eq!(phases.waited, 5000);
        assert_eq!(phases.wait_ended("unknown", 9000), 0);
    }
}
