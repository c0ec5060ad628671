//! The values seen last, for `get --stale-ok` while the coordinator is away.
//!
//! In memory only and bounded: an agent that has restarted has seen nothing.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard},
};

use slipstream_shared::parameter::Key;

/// The most bytes of values that are kept; those seen first are forgotten first.
const MOST: usize = 1024 * 1024;

/// What each value was when it was seen last.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Values>);

#[derive(Debug, Default)]
struct Values {
    all: HashMap<Key, String>,
    /// Each key of `all` once.
    order: VecDeque<Key>,
    bytes: usize,
}

impl Seen {
    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.lock().expect("nothing panics while holding it")
    }

    /// A value was answered or set; none: it has none.
    pub fn note(&self, key: &Key, value: Option<&str>) {
        let mut values = self.values();
        if let Some(old) = values.all.remove(key) {
            values.bytes -= old.len();
            values.order.retain(|k| k != key);
        }
        let Some(value) = value else { return };
        values.bytes += value.len();
        values.all.insert(key.clone(), value.to_owned());
        values.order.push_back(key.clone());
        while values.bytes > MOST {
            let Some(oldest) = values.order.pop_front() else { return };
            values.bytes -= values.all.remove(&oldest).map_or(0, |old| old.len());
        }
    }

    /// What a value was when it was seen last.
    #[must_use]
    pub fn last(&self, key: &Key) -> Option<String> {
        self.values().all.get(key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_is_kept_and_the_first_ones_forgotten() {
        let seen = Seen::default();
        let key = |n: usize| Key::run(&format!("k{n}"));
        seen.note(&key(0), Some("old"));
        seen.note(&key(0), Some("new"));
        assert_eq!(seen.last(&key(0)).as_deref(), Some("new"));
        let large = "x".repeat(64 * 1024);
        for n in 1..=16 {
            seen.note(&key(n), Some(&large));
        }
        assert_eq!(seen.last(&key(0)), None);
        assert_eq!(seen.last(&key(16)).as_deref(), Some(large.as_str()));
        seen.note(&key(16), None);
        assert_eq!(seen.last(&key(16)), None);
    }
}
