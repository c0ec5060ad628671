//! What the agent of an instance is told to run.

use std::collections::BTreeMap;

use slipstream_shared::{
    id::InstanceId,
    link::{AgentPlan, AgentStep},
    parameter::Key,
    plan::{ReadyCheck, ReadyPlan, Start, StepPlan},
};

use super::{
    Instance, Run,
    value::{Evaluated, Leaf},
};

/// The variable that holds the port or URL of the ready check.
pub const READY_VARIABLE: &str = "SLIPSTREAM_READY";

impl Run {
    /// The plan of an instance. None: the run has no such instance. Only on a machine of its own does the
    /// agent learn whom to let in by ssh: the others run as somebody on somebody's machine.
    #[must_use]
    pub fn agent_plan(&self, id: &InstanceId, own_machine: bool) -> Option<AgentPlan> {
        let (node, instance) = (self.node(id)?, self.instances.get(id)?);
        let steps = self.scripts(id).map(|(index, step)| {
            let mut step = agent_step(step);
            // Its agent asks before it begins.
            step.gated |= index == 0 && self.starts_together();
            step
        });
        let steps = steps.collect();
        let finished = instance.steps.iter().filter_map(|(i, s)| s.result.clone().map(|r| (*i, r))).collect();
        Some(AgentPlan {
            steps,
            deploy: self.deploy_steps(id),
            ready: node.ready.clone(),
            finished,
            abort: self.abort.as_ref().map(|a| a.reason.clone()),
            env: self.script_variables(id, &node.cloud),
            platform: node.platform.clone(),
            ssh_keys: if own_machine { self.ssh_keys.clone() } else { vec![] },
            login: node.login.clone(),
            disks: if own_machine { self.mounted(id) } else { vec![] },
            tasks: self.agent_tasks(id),
            held: self.held_from(id),
            names: self.tasks.get(id).into_iter().flatten().map(|t| (t.index, t.work.name().to_owned())).collect(),
            secrets: self.readable_secrets(id),
        })
    }

    /// Variables of every script, with the names SlipStream's recipes know beside ours.
    fn script_variables(&self, id: &InstanceId, cloud: &str) -> BTreeMap<String, String> {
        let run = self.id.to_string();
        let pairs = [
            ("SLIPSTREAM_RUN", run.as_str()),
            ("SLIPSTREAM_DIID", run.as_str()),
            ("SLIPSTREAM_CLOUD", cloud),
            ("SLIPSTREAM_CONNECTOR_INSTANCE", cloud),
            ("SLIPSTREAM_NODE", id.node.as_str()),
            ("SLIPSTREAM_USERNAME", self.owner.as_str()),
        ];
        let instance = id.to_string();
        let mut env: BTreeMap<String, String> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        env.insert("SLIPSTREAM_INSTANCE".to_owned(), instance.clone());
        env.insert("SLIPSTREAM_NODE_INSTANCE_NAME".to_owned(), instance);
        env
    }

    /// Whether first steps wait for the others. What comes later finds the others there.
    fn starts_together(&self) -> bool {
        self.plan.policy.start == Start::Together && !self.reached_ready
    }

    /// Nothing, or the instances without an address that are not given up.
    fn all_have_addresses(&self) -> Evaluated<()> {
        let has = |i: &Instance| i.public.is_some() || i.private.is_some();
        let lacking = self.instances.iter().filter(|(_, i)| i.is_live() && !has(i));
        // One of them may be given up instead.
        let leaves: Vec<Leaf> = lacking
            .flat_map(|(id, _)| [Leaf::Value(Key::instance(id, "address")), Leaf::Members(id.node.clone())])
            .collect();
        if leaves.is_empty() { Ok(()) } else { Err(leaves) }
    }

    /// What the agent asked for about a step: its environment, or, once the step has succeeded, what its
    /// ready check is to try.
    pub fn agent_env(&self, id: &InstanceId, index: u32) -> Evaluated<BTreeMap<String, String>> {
        let done = self.instances.get(id).and_then(|i| i.steps.get(&index)).and_then(|s| s.result.as_ref());
        let ready = self.node(id).and_then(|n| n.ready.as_ref());
        if index == 0 && done.is_none() && self.starts_together() {
            self.all_have_addresses()?;
        }
        if let Some(task) = self.task(id, index) {
            let mut env = self.task_step(id, task).map_or(Ok(BTreeMap::new()), |step| self.environment(id, &step))?;
            env.extend(task.env.clone());
            return Ok(env);
        }
        let mut env = match self.scripts(id).find(|(i, _)| *i == index) {
            Some((_, step)) => self.environment(id, step)?,
            None => BTreeMap::new(),
        };
        if done.is_some()
            && let Some(ReadyPlan { check: ReadyCheck::Tcp(template) | ReadyCheck::Http(template), .. }) = ready
        {
            env.insert(READY_VARIABLE.to_owned(), self.expand(template, Some(id))?);
        }
        Ok(env)
    }
}

pub(super) fn agent_step(step: &StepPlan) -> AgentStep {
    let gated = !step.needs.is_empty() || step.env.values().any(|t| t.as_literal().is_none());
    let literals = step.env.iter().filter_map(|(k, t)| Some((k.clone(), t.as_literal()?.to_owned())));
    AgentStep {
        step: step.step.clone(),
        origin: step.origin.clone(),
        script: step.script.clone(),
        within: step.within,
        gated,
        env: literals.collect(),
    }
}
