//! `${web[any].port}`: the instance that had the value first, kept until it is gone.
//!
//! Which one that is belongs to the state, or a reader that looks again would see another one as soon as an
//! instance of a lower number has the value too. It follows from the events alone: looked at after each.

use std::collections::BTreeMap;

use slipstream_shared::{
    id::InstanceId,
    parameter::Key,
    plan::{Plan, ReadyCheck},
    template::{Owner, Reference, Target, Template, Which},
};

use super::{Instance, Run, value::Leaf};

/// What a plan refers to as `[any]`, as a key of the node, with the instance that is meant.
pub type Chosen = BTreeMap<Key, Option<InstanceId>>;

/// All `[any]` references of a plan, none of them decided.
pub(super) fn references(plan: &Plan) -> Chosen {
    let mut found = Chosen::new();
    let mut look = |text: &Template| found.extend(text.references().filter_map(key).map(|key| (key, None)));
    plan.outputs.values().for_each(&mut look);
    plan.params.values().filter_map(|p| p.value.as_ref()).for_each(&mut look);
    for node in plan.nodes.values() {
        node.params.values().filter_map(|p| p.value.as_ref()).for_each(&mut look);
        node.instances.values().flat_map(|i| i.params.values()).for_each(&mut look);
        node.steps.iter().chain(&node.report).flat_map(|step| step.env.values()).for_each(&mut look);
        if let Some(ReadyCheck::Tcp(text) | ReadyCheck::Http(text)) = node.ready.as_ref().map(|ready| &ready.check) {
            look(text);
        }
    }
    found
}

fn key(reference: &Reference) -> Option<Key> {
    match &reference.owner {
        Owner::Node(Target { node, which: Which::Any }) => Some(Key::node(node, &reference.name)),
        _ => None,
    }
}

impl Run {
    /// The instance that is meant by `[any]`, once there is one.
    #[must_use]
    pub fn any(&self, target: &Target, name: &str) -> Option<&InstanceId> {
        self.chosen.get(&Key::node(&target.node, name))?.as_ref()
    }

    /// Decides what can be decided after an event; adds what has another value by that.
    pub(super) fn choose(&mut self, leaves: &mut Vec<Leaf>) {
        let is_live = |id: &InstanceId| self.instances.get(id).is_some_and(Instance::is_live);
        let mut news = Vec::new();
        for (key, chosen) in &self.chosen {
            let slipstream_shared::parameter::Scope::Node(node) = &key.scope else { continue };
            if chosen.as_ref().is_some_and(is_live) {
                continue;
            }
            let mut live = self.instances.keys().filter(|id| id.node == *node && is_live(id));
            let first = live.find(|id| self.value(&Key::instance(id, &key.name)).is_ok()).cloned();
            if first != *chosen {
                leaves.push(Leaf::Members(node.clone()));
                news.push((key.clone(), first));
            }
        }
        self.chosen.extend(news);
    }
}
