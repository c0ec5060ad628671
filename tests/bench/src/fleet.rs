//! Machines played by one process: contexts come in, and what became of each goes out, one JSON object per line.
//! They keep their links, and wait, until the input ends.

use std::{io::Write as _, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use slipstream_shared::{
    backoff::Backoff,
    context::Context,
    event::StepResult,
    id::RunId,
    link::{AgentPlan, Change, Down, Reply, Up},
    parameter::Key,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    agent::{Agent, NotEnrolled, enrol},
    traffic::Traffic,
};

/// How many machines boot at a time, in one process.
const BOOTING: usize = 64;

/// Numbers of questions.
const ALL_READY: u64 = 1;
const FIRST_VALUE: u64 = 2;
const FOR_EVER: u64 = 3;

/// What became of a machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Played {
    pub(crate) run: RunId,
    /// When it was told that the run is Ready.
    pub(crate) told: Timestamp,
    /// Bytes of its connections until then.
    pub(crate) bytes: u64,
    /// Why it has failed.
    pub(crate) failure: Option<String>,
}

/// Plays all machines whose contexts come in.
pub(crate) async fn play() -> anyhow::Result<()> {
    let booting = Arc::new(Semaphore::new(BOOTING));
    let mut machines = JoinSet::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let context: Context = serde_json::from_str(&line)?;
        let booting = Arc::clone(&booting);
        machines.spawn(async move {
            let run = context.run;
            if let Err(error) = machine(context, &booting).await {
                let failure = Some(format!("{error:#}"));
                say(&Played { run, told: Timestamp::now(), bytes: 0, failure });
            }
        });
    }
    Ok(())
}

fn say(played: &Played) {
    if let Ok(line) = serde_json::to_string(played) {
        // Whoever does not read it has ended, and so will this process.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

async fn machine(context: Context, booting: &Semaphore) -> anyhow::Result<()> {
    let traffic = Traffic::default();
    let mut agent = {
        let _turn = booting.acquire().await?;
        let mut delays = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            match enrol(&context, &traffic).await {
                Ok(client) => break Agent::link(&context, client, &traffic).await?,
                Err(NotEnrolled::Never(error)) => return Err(error),
                Err(NotEnrolled::Later(_)) => {
                    let random = uuid::Uuid::now_v7().as_u64_pair().1 as u32;
                    tokio::time::sleep(delays.next(random)).await;
                }
            }
        }
    };
    serve_until_ready(&mut agent).await?;
    let (run, told, bytes) = (context.run, Timestamp::now(), traffic.bytes());
    say(&Played { run, told, bytes, failure: None });
    agent.say(&Up::Get { id: FOR_EVER, key: Key::instance(&agent.instance, "k15"), wait: true, ignore_abort: true });
    loop {
        // The end of the run is how it goes.
        if let Down::Goodbye { retry: false, .. } = agent.hear().await? {
            return Ok(());
        }
    }
}

/// Plays a machine until its run is Ready.
pub(crate) async fn serve_until_ready(agent: &mut Agent) -> anyhow::Result<()> {
    let plan = loop {
        if let Down::Plan(plan) = agent.hear().await? {
            break plan;
        }
    };
    deploy(agent, &plan)?;
    loop {
        match agent.hear().await? {
            Down::Answer { id: FIRST_VALUE, reply: Reply::Value { value: Some(_), .. } } => finish(agent, &plan),
            Down::Answer { id: ALL_READY, reply: Reply::Met { .. } } => return Ok(()),
            Down::Report => drop(agent.change(Change::Reported)),
            Down::Done { refused: Some(refused), .. } => bail!("refused: {}", refused.message),
            Down::Answer { reply: Reply::Refused(refused), .. } => bail!("refused: {}", refused.message),
            Down::Goodbye { reason, .. } => bail!("the coordinator says goodbye: {reason}"),
            _ => {}
        }
    }
}

/// Begins the first step, says something for the others, and asks for what another one says.
fn deploy(agent: &mut Agent, plan: &AgentPlan) -> anyhow::Result<()> {
    plan.steps.first().context("the module has a step")?;
    agent.say(&Up::Wait { id: ALL_READY, conditions: vec!["ss:state=Ready".to_owned()], ignore_abort: true });
    agent.change(Change::StepStarted { index: 0 });
    let value = Some(format!("value of {}", agent.instance));
    agent.change(Change::Set { key: Key::instance(&agent.instance, "k0"), value, ignore_abort: false });
    agent.say(&Up::Get { id: FIRST_VALUE, key: "worker.1:k0".parse()?, wait: true, ignore_abort: false });
    Ok(())
}

fn finish(agent: &mut Agent, plan: &AgentPlan) {
    let result = StepResult { exit: Some(0), ..StepResult::default() };
    agent.change(Change::StepFinished { index: 0, result: result.clone() });
    for index in 1..plan.deploy {
        agent.change(Change::StepStarted { index });
        agent.change(Change::StepFinished { index, result: result.clone() });
    }
    agent.change(Change::Ready);
}
