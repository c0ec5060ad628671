//! What is launched: applications of a few nodes that need each other, never in a circle.

use std::collections::BTreeMap;

use slipstream_shared::{
    id::NodeName,
    plan::{
        Category, KeepRunning, Need, NeedMilestone, Network, NodePlan, OnSilent, ParamPlan, Plan, Policy, Script, Size,
        StepPlan,
    },
    template::{Target, Which},
};
use slipstream_tests::Random;

/// Nodes in the order in which they may need those before them.
const NODES: [&str; 3] = ["db", "web", "client"];

/// The parameters of every instance that scripts and users write.
pub(crate) const PARAMETERS: [&str; 3] = ["alpha", "beta", "gamma"];

pub(crate) fn plan(random: &mut Random) -> Plan {
    let count = usize::try_from(random.between(1, 3)).unwrap_or(1);
    let nodes: Vec<&str> = NODES[..count].to_vec();
    let policies =
        [KeepRunning::Always, KeepRunning::Always, KeepRunning::OnSuccess, KeepRunning::OnError, KeepRunning::Never];
    let policy =
        Policy { keep_running: *random.one(&policies), timeout: random.between(20, 90) * 60, ..Policy::default() };
    Plan {
        module: "test@1".into(),
        title: "test".into(),
        category: Category::Application,
        params: BTreeMap::new(),
        nodes: nodes.iter().enumerate().map(|(at, name)| (name_of(name), node(random, &nodes[..at]))).collect(),
        outputs: BTreeMap::new(),
        policy,
    }
}

fn node(random: &mut Random, before: &[&str]) -> NodePlan {
    let param = |name: &str| (name.to_owned(), ParamPlan::default());
    let mut params: BTreeMap<String, ParamPlan> = PARAMETERS.iter().map(|name| param(name)).collect();
    let mut steps = vec![step("install"), step("deploy")];
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
        ready: None,
        bounds: slipstream_shared::operation::Bounds::default(),
        hooks: BTreeMap::new(),
        tolerate: 0,
        on_silent: OnSilent::Wait,
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
