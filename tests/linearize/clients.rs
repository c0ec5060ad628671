//! Those who use the parameters, all at once: over REST, and through the agents of the run.
//!
//! A client does one thing after another, and has waits going on beside. What it is told it puts on record;
//! where an answer is lost it asks again under the same number, or leaves it at that.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use slipstream_shared::{api::Parameter, client::ClientError, condition::Condition, parameter::Key};
use slipstream_tests::Random;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    model::{Act, Test},
    record::Record,
};

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) record: Record,
    pub(crate) run: String,
    /// All parameters, in the order in which they are used.
    pub(crate) keys: Vec<Key>,
    /// How many have been used up.
    pub(crate) window: AtomicUsize,
    pub(crate) over: AtomicBool,
}

/// How many parameters are in use at a time.
pub(crate) const WINDOW: usize = 4;

/// How many waits a client may have going on.
const WAITS: usize = 6;

impl Stage {
    fn keys_now(&self) -> &[Key] {
        let from = self.window.load(Ordering::Relaxed);
        self.keys.get(from..(from + WINDOW).min(self.keys.len())).unwrap_or_default()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// One way to use parameters. Everything it is told goes on record.
pub(crate) trait Way: Clone + Send + Sync + 'static {
    /// Whether it may write that parameter.
    fn may_write(&self, key: &Key) -> bool;

    /// Reads; gives the revision, if there was an answer.
    fn read(&self, stage: &Stage, client: &str, key: &Key) -> impl Future<Output = Option<u64>> + Send;

    /// Writes, under a condition or not.
    fn write(
        &mut self,
        stage: &Stage,
        client: &str,
        key: &Key,
        value: Option<String>,
        expected: Option<u64>,
        random: &mut Random,
    ) -> impl Future<Output = ()> + Send;

    /// Waits.
    fn wait(&self, stage: &Stage, client: &str, key: &Key, test: Test) -> impl Future<Output = ()> + Send;

    /// Makes sure that all it has promised is done.
    fn finish(&mut self, stage: &Stage) -> impl Future<Output = ()> + Send;
}

/// Uses parameters until it is over.
pub(crate) async fn play(mut way: impl Way, name: String, stage: Arc<Stage>, mut random: Random) {
    let mut seen: BTreeMap<Key, u64> = BTreeMap::new();
    let mut waits = JoinSet::new();
    let room = Arc::new(Semaphore::new(WAITS));
    for number in 0.. {
        let keys = stage.keys_now();
        if keys.is_empty() || stage.is_over() {
            break;
        }
        let key = random.one(keys);
        let known = seen.get(key).copied().unwrap_or(0);
        let value = format!("{name}-{number}");
        match random.below(100) {
            0..45 => {
                if let Some(revision) = way.read(&stage, &name, key).await {
                    seen.insert(key.clone(), revision);
                }
            }
            45..60 => {
                let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
                let test = match random.below(4) {
                    0 => Test::Set,
                    1 => Test::Equals(value),
                    _ => Test::Newer(known),
                };
                let (way, name, stage, key) = (way.clone(), name.clone(), Arc::clone(&stage), key.clone());
                waits.spawn(async move {
                    way.wait(&stage, &name, &key, test).await;
                    drop(permit);
                });
            }
            _ if !way.may_write(key) => {}
            60..78 => way.write(&stage, &name, key, Some(value), Some(known), &mut random).await,
            78..84 => way.write(&stage, &name, key, None, None, &mut random).await,
            _ => way.write(&stage, &name, key, Some(value), None, &mut random).await,
        }
        // Not all at full speed: a history in which everything overlaps explains everything.
        tokio::time::sleep(Duration::from_micros(random.below(20_000))).await;
    }
    way.finish(&stage).await;
    while let Some(ended) = waits.join_next().await {
        ended.expect("a wait ends");
    }
}

pub(crate) fn condition(key: &Key, test: &Test) -> Condition {
    let test = match test {
        Test::Set => String::new(),
        Test::Equals(text) => format!("={text}"),
        Test::Newer(than) => format!("@{than}"),
    };
    format!("{key}{test}").parse().expect("a condition")
}

pub(crate) fn read_of(parameter: Parameter) -> Act {
    Act::Read { revision: parameter.revision, value: parameter.value }
}

pub(crate) fn act_of(value: Option<String>, expected: Option<u64>) -> Act {
    match expected {
        Some(expected) => Act::Swap { expected, value },
        None => Act::Write { value },
    }
}

/// Whether an error only says that the coordinator is not there.
pub(crate) fn is_away(error: &ClientError) -> bool {
    error.is_passing() && error.code() != Some("wait_timeout")
}
