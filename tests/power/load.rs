//! Who writes until the power is gone, and what has to be there when it is back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use slipstream_shared::{
    client::{Client, Update},
    event::Event,
    parameter::Key,
};
use slipstream_tests::Random;
use tokio::task::JoinSet;

/// Those who write at the same time, each its own parameters.
const WRITERS: u64 = 6;

/// Parameters of each.
const KEYS: u64 = 5;

/// How long reading one thing back may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The module of the run that is written to. Its machine does nothing.
pub(crate) fn module() -> String {
    let names: Vec<String> = (0..WRITERS * KEYS).map(|n| format!("  k{n}: {{}}\n")).collect();
    format!(
        "slipstream: 1\nkind: component\nname: tests/written\nimage: tests/image\npublish:\n{}deploy: 'true'\n",
        names.concat()
    )
}

/// What the writers know of one parameter.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    /// The last write that was begun.
    begun: u64,
    /// The last one that was acknowledged, since when nothing older may be seen.
    acknowledged: u64,
}

/// The writes to a run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Load {
    known: Arc<Mutex<BTreeMap<u64, Known>>>,
    /// Acknowledged since the last look: each has to be in the history.
    recent: Arc<Mutex<Vec<(u64, u64)>>>,
}

/// What a look has found.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) acknowledged: usize,
    /// Writes that were not acknowledged and are there, as they may be.
    pub(crate) others: usize,
    pub(crate) lost: Vec<String>,
}

impl Load {
    /// How many writes were acknowledged since the last look.
    pub(crate) fn acknowledged(&self) -> usize {
        lock(&self.recent).len()
    }

    /// Writes until the tasks are dropped.
    pub(crate) fn begin(&self, client: &Client, run: &str, random: &mut Random) -> JoinSet<()> {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (load, client, run, random) = (self.clone(), client.clone(), run.to_owned(), random.fork());
            writers.spawn(async move { load.write(writer, &client, &run, random).await });
        }
        writers
    }

    async fn write(&self, writer: u64, client: &Client, run: &str, mut random: Random) {
        loop {
            let number = writer * KEYS + random.below(KEYS);
            let count = {
                let mut known = lock(&self.known);
                let known = known.entry(number).or_default();
                known.begun += 1;
                known.begun
            };
            if client.set_parameter(run, &key(number), &value(number, count)).await.is_ok() {
                lock(&self.known).entry(number).or_default().acknowledged = count;
                lock(&self.recent).push((number, count));
            }
        }
    }

    /// Reads everything back after the power was cut. `after` is the last event that was there before.
    pub(crate) async fn examine(&self, client: &Client, run: &str, after: u64) -> Result<(Seen, u64), String> {
        let acknowledged = std::mem::take(&mut *lock(&self.recent));
        let known = lock(&self.known).clone();
        let mut seen = Seen { acknowledged: acknowledged.len(), ..Seen::default() };
        let (history, last) = within("the history", history(client, run, after)).await?;
        for write in &acknowledged {
            if !history.contains_key(write) {
                seen.lost.push(format!("write {} of {} is not in the history", write.1, key(write.0)));
            }
        }
        seen.others = history.len().saturating_sub(acknowledged.len());
        for (number, known) in known {
            let read = within("a parameter", client.parameter(run, &key(number))).await?;
            let read = read.map_err(|error| format!("cannot read {}: {error}", key(number)))?.value.unwrap_or_default();
            let count: u64 = read.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
            if count < known.acknowledged || count > known.begun || (count > 0 && read != value(number, count)) {
                seen.lost.push(format!("{} is at write {count}, and {known:?}", key(number)));
            }
            // What was not acknowledged and is not there by now will not come.
            lock(&self.known).entry(number).or_default().acknowledged = count;
        }
        Ok((seen, last))
    }
}

/// The writes in the history behind event `after`, and the number of the last event.
async fn history(client: &Client, run: &str, after: u64) -> (BTreeMap<(u64, u64), u64>, u64) {
    let mut writes = BTreeMap::new();
    let Ok(detail) = client.run(run).await else { return (writes, after) };
    let (mut events, mut last) = (client.events(run, after), after);
    while last < detail.seq {
        let record = match events.next().await {
            Ok(Update::Record(record)) => record,
            Ok(Update::Lost { .. }) => continue,
            Err(_) => return (writes, last),
        };
        last = record.seq;
        if let Event::ParameterSet { key, value } = &record.event
            && let Some(number) = key.name.strip_prefix('k').and_then(|number| number.parse().ok())
            && let Some(count) = value.split(' ').next().and_then(|count| count.parse().ok())
            && *value == self::value(number, count)
        {
            writes.insert((number, count), last);
        }
    }
    (writes, last)
}

async fn within<T>(what: &str, read: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, read).await.map_err(|_| format!("{what} cannot be read within {PATIENCE:?}"))
}

fn key(number: u64) -> Key {
    format!("machine.1:k{number}").parse().expect("valid")
}

/// Every fourth is large enough for chunks.
fn value(number: u64, count: u64) -> String {
    let long = if (number + count).is_multiple_of(4) { 60_000 } else { 100 };
    format!("{count} {}", format!("{number}.{count}-").repeat(long / 8))
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
