//! Which waits of scripts are on record: those that have taken longer than a second, each thing an instance waits
//! for once.

use std::collections::{BTreeMap, BTreeSet};

use slipstream_shared::id::InstanceId;

use super::waiters::WaiterId;
use crate::seam::Millis;

/// A wait longer than this is put on record.
pub(super) const ANNOUNCE_AFTER: Millis = 1000;

/// Who waits, and for what.
pub(super) type Announced = (InstanceId, String);

/// The waits on record, and what has changed since they were compared.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    /// Waits that are not long enough yet.
    pub(super) pending: BTreeSet<(Millis, WaiterId)>,
    /// How many wait for the same.
    counts: BTreeMap<Announced, usize>,
    on_record: BTreeSet<Announced>,
    touched: BTreeSet<Announced>,
}

impl Announcements {
    pub(super) fn note(&mut self, instance: &InstanceId, shown: &[String]) {
        for on in shown {
            let key = (instance.clone(), on.clone());
            *self.counts.entry(key.clone()).or_default() += 1;
            self.touched.insert(key);
        }
    }

    pub(super) fn forget(&mut self, instance: &InstanceId, shown: &[String]) {
        for on in shown {
            let key = (instance.clone(), on.clone());
            if let Some(count) = self.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&key);
                }
            }
            self.touched.insert(key);
        }
    }

    pub(super) fn recorded(&mut self, on_record: BTreeSet<Announced>) {
        self.touched.extend(on_record.iter().chain(self.counts.keys()).cloned());
        self.on_record = on_record;
    }

    /// Begun and ended.
    pub(super) fn changes(&mut self) -> (Vec<Announced>, Vec<Announced>) {
        let (mut begun, mut ended) = (vec![], vec![]);
        for key in std::mem::take(&mut self.touched) {
            match self.counts.contains_key(&key) {
                true if self.on_record.insert(key.clone()) => begun.push(key),
                false if self.on_record.remove(&key) => ended.push(key),
                _ => {}
            }
        }
        (begun, ended)
    }
}
