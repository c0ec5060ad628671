//! People and programs with tokens: they write, read, wait, follow, abort and end runs, and ask again when
//! they get no answer.

use std::{sync::Arc, time::Duration};

use slipstream_coordinator::drive::{RunError, Write};
use slipstream_shared::{
    condition::Condition,
    event::Author,
    id::{InstanceId, RunId},
    parameter::Key,
    plan::Plan,
};

use crate::{plan::PARAMETERS, sim::Sim};

/// The user whose runs these are.
pub(crate) fn ann() -> Author {
    Author::User("ann".to_owned())
}

/// Launches a run. None: it did not work, or nobody knows.
pub(crate) async fn launch(sim: &Arc<Sim>, plan: Plan, id: RunId) -> bool {
    loop {
        let plan = plan.clone();
        let asked = sim.ask(|runs| async move { runs.launch_as(id, "ann", plan, vec![], vec![]).await }).await;
        match asked {
            Some(Ok(_)) => return true,
            // The same id again is the same run.
            Some(Err(_)) | None => tokio::time::sleep(Duration::from_secs(2)).await,
        }
    }
}

/// Somebody who writes, reads and waits, so many times.
pub(crate) async fn busy(sim: Arc<Sim>, run: RunId, instances: Vec<InstanceId>, times: u64) {
    for _ in 0..times {
        let pause = sim.delay(20_000, 300_000);
        tokio::time::sleep(pause).await;
        let key = {
            let mut dice = sim.dice();
            let instance = dice.one(&instances).clone();
            Key::instance(&instance, dice.one::<&str>(&PARAMETERS))
        };
        let choice = sim.dice().below(10);
        match choice {
            0..4 => write(&sim, run, &key, false).await,
            4 | 5 => write(&sim, run, &key, true).await,
            6 | 7 => drop(read(&sim, run, &key).await),
            _ => wait(&sim, run, &key).await,
        }
    }
}

async fn read(sim: &Arc<Sim>, run: RunId, key: &Key) -> Option<u64> {
    let asked = key.clone();
    let parameter =
        sim.ask(|runs| async move { runs.find(&run.to_string()).await?.parameter(&asked).await }).await?.ok()?;
    sim.rules().told_value(run, key, parameter.value.as_deref(), parameter.revision);
    Some(parameter.revision)
}

async fn write(sim: &Arc<Sim>, run: RunId, key: &Key, compare: bool) {
    let if_revision = if compare {
        let Some(revision) = read(sim, run, key).await else { return };
        Some(revision)
    } else {
        None
    };
    let number = sim.dice().number() >> 11;
    let value = format!("ann-{number:x}");
    if let Some(revision) = if_revision {
        sim.rules().expect(&value, revision);
    }
    let write = Write { key: key.clone(), value: Some(value.clone()), if_revision, request: Some(number) };
    let times = sim.dice().between(1, 6);
    for _ in 0..times {
        let write = write.clone();
        let asked = sim.ask(|runs| async move { runs.find(&run.to_string()).await?.write(ann(), write).await }).await;
        match asked {
            Some(Ok(parameter)) => {
                let mut rules = sim.rules();
                rules.told_written(run, &value);
                rules.told_value(run, key, parameter.value.as_deref(), parameter.revision);
                drop(rules);
                // A proxy may send it once more.
                if !sim.mishap(200) {
                    return;
                }
            }
            Some(Err(RunError::Refused(_))) => return,
            Some(Err(_)) | None => tokio::time::sleep(Duration::from_secs(3)).await,
        }
    }
}

async fn wait(sim: &Arc<Sim>, run: RunId, key: &Key) {
    let known = read(sim, run, key).await.unwrap_or(0);
    let newer = sim.dice().percent(50);
    let ignore_abort = sim.dice().percent(30);
    wait_for(sim, run, key, newer.then_some(known), ignore_abort).await;
}

/// Somebody who waits for each next value of a parameter, so many times.
pub(crate) async fn watch(sim: Arc<Sim>, run: RunId, key: Key, times: u64) {
    for _ in 0..times {
        let known = read(&sim, run, &key).await.unwrap_or(0);
        wait_for(&sim, run, &key, Some(known), true).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Waits until a parameter has a value, or one newer than an event, or there will be none.
async fn wait_for(sim: &Arc<Sim>, run: RunId, key: &Key, newer_than: Option<u64>, ignore_abort: bool) {
    let text = newer_than.map_or_else(|| key.to_string(), |than| format!("{key}@{than}"));
    let condition: Condition = text.parse().expect("a condition");
    let now = sim.now();
    let number = sim.rules().wait_begins(now, format!("for {condition}"), Some((run, key.clone(), newer_than)));
    loop {
        let condition = condition.clone();
        let asked = sim
            .ask(|runs| async move { runs.find(&run.to_string()).await?.wait(vec![condition], ignore_abort).await })
            .await;
        match asked {
            Some(Ok(answer)) => {
                let mut rules = sim.rules();
                for parameter in &answer.answer.parameters {
                    rules.told_value(run, key, parameter.value.as_deref(), parameter.revision);
                }
                rules.wait_ends(number);
                return;
            }
            Some(Err(RunError::Refused(_))) => return sim.rules().wait_ends(number),
            Some(Err(_)) | None => tokio::time::sleep(Duration::from_secs(3)).await,
        }
    }
}

/// Follows a run to its end, over all that happens to the coordinator.
pub(crate) async fn follow(sim: Arc<Sim>, run: RunId) {
    let number = sim.rules().wait_begins(sim.now(), format!("for the events of run {run}"), None);
    let mut last = 0;
    loop {
        let life = sim.life().await;
        let following = async {
            let Ok(handle) = life.runs.find(&run.to_string()).await else { return false };
            let Ok(mut feed) = handle.events(last).await else { return false };
            while let Some(record) = feed.next().await {
                let mut rules = sim.rules();
                if record.seq != last + 1 {
                    rules.broken(format!("run {run}: who follows was shown {} after {last}", record.seq));
                }
                rules.told_event(run, &record);
                last = record.seq;
            }
            sim.rules().states().get(&run).is_some_and(|state| state.is_final())
        };
        let over = tokio::select! {
            biased;
            () = life.dead.cancelled() => false,
            over = following => over,
        };
        if over {
            return sim.rules().wait_ends(number);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Somebody who aborts, and may take that back.
pub(crate) async fn abort(sim: Arc<Sim>, run: RunId) {
    let reason = "enough".to_owned();
    sim.ask(|runs| async move { runs.find(&run.to_string()).await?.abort(ann(), reason).await }).await;
    if sim.dice().percent(50) {
        let pause = sim.delay(30_000, 200_000);
        tokio::time::sleep(pause).await;
        sim.ask(|runs| async move { runs.find(&run.to_string()).await?.cancel_abort(ann()).await }).await;
    }
}

/// Ends a run, however often that has to be asked.
pub(crate) async fn terminate(sim: &Arc<Sim>, run: RunId) {
    loop {
        let asked = sim.ask(|runs| async move { runs.find(&run.to_string()).await?.terminate(ann()).await }).await;
        if let Some(Ok(())) = asked {
            return;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
