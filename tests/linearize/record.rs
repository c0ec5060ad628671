//! What all clients did, as they saw it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use slipstream_shared::parameter::Key;

use crate::{
    checker::Operation,
    model::{Act, Test},
};

/// A wait that ended because its time was over.
#[derive(Debug, Clone)]
pub(crate) struct Overdue {
    #[expect(dead_code, reason = "for who reads a violation")]
    pub(crate) client: String,
    pub(crate) test: Test,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// How long it was to last at most.
    pub(crate) within: Duration,
    /// How long the answer may have been on its way.
    pub(crate) grace: Duration,
}

/// One parameter's part of the history.
#[derive(Debug, Default, Clone)]
pub(crate) struct Part {
    pub(crate) operations: Vec<Operation>,
    pub(crate) overdue: Vec<Overdue>,
}

/// The history.
#[derive(Debug)]
pub(crate) struct Record {
    start: Instant,
    parts: Mutex<BTreeMap<Key, Part>>,
    /// When the coordinator was not there.
    outages: Mutex<Vec<(u64, u64)>>,
    /// What is wrong whatever else happened.
    wrong: Mutex<Vec<String>>,
}

impl Record {
    pub(crate) fn new() -> Self {
        Record { start: Instant::now(), parts: Mutex::default(), outages: Mutex::default(), wrong: Mutex::default() }
    }

    /// Nanoseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    /// Something was answered now.
    pub(crate) fn done(&self, client: &str, key: &Key, began: u64, act: Act) {
        let ended = Some(self.now());
        self.add(key, Operation { client: client.to_owned(), began, ended, act });
    }

    /// Something may or may not have happened.
    pub(crate) fn unknown(&self, client: &str, key: &Key, began: u64, act: Act) {
        self.add(key, Operation { client: client.to_owned(), began, ended: None, act });
    }

    pub(crate) fn add(&self, key: &Key, operation: Operation) {
        lock(&self.parts).entry(key.clone()).or_default().operations.push(operation);
    }

    pub(crate) fn overdue(&self, key: &Key, overdue: Overdue) {
        lock(&self.parts).entry(key.clone()).or_default().overdue.push(overdue);
    }

    pub(crate) fn outage(&self, from: u64) {
        lock(&self.outages).push((from, self.now()));
    }

    /// Whether the coordinator was there all the time.
    pub(crate) fn is_calm(&self, from: u64, to: u64) -> bool {
        lock(&self.outages).iter().all(|(began, ended)| *ended < from || *began > to)
    }

    pub(crate) fn wrong(&self, what: String) {
        lock(&self.wrong).push(what);
    }

    pub(crate) fn all_wrong(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    pub(crate) fn parts(&self) -> BTreeMap<Key, Part> {
        lock(&self.parts).clone()
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
