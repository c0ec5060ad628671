//! Updating a run to another version of its module: only what differs is touched.
//!
//! Steps are compared in their order by what they are: name, script, environment, needs. From the first that
//! differs on they are run again on the instances there are; instances of nodes whose steps are the same are
//! left alone. Where the module asks for another number of instances than before, the node is scaled; where it
//! asks for the same, the number that people have chosen stays. A node that is new comes, one that is no longer
//! there goes.

use std::collections::{BTreeMap, BTreeSet};

use slipstream_shared::{
    event::Event,
    id::{InstanceId, NodeName},
    operation::{Asked, Hook, Work},
    plan::{NodePlan, Plan, StepPlan},
};

use super::{Machine, Run, any, change::Refused};

/// What an update does, before it is an event.
#[derive(Debug, Default)]
struct Changes {
    add: Vec<InstanceId>,
    remove: BTreeSet<InstanceId>,
    touch: Vec<InstanceId>,
    works: Vec<(InstanceId, Work)>,
}

impl Run {
    /// The event that begins to update the run to `plan`.
    pub(super) fn update(&self, module: &str, plan: &Plan) -> Result<Event, Refused> {
        if !plan.nodes.keys().any(|node| self.plan.nodes.contains_key(node)) {
            let has = names(self.plan.nodes.keys());
            let other = names(plan.nodes.keys());
            let message = format!("{} has none of the nodes of this run ({has}), but {other}", plan.module);
            return Err(Refused::Unreasonable(message));
        }
        let mut changes = Changes::default();
        for (node, new) in &plan.nodes {
            self.update_node(node, new, &mut changes)?;
        }
        for node in self.plan.nodes.keys().filter(|node| !plan.nodes.contains_key(*node)) {
            changes.remove.extend(self.members_of(node).into_iter().cloned());
        }
        let works = self.update_works(plan, &changes);
        let tasks = self.number_tasks(works);
        let asked = Asked::Update { module: module.to_owned(), plan: Some(Box::new(plan.clone())) };
        Ok(Event::OperationStarted {
            number: self.next_operation(),
            asked: Box::new(asked),
            add: changes.add,
            remove: changes.remove.into_iter().collect(),
            touch: changes.touch,
            tasks,
        })
    }

    fn update_node(&self, node: &NodeName, new: &NodePlan, changes: &mut Changes) -> Result<(), Refused> {
        let members = self.members_of(node);
        let has = super::index(members.len());
        let old = self.plan.nodes.get(node);
        let wanted = match old {
            Some(old) if old.count == new.count => has.clamp(new.bounds.min, new.bounds.max),
            _ => new.count,
        };
        if wanted < has {
            changes.remove.extend(members.iter().rev().take((has - wanted) as usize).map(|id| (*id).clone()));
        } else {
            let first = self.next_id(node);
            changes.add.extend((first..first + (wanted - has)).map(|i| InstanceId::new(node.clone(), i)));
        }
        let Some(first) = old.and_then(|old| first_difference(&old.steps, &new.steps)) else { return Ok(()) };
        for id in members.into_iter().filter(|id| !changes.remove.contains(*id)) {
            let Some(instance) = self.instances.get(id) else { continue };
            if !matches!(instance.machine, Machine::Launched | Machine::Running) || instance.key.is_none() {
                let message = format!(
                    "{id} has no machine that runs, so its steps cannot be run again: start or remove it first"
                );
                return Err(Refused::Busy(message));
            }
            changes.touch.push(id.clone());
            let steps = new.steps.iter().enumerate().skip(first);
            let work = |(place, step): (usize, &StepPlan)| {
                (id.clone(), Work::Step { step: super::index(place), name: step.step.clone(), script: None })
            };
            changes.works.extend(steps.map(work));
        }
        Ok(())
    }

    /// Steps first, then the hooks of those that come and go.
    fn update_works(&self, plan: &Plan, changes: &Changes) -> Vec<(InstanceId, Work)> {
        let mut works = changes.works.clone();
        let hooks = self.hooks(&changes.add, &changes.remove).into_iter().filter(|(id, work)| {
            // Of the new version, where it still has the node.
            let Work::Hook { hook, place, .. } = work else { return false };
            let node = plan.nodes.get(&id.node).or_else(|| self.node(id));
            *hook == Hook::PreRemove && !plan.nodes.contains_key(&id.node)
                || node.and_then(|n| n.hooks.get(hook)).is_some_and(|steps| (*place as usize) < steps.len())
        });
        works.extend(hooks);
        works
    }

    /// Why each step is run again, and what else people should know, in words.
    #[must_use]
    pub fn update_notes(&self, plan: &Plan) -> Vec<String> {
        let mut notes = Vec::new();
        for node in self.plan.nodes.keys().filter(|node| !plan.nodes.contains_key(*node)) {
            notes.push(format!("{node}: the node is no longer there"));
        }
        for (node, new) in &plan.nodes {
            let Some(old) = self.plan.nodes.get(node) else {
                notes.push(format!("{node}: the node is new"));
                continue;
            };
            if let Some(first) = first_difference(&old.steps, &new.steps) {
                notes.push(format!("{node}: {}", why(old.steps.get(first), new.steps.get(first))));
            }
            if old.count != new.count {
                notes.push(format!("{node}: {} instances instead of {}", new.count, old.count));
            }
            if (&old.image, &old.size, &old.disks, &old.cloud) != (&new.image, &new.size, &new.disks, &new.cloud) {
                notes.push(format!("{node}: another image, size, disks or cloud, for instances that come from now on"));
            }
        }
        notes
    }

    /// Takes a new plan. What the steps that differ have led to does not count any more; nodes that are no
    /// longer there are kept until their machines are gone.
    pub(super) fn take_plan(&mut self, plan: &Plan) {
        for (node, old) in std::mem::take(&mut self.plan.nodes) {
            match plan.nodes.get(&node) {
                None => drop(self.retired.insert(node, old)),
                Some(new) => self.forget_steps(&node, &old.steps, &new.steps),
            }
        }
        for (key, chosen) in any::references(plan) {
            self.chosen.entry(key).or_insert(chosen);
        }
        let policy = self.plan.policy.clone();
        self.plan = Plan { policy, ..plan.clone() };
        for node in plan.nodes.keys() {
            self.retired.remove(node);
        }
    }

    fn forget_steps(&mut self, node: &NodeName, old: &[StepPlan], new: &[StepPlan]) {
        let same = old.iter().zip(new).take_while(|(a, b)| is_same(a, b)).count();
        for (_, instance) in self.instances.iter_mut().filter(|(id, _)| id.node == *node) {
            instance.steps.retain(|index, _| (*index as usize) < same);
        }
    }

    /// The clouds that machines of the run are or were on.
    #[must_use]
    pub fn clouds(&self) -> BTreeSet<&str> {
        self.plan.nodes.values().chain(self.retired.values()).map(|node| node.cloud.as_str()).collect()
    }
}

/// True where running it again would be running the same: which version contributes it, and how long it may take,
/// make no difference.
fn is_same(old: &StepPlan, new: &StepPlan) -> bool {
    (&old.step, &old.script, &old.env, &old.needs) == (&new.step, &new.script, &new.env, &new.needs)
}

/// From which step on they are not the same. None: all of the new ones were run.
fn first_difference(old: &[StepPlan], new: &[StepPlan]) -> Option<usize> {
    let same = old.iter().zip(new).take_while(|(a, b)| is_same(a, b)).count();
    (same < new.len()).then_some(same)
}

fn why(old: Option<&StepPlan>, new: Option<&StepPlan>) -> String {
    match (old, new) {
        (_, None) => "steps are no longer there".to_owned(),
        (None, Some(new)) => format!("step `{}` is new", new.step),
        (Some(old), Some(new)) if old.step == new.step && old.script != new.script => {
            format!("step `{}` has another script", new.step)
        }
        (Some(old), Some(new)) if old.step == new.step && old.env != new.env => {
            format!("step `{}` has another environment", new.step)
        }
        (Some(_), Some(new)) => format!("step `{}` is another one than before", new.step),
    }
}

fn names<'a>(nodes: impl Iterator<Item = &'a NodeName>) -> String {
    let unique: BTreeMap<&str, ()> = nodes.map(|n| (n.as_str(), ())).collect();
    unique.into_keys().collect::<Vec<_>>().join(", ")
}
