//! What is launched: applications of a few nodes that need each other, never in a circle. And what they are
//! updated to.

use std::collections::BTreeMap;

use slipstream_shared::{
    id::NodeName,
    operation::{Bounds, Hook},
    plan::{
        Category, KeepRunning, Need, NeedMilestone, Network, NodePlan, OnSilent, ParamPlan, Plan, Policy, ReadyCheck,
        ReadyPlan, Script, Size, StepPlan,
    },
    template::{Target, Which},
};
use slipstream_tests::Random;

/// Nodes in the order in which they may need those before them.
const NODES: [&str; 3] = ["db", "web", "client"];

/// The parameters of every instance that scripts and users write.
pub(crate) const PARAMETERS: [&str; 3] = ["alpha", "beta", "gamma"];

/// What machines and programs lead.
pub(crate) const LEADS: [&str; 2] = ["chief", "clerk"];

/// Names of the steps of every instance.
pub(crate) const STEPS: [&str; 2] = ["install", "deploy"];

pub(crate) fn plan(random: &mut Random, most_nodes: u64) -> Plan {
    let count = usize::try_from(random.between(1, most_nodes)).unwrap_or(1);
    let nodes: Vec<&str> = NODES[..count].to_vec();
    let policies =
        [KeepRunning::Always, KeepRunning::Always, KeepRunning::OnSuccess, KeepRunning::OnError, KeepRunning::Never];
    let policy =
        Policy { keep_running: *random.one(&policies), timeout: random.between(20, 90) * 60, ..Policy::default() };
    Plan {
        module: version(1),
        title: "test".into(),
        category: Category::Application,
        params: BTreeMap::new(),
        nodes: nodes.iter().enumerate().map(|(at, name)| (name_of(name), node(random, &nodes[..at]))).collect(),
        outputs: BTreeMap::new(),
        policy,
    }
}

fn version(number: usize) -> String {
    format!("test@{number}")
}

/// Another version of the same module: another script, another number of instances, one node more or less.
pub(crate) fn next(random: &mut Random, plan: &Plan) -> Plan {
    let number = plan.module.rsplit('@').next().and_then(|n| n.parse().ok()).unwrap_or(1) + 1;
    let mut plan = Plan { module: version(number), ..plan.clone() };
    let has = plan.nodes.len();
    if has < NODES.len() && random.percent(30) {
        plan.nodes.insert(name_of(NODES[has]), node(random, &NODES[..has]));
    } else if has > 1 && random.percent(30) {
        plan.nodes.remove(&name_of(NODES[has - 1]));
    }
    for node in plan.nodes.values_mut() {
        if random.percent(40) {
            let step = random.below(2);
            let text = format!("true # {number}");
            node.steps[usize::from(step == 1)].script = Script::Text(text);
        }
        if random.percent(20) {
            node.count = u32::try_from(random.between(1, 4)).unwrap_or(1);
        }
    }
    plan
}

fn node(random: &mut Random, before: &[&str]) -> NodePlan {
    let param = |name: &str| (name.to_owned(), ParamPlan::default());
    let mut params: BTreeMap<String, ParamPlan> = PARAMETERS.iter().map(|name| param(name)).collect();
    let mut steps: Vec<StepPlan> = STEPS.iter().map(|name| step(name)).collect();
    if random.percent(30) {
        steps[1].within = Some(600);
    }
    if !before.is_empty() {
        let other = random.one(before);
        let which = *random.one(&["", "[*]", "[any]"]);
        let text = format!("${{{other}{which}.{}}}", random.one(&PARAMETERS));
        params.insert("peer".into(), ParamPlan { value: text.parse().ok(), ..ParamPlan::default() });
        if random.percent(50) {
            let target = Target { node: name_of(other), which: *random.one(&[Which::Lowest, Which::All, Which::Any]) };
            let milestone = *random.one(&[NeedMilestone::Enrolled, NeedMilestone::Deployed, NeedMilestone::Ready]);
            steps[1].needs.push(Need { target, milestone });
        }
    }
    let silences = [OnSilent::Wait, OnSilent::Wait, OnSilent::Replace, OnSilent::Replace, OnSilent::Fail];
    let ready = ReadyPlan { check: ReadyCheck::Exec("true".into()), within: 120, every: 5 };
    let hooks = [Hook::OnVmAdd, Hook::OnVmRemove, Hook::PreRemove].into_iter().filter(|_| random.percent(30));
    let hooks = hooks.map(|hook| (hook, vec![step(hook.name())])).collect();
    NodePlan {
        component: "test@1".into(),
        count: u32::try_from(random.between(1, 3)).unwrap_or(1),
        cloud: "sim".into(),
        image: "any".into(),
        platform: None,
        login: "root".into(),
        size: Size::default(),
        disks: vec![],
        network: Network::Public,
        params,
        steps,
        report: if random.percent(50) { vec![step("report")] } else { vec![] },
        ready: random.percent(30).then_some(ready),
        bounds: Bounds::default(),
        hooks,
        tolerate: u32::from(random.percent(20)),
        on_silent: *random.one(&silences),
        instances: BTreeMap::new(),
        imported: false,
    }
}

fn step(name: &str) -> StepPlan {
    StepPlan {
        step: name.into(),
        origin: "test".into(),
        script: Script::Text("true".into()),
        within: None,
        env: BTreeMap::new(),
        needs: vec![],
    }
}

fn name_of(name: &str) -> NodeName {
    name.parse().expect("a node name")
}
