//! Tasks: what operations have an instance run after its deployment, one at a time.
//!
//! The plan holds those whose turn it is and whose end the coordinator does not know. So a restarted agent
//! finds them again, as it finds the steps of the deployment: one that has ended is not run again, one that
//! still runs is adopted, one that a reboot has cut short is run from its beginning.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use slipstream_shared::{
    event::StepResult,
    link::{AgentPlan, AgentTask},
};

use super::{adopted, ended, environment, finish, ready, run_step};
use crate::{
    agent::{Agent, Stage},
    trouble::say,
};

/// Runs tasks for as long as the daemon lives.
pub(super) async fn run(agent: &Arc<Agent>) -> Infallible {
    let mut plans = agent.link.plan();
    let mut over = BTreeSet::new();
    loop {
        let plan = plans.borrow_and_update().clone().unwrap_or_default();
        let Some(task) = plan.tasks.iter().find(|task| !over.contains(&task.index)) else {
            // The sender lives as long as the link.
            let _ = plans.changed().await;
            continue;
        };
        let (stage, detail) = {
            let status = agent.status.borrow();
            (status.stage, status.detail.clone())
        };
        one(agent, &plan, task).await;
        if task.again.is_none() && !task.check {
            agent.stage(stage, &detail);
        }
        over.insert(task.index);
    }
}

async fn one(agent: &Arc<Agent>, plan: &AgentPlan, task: &AgentTask) {
    let AgentTask { index, step, .. } = task;
    let known = match ended(agent, plan, *index) {
        None => adopted(agent, step, *index).await,
        ended => ended,
    };
    if let Some(result) = known {
        return after(agent, plan, task, &result).await;
    }
    // An abort ends the operation, so what has not begun is not wanted any more.
    let env = tokio::select! {
        biased;
        _ = agent.link.aborted() => return,
        env = environment(agent, step, *index) => env,
    };
    let result = match env {
        Ok(env) => {
            agent.stage(Stage::Deploying, &step.step);
            run_step(agent, plan, step, *index, env, true).await
        }
        Err(why) => {
            let cause = Some(format!("no environment: {why}"));
            finish(agent, step, *index, StepResult { cause, ..StepResult::default() })
        }
    };
    after(agent, plan, task, &result).await;
}

/// What follows from the end of a task.
async fn after(agent: &Arc<Agent>, plan: &AgentPlan, task: &AgentTask, result: &StepResult) {
    let Some(step) = task.again else {
        // A hook that has failed says nothing about whether this machine serves.
        if task.check {
            ready::check_again(agent, plan).await;
        }
        return;
    };
    if let Err(e) = agent.folder.keep_finished(step, result) {
        say(format_args!("cannot keep the result of {}: {e}", task.step.step));
    }
    if !result.succeeded() {
        agent.stage(Stage::Failed, &format!("{}: {result}", task.step.step));
    } else if task.check {
        ready::check_again(agent, plan).await;
    }
}
