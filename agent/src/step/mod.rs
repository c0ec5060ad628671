//! Running what the plan says: the deployment's steps in order, the ready check, and reports.
//!
//! A step is run once. It counts as ended when its result is in its file, in the spool or in the plan,
//! whichever survived a crash; one that was cut short by a reboot is run again from its beginning.

pub mod commands;
mod env;
mod output;
mod packages;
mod process;
mod ready;
mod report;
pub mod shim;
mod tasks;

use std::{collections::BTreeMap, convert::Infallible, fs, io, sync::Arc};

use slipstream_shared::{
    event::StepResult,
    link::{AgentPlan, AgentStep, Change, RefusedCode, Reply, Up},
    plan::Script,
};

use crate::{
    agent::{Agent, Stage},
    durable::write_atomic,
    login,
    trouble::say,
};

/// Runs everything, for as long as the daemon lives.
pub async fn run(agent: &Arc<Agent>) -> Infallible {
    output::resume_finished(agent);
    let scripts = async {
        deploy(agent).await;
        tasks::run(agent).await
    };
    tokio::join!(scripts, report::on_request(agent)).1
}

/// The deployment: all steps, then the ready check.
async fn deploy(agent: &Arc<Agent>) {
    let mut plans = agent.link.plan();
    let _ = plans.wait_for(Option::is_some).await;
    let current = || plans.borrow().clone().unwrap_or_default();
    login::let_in(agent, &current());
    if let Err(why) = mount_disks(agent, &current()).await {
        return fail_early(agent, &current(), why);
    }
    let mut index = 0;
    while index < current().deploy {
        let plan = current();
        if plan.held.is_some_and(|held| index >= held) {
            return;
        }
        let Some(step) = plan.steps.get(index as usize) else { break };
        let result = outcome(agent, &plan, step, index).await;
        if !result.succeeded() {
            // The coordinator decides what follows: it has the result and raises the abort.
            return agent.stage(Stage::Failed, &format!("{}: {result}", step.step));
        }
        index += 1;
    }
    if current().held.is_some_and(|held| index >= held) {
        return;
    }
    ready::check(agent, &current()).await;
}

/// Mounts the disks of the machine, at each boot before anything else is run.
async fn mount_disks(agent: &Agent, plan: &AgentPlan) -> Result<(), String> {
    if plan.disks.is_empty() {
        return Ok(());
    }
    agent.stage(Stage::Waiting, "for its disks");
    let (system, disks) = (agent.system.clone(), plan.disks.clone());
    let work = move || disks.iter().try_for_each(|disk| crate::disk::take(&system, disk.name, &disk.spec));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(e.to_string()))
}

/// Says that nothing can be run here: as the failure of the first step that is not over, or of the ready check.
fn fail_early(agent: &Agent, plan: &AgentPlan, why: String) {
    let next = (0..plan.deploy).find(|index| ended(agent, plan, *index).is_none());
    match next.and_then(|index| Some((index, plan.steps.get(index as usize)?))) {
        Some((index, step)) => {
            let result = finish(agent, step, index, StepResult { cause: Some(why), ..StepResult::default() });
            agent.stage(Stage::Failed, &format!("{}: {result}", step.step));
        }
        None => {
            agent.stage(Stage::Failed, &format!("not ready: {why}"));
            make(agent, Change::NotReady { reason: why });
        }
    }
}

/// How a step ends: as it did, or after it was run.
async fn outcome(agent: &Arc<Agent>, plan: &AgentPlan, step: &AgentStep, index: u32) -> StepResult {
    if let Some(result) = ended(agent, plan, index) {
        return result;
    }
    if let Some(result) = adopted(agent, step, index).await {
        return result;
    }
    match environment(agent, step, index).await {
        Ok(env) => {
            agent.link.not_aborted().await;
            agent.stage(Stage::Deploying, &step.step);
            run_step(agent, plan, step, index, env, true).await
        }
        Err(why) => {
            let cause = Some(format!("no environment: {why}"));
            finish(agent, step, index, StepResult { cause, ..StepResult::default() })
        }
    }
}

/// How a step ends that an earlier agent has begun, if it did.
async fn adopted(agent: &Arc<Agent>, step: &AgentStep, index: u32) -> Option<StepResult> {
    let program = fs::canonicalize(agent.folder.script(index, &step.step)).ok()?;
    let (env, folder) = (BTreeMap::new(), agent.folder.base().to_owned());
    let (name, within) = (step.step.as_str(), step.within);
    let job = process::Job { index, name, program, shell: false, folder, env, within, abortable: true };
    agent.stage(Stage::Deploying, name);
    let result = process::adopt(agent, &job).await?;
    Some(finish(agent, step, index, result))
}

/// How a step has ended, from whichever record survived.
fn ended(agent: &Agent, plan: &AgentPlan, index: u32) -> Option<StepResult> {
    agent.folder.finished(index).or_else(|| agent.link.finishing(index)).or_else(|| plan.finished.get(&index).cloned())
}

/// The variables of a step, when all it needs is there. An abort only delays it: once it is taken back
/// the question is asked again.
async fn environment(agent: &Agent, step: &AgentStep, index: u32) -> Result<BTreeMap<String, String>, String> {
    if !step.gated {
        return Ok(step.env.clone());
    }
    loop {
        agent.link.not_aborted().await;
        agent.stage(Stage::Waiting, &format!("for what {} needs", step.step));
        match agent.link.ask(|id| Up::Env { id, index }).await {
            Reply::Env { env } => return Ok(env),
            Reply::Refused(refused) => match refused.code {
                RefusedCode::Aborted | RefusedCode::Unavailable => {
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await
                }
                RefusedCode::Gone => std::future::pending().await,
                _ => return Err(refused.message),
            },
            Reply::Value { .. } | Reply::Met { .. } | Reply::Lead { .. } => {
                return Err("the coordinator answered with a value".to_owned());
            }
        }
    }
}

/// Runs one step and tells the coordinator.
async fn run_step(
    agent: &Arc<Agent>,
    plan: &AgentPlan,
    step: &AgentStep,
    index: u32,
    env: BTreeMap<String, String>,
    abortable: bool,
) -> StepResult {
    let job = |program, shell, folder| process::Job {
        index,
        name: &step.step,
        program,
        shell,
        folder,
        env: env::of_step(agent, plan, &env),
        within: step.within,
        abortable,
    };
    make(agent, Change::StepStarted { index });
    say(format_args!("step {} of {} begins", step.step, step.origin));
    let result = match prepare(agent, plan, index, step) {
        Ok((program, shell, folder)) => process::run(agent, job(program, shell, folder)).await,
        Err(why) => StepResult { cause: Some(why), ..StepResult::default() },
    };
    finish(agent, step, index, result)
}

/// Keeps the result of a step and tells the coordinator.
fn finish(agent: &Agent, step: &AgentStep, index: u32, result: StepResult) -> StepResult {
    if result.succeeded() {
        say(format_args!("step {} has succeeded in {} ms", step.step, result.millis));
    } else {
        say(format_args!("step {} has failed: {result}", step.step));
    }
    // First the spool: a result nobody will ever hear of is worse than one that is found twice.
    make(agent, Change::StepFinished { index, result: result.clone() });
    if let Err(e) = agent.folder.keep_finished(index, &result) {
        say(format_args!("cannot keep the result of {}: {e}", step.step));
    }
    result
}

/// Makes a change that has nobody to complain to.
fn make(agent: &Agent, change: Change) {
    if let Err(e) = agent.link.change(change) {
        say(format_args!("cannot record a change: {e}"));
    }
}

/// The file to run, whether a shell must run it, and the folder to run it in.
fn prepare(
    agent: &Agent,
    plan: &AgentPlan,
    index: u32,
    step: &AgentStep,
) -> Result<(std::path::PathBuf, bool, std::path::PathBuf), String> {
    let text = match &step.script {
        Script::Text(text) => text.clone(),
        Script::Packages(names) => packages::script(names, plan.platform.as_deref(), &agent.system)?,
    };
    let path = agent.folder.script(index, &step.step);
    let disk = |e: io::Error| format!("cannot prepare the script: {e}");
    write_atomic(&path, text.as_bytes(), 0o700).map_err(disk)?;
    agent.link.open_log(index, &agent.folder.log(index, &step.step), &agent.folder.sent(index)).map_err(disk)?;
    let folder = fs::canonicalize(agent.folder.work(index).map_err(disk)?).map_err(disk)?;
    Ok((fs::canonicalize(path).map_err(disk)?, !text.starts_with("#!"), folder))
}
