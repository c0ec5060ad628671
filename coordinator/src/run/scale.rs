//! Scaling: from a wanted number of instances to who comes, who goes, and which hooks run where.

use std::collections::{BTreeMap, BTreeSet};

use slipstream_shared::{
    event::Event,
    id::{InstanceId, NodeName},
    module::{fields::MOST_INSTANCES, near::did_you_mean},
    operation::{Asked, Hook, Work},
};

use super::{Machine, Run, change::Refused};

impl Run {
    /// The event that begins to scale: `remove` go, then each node of `count` gets as many as wanted. New ones
    /// have numbers that nobody had before; of too many, those with the highest numbers go.
    pub(super) fn scale(&self, count: &BTreeMap<NodeName, u32>, remove: &[InstanceId]) -> Result<Event, Refused> {
        if count.is_empty() && remove.is_empty() {
            return Err(Refused::Unreasonable("nothing is asked for: say NODE=COUNT, or who is to go".to_owned()));
        }
        let mut go: BTreeSet<InstanceId> = self.known_ids(remove)?;
        let mut come = Vec::new();
        let nodes: BTreeSet<&NodeName> = count.keys().chain(go.iter().map(|id| &id.node)).collect();
        for node in nodes.into_iter().cloned().collect::<Vec<_>>() {
            let stay: Vec<&InstanceId> = self.members_of(&node).into_iter().filter(|id| !go.contains(*id)).collect();
            let has = super::index(stay.len());
            let wanted = count.get(&node).copied().unwrap_or(has);
            self.allow(&node, wanted)?;
            if wanted < has {
                go.extend(stay.into_iter().rev().take((has - wanted) as usize).cloned().collect::<Vec<_>>());
            } else {
                let first = self.next_id(&node);
                come.extend((first..first + (wanted - has)).map(|i| InstanceId::new(node.clone(), i)));
            }
        }
        let live = self.instances.values().filter(|i| i.is_live()).count();
        let total = live + come.len() - go.len();
        if total > MOST_INSTANCES as usize {
            return Err(Refused::Unreasonable(format!("a run has at most {MOST_INSTANCES} instances, not {total}")));
        }
        let tasks = self.number_tasks(self.hooks(&come, &go));
        let asked = Box::new(Asked::Scale { count: count.clone(), remove: remove.to_vec() });
        let remove = go.into_iter().collect();
        Ok(Event::OperationStarted { number: self.next_operation(), asked, add: come, remove, touch: vec![], tasks })
    }

    /// The instances that are named, all of them there.
    fn known_ids(&self, ids: &[InstanceId]) -> Result<BTreeSet<InstanceId>, Refused> {
        ids.iter()
            .map(|id| match self.instances.get(id) {
                Some(instance) if instance.is_live() => Ok(id.clone()),
                Some(_) => Err(Refused::Unreasonable(format!("{id} is gone already, or on its way out"))),
                None => Err(Refused::Unreasonable(format!("this run has no instance {id}"))),
            })
            .collect()
    }

    fn allow(&self, node: &NodeName, wanted: u32) -> Result<(), Refused> {
        let Some(plan) = self.plan.nodes.get(node) else {
            let hint = did_you_mean(node.as_str(), self.plan.nodes.keys().map(NodeName::as_str));
            let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            return Err(Refused::Unreasonable(format!("this run has no node `{node}`{hint}")));
        };
        let (min, max) = (plan.bounds.min, plan.bounds.max);
        if (min..=max).contains(&wanted) {
            return Ok(());
        }
        let allowed = if min == max { min.to_string() } else { format!("{min} to {max}") };
        Err(Refused::Unreasonable(format!("the number of instances of `{node}` is {allowed}, not {wanted}")))
    }

    /// A number is not used again, so the highest there ever was decides.
    pub(super) fn next_id(&self, node: &NodeName) -> u32 {
        self.instances.keys().filter(|id| id.node == *node).map(|id| id.index + 1).max().unwrap_or(1)
    }

    /// What is run, and where: `pre_remove` on those that go, `on_vm_remove` and `on_vm_add` on those that are
    /// ready now and stay, once for each node that is scaled.
    pub(super) fn hooks(&self, come: &[InstanceId], go: &BTreeSet<InstanceId>) -> Vec<(InstanceId, Work)> {
        let mut works = Vec::new();
        let nodes = |ids: &mut dyn Iterator<Item = &InstanceId>| -> BTreeSet<NodeName> {
            ids.map(|id| id.node.clone()).collect()
        };
        let (growing, shrinking) = (nodes(&mut come.iter()), nodes(&mut go.iter()));
        for id in self.instances.keys().filter(|id| self.is_up(id)) {
            if go.contains(id) {
                works.extend(self.works(id, Hook::PreRemove, &id.node));
                continue;
            }
            works.extend(shrinking.iter().flat_map(|node| self.works(id, Hook::OnVmRemove, node)));
            works.extend(growing.iter().flat_map(|node| self.works(id, Hook::OnVmAdd, node)));
        }
        works
    }

    /// Ready, with a machine that is there.
    pub(super) fn is_up(&self, id: &InstanceId) -> bool {
        let there = |i: &super::Instance| matches!(i.machine, Machine::Launched | Machine::Running);
        self.serves(id) && self.instances.get(id).is_some_and(there)
    }

    /// The scripts of a hook on one instance.
    pub(super) fn works(&self, id: &InstanceId, hook: Hook, node: &NodeName) -> Vec<(InstanceId, Work)> {
        let scripts = self.node(id).and_then(|n| n.hooks.get(&hook)).map_or(0, Vec::len);
        let work = |place| (id.clone(), Work::Hook { hook, place: super::index(place), node: node.clone() });
        (0..scripts).map(work).collect()
    }
}
