//! People who change runs that are up, and programs outside that lead.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use slipstream_coordinator::drive::RunError;
use slipstream_shared::{
    id::{InstanceId, RunId},
    meeting::{Leader, MeetingName},
    operation::Asked,
    state::RunState,
};

use crate::{
    plan::{self, LEADS, STEPS},
    sim::Sim,
    users::ann,
};

/// Somebody who operates a run, so many times.
pub(crate) async fn operate(sim: Arc<Sim>, run: RunId, times: u64) {
    for _ in 0..times {
        while sim.rules().state(run).is_some_and(|state| state < RunState::Ready) {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        let pause = sim.delay(120_000, 600_000);
        tokio::time::sleep(pause).await;
        let Some(asked) = choose(&sim, run) else { return };
        let stops = matches!(asked, Asked::Stop { .. });
        begin(&sim, run, asked).await;
        if stops {
            let pause = sim.delay(100_000, 300_000);
            tokio::time::sleep(pause).await;
            let forgets = sim.dice().percent(15);
            if !forgets {
                begin(&sim, run, Asked::Start { instances: vec![] }).await;
            }
        }
        if sim.rules().is_aborted(run) && sim.dice().percent(50) {
            sim.ask(|runs| async move { runs.find(&run.to_string()).await?.cancel_abort(ann()).await }).await;
        }
    }
}

/// What to ask for. None: the run has ended.
fn choose(sim: &Sim, run: RunId) -> Option<Asked> {
    let (live, old) = {
        let rules = sim.rules();
        (rules.live(run), rules.plan(run)?)
    };
    let mut dice = sim.dice();
    let some: Vec<InstanceId> = if live.is_empty() { vec![] } else { vec![dice.one(&live).clone()] };
    let choice = dice.below(100);
    Some(match choice {
        0..35 => {
            let nodes: Vec<_> = old.nodes.keys().cloned().collect();
            let count = u32::try_from(dice.below(5)).unwrap_or(1);
            Asked::Scale { count: BTreeMap::from([(dice.one(&nodes).clone(), count)]), remove: vec![] }
        }
        35..45 => Asked::Scale { count: BTreeMap::new(), remove: some },
        45..60 => Asked::Retry {
            instance: some.into_iter().next()?,
            from: (*dice.one(&STEPS)).to_owned(),
            script: dice.percent(30).then(|| "true # repaired".to_owned()),
        },
        60..75 => {
            let plan = plan::next(&mut dice, &old);
            Asked::Update { module: plan.module.clone(), plan: Some(Box::new(plan)) }
        }
        75..90 => Asked::Stop { instances: if choice < 80 { vec![] } else { some } },
        _ => Asked::Reboot { instances: some },
    })
}

/// Begins an operation, however often that has to be asked, sometimes once more.
async fn begin(sim: &Arc<Sim>, run: RunId, asked: Asked) {
    let op = sim.dice().number() >> 11;
    let times = sim.dice().between(1, 6);
    for _ in 0..times {
        let asked = asked.clone();
        let wanted = asked.clone();
        let answer = sim
            .ask(|runs| async move { runs.find(&run.to_string()).await?.operate(ann(), wanted, Some(op)).await })
            .await;
        match answer {
            Some(Ok(info)) => {
                sim.rules().told_operation(run, &ann(), op, info.number);
                if !sim.mishap(200) {
                    return;
                }
            }
            Some(Err(RunError::Refused(_))) => return,
            Some(Err(_)) | None => tokio::time::sleep(Duration::from_secs(3)).await,
        }
    }
}

/// A program that leads now and then, and keeps the lead for a while, or forgets that it has it.
pub(crate) async fn program(sim: Arc<Sim>, run: RunId, name: &str, times: u64) {
    let program = Leader::Program { user: "ann".to_owned(), name: name.parse().expect("a name") };
    for _ in 0..times {
        let pause = sim.delay(120_000, 600_000);
        tokio::time::sleep(pause).await;
        let lead: MeetingName = sim.dice().one::<&str>(&LEADS).parse().expect("a name");
        let seconds = sim.dice().between(20, 300);
        let keeps = sim.dice().below(5);
        for _ in 0..=keeps {
            if !leads(&sim, run, &program, &lead, seconds).await {
                break;
            }
            tokio::time::sleep(Duration::from_secs(seconds / 3)).await;
        }
        let ends = sim.dice().percent(40);
        if ends {
            let lead = lead.clone();
            sim.ask(|runs| async move { runs.find(&run.to_string()).await?.end_lead(ann(), lead).await }).await;
        }
    }
}

/// Asks for a lead, for at most five minutes. True: it leads.
async fn leads(sim: &Arc<Sim>, run: RunId, program: &Leader, lead: &MeetingName, seconds: u64) -> bool {
    let (by, name) = (program.clone(), lead.clone());
    let asking =
        sim.ask(|runs| async move { runs.find(&run.to_string()).await?.lead(by, &name, seconds, false).await });
    let Ok(Some(Ok(info))) = tokio::time::timeout(Duration::from_secs(300), asking).await else { return false };
    // Between the answer and the look at who leads, another one may have come.
    let leads = info.leader.as_ref() == Some(program);
    if leads {
        sim.rules().told_leads(run, lead, program, info.number);
    }
    leads
}
