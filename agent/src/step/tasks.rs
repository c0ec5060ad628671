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

use super::{adopted, ended, environment, finish, run_step};
use crate::agent::{Agent, Stage};

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
        agent.stage(stage, &detail);
        over.insert(task.index);
    }
}

async fn one(agent: &Arc<Agent>, plan: &AgentPlan, task: &AgentTask) {
    let AgentTask { index, step, .. } = task;
    if ended(agent, plan, *index).is_some() || adopted(agent, step, *index).await.is_some() {
        return;
    }
    // An abort ends the operation, so what has not begun is not wanted any more.
    let env = tokio::select! {
        biased;
        _ = agent.link.aborted() => return,
        env = environment(agent, step, *index) => env,
    };
    match env {
        Ok(env) => {
            agent.stage(Stage::Deploying, &step.step);
            run_step(agent, plan, step, *index, env, true).await;
        }
        Err(why) => {
            let cause = Some(format!("no environment: {why}"));
            finish(agent, step, *index, StepResult { cause, ..StepResult::default() });
        }
    }
}
