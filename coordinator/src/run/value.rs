//! What a parameter is worth: values that were set, values computed from the run, and text with
//! references to either.

use std::{collections::BTreeMap, fmt};

use slipstream_shared::{
    id::InstanceId,
    parameter::{Key, MAX_VALUE, ParamType, Scope},
    plan::{Category, Need, NeedMilestone, Network, ParamPlan, StepPlan},
    state::RunState,
    template::{Owner, Part, Reference, Target, Template, Which},
};

use super::{Instance, Machine, Run, Stored};

/// References may lead to references; longer chains than this are a cycle.
const MAX_DEPTH: usize = 32;

/// Replaces the rest of a text that grows beyond [`MAX_VALUE`] by its references: whoever reads it sees why.
const CUT: &str = "... [cut off: longer than 65536 bytes]";

/// Something that can be waited for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leaf {
    /// That a parameter has a value.
    Value(Key),
    /// That an instance has come so far.
    Milestone(InstanceId, NeedMilestone),
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leaf::Value(key) => key.fmt(f),
            Leaf::Milestone(instance, milestone) => write!(f, "{instance} {}", format!("{milestone:?}").to_lowercase()),
        }
    }
}

/// What was asked for, or what it still lacks.
pub type Evaluated<T> = Result<T, Vec<Leaf>>;

impl Run {
    /// The type of a parameter. None: the run has no parameter of that key.
    #[must_use]
    pub fn kind_of(&self, key: &Key) -> Option<ParamType> {
        if let Some(param) = self.declared(key) {
            return Some(param.kind.clone());
        }
        let known = match &key.scope {
            Scope::Run => RUN_NAMES.contains(&key.name.as_str()),
            Scope::Node(node) => self.plan.nodes.contains_key(node) && NODE_NAMES.contains(&key.name.as_str()),
            Scope::Instance(id) => self.instances.contains_key(id) && INSTANCE_NAMES.contains(&key.name.as_str()),
        };
        known.then_some(ParamType::String)
    }

    fn declared(&self, key: &Key) -> Option<&ParamPlan> {
        match &key.scope {
            Scope::Run => self.plan.params.get(&key.name),
            Scope::Node(_) => None,
            Scope::Instance(id) => self.instances.get(id).and(self.node(id)).and_then(|n| n.params.get(&key.name)),
        }
    }

    /// All keys the run has.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let run = RUN_NAMES.iter().copied().chain(self.plan.params.keys().map(String::as_str)).map(Key::run);
        let nodes = self.plan.nodes.keys().flat_map(|n| NODE_NAMES.iter().map(move |name| Key::node(n, name)));
        let instances = self.instances.keys().flat_map(|id| {
            let own = self.node(id).into_iter().flat_map(|n| n.params.keys().map(String::as_str));
            let names: std::collections::BTreeSet<&str> = INSTANCE_NAMES.iter().copied().chain(own).collect();
            names.into_iter().map(|name| Key::instance(id, name))
        });
        run.chain(nodes).chain(instances)
    }

    /// The value of a parameter, or what it waits for. A key the run does not have waits for itself.
    pub fn value(&self, key: &Key) -> Evaluated<String> {
        self.value_at(key, 0)
    }

    /// True for a value that is made of others: who waits for it really waits for those.
    #[must_use]
    pub fn is_indirect(&self, leaf: &Leaf) -> bool {
        let Leaf::Value(key) = leaf else { return false };
        self.declared(key).and_then(|p| p.value.as_ref()).is_some_and(|t| t.references().next().is_some())
    }

    /// What was written to a key last.
    #[must_use]
    pub fn stored(&self, key: &Key) -> Option<&Stored> {
        self.values.get(key)
    }

    fn value_at(&self, key: &Key, depth: usize) -> Evaluated<String> {
        let unset = || Err(vec![Leaf::Value(key.clone())]);
        if depth > MAX_DEPTH {
            return unset();
        }
        if let Some(computed) = self.computed(key) {
            return computed.ok_or_else(|| vec![Leaf::Value(key.clone())]);
        }
        if let Some(stored) = self.values.get(key)
            && let Some(value) = &stored.value
        {
            return Ok(value.clone());
        }
        match self.declared(key).and_then(|p| p.value.as_ref()) {
            None => unset(),
            Some(template) => {
                let reader = match &key.scope {
                    Scope::Instance(id) => Some(id),
                    Scope::Run | Scope::Node(_) => None,
                };
                // A write to the key itself would end the wait as well.
                self.expand_at(template, reader, depth + 1).map_err(|mut leaves| {
                    leaves.push(Leaf::Value(key.clone()));
                    leaves
                })
            }
        }
    }

    /// Text with all its references replaced, as `reader` sees it; at most [`MAX_VALUE`] bytes.
    pub fn expand(&self, template: &Template, reader: Option<&InstanceId>) -> Evaluated<String> {
        self.expand_at(template, reader, 0)
    }

    fn expand_at(&self, template: &Template, reader: Option<&InstanceId>, depth: usize) -> Evaluated<String> {
        let mut text = String::new();
        let mut missing = Vec::new();
        for part in template.parts() {
            match part {
                Part::Text(t) => text.push_str(t),
                // Long enough already, and all the rest would be cut off.
                Part::Reference(_) if text.len() > MAX_VALUE => break,
                Part::Reference(reference) => match self.refer(reference, reader, depth) {
                    Ok(value) => text.push_str(&value),
                    Err(mut leaves) => missing.append(&mut leaves),
                },
            }
        }
        if missing.is_empty() { Ok(cut(text)) } else { Err(missing) }
    }

    fn refer(&self, reference: &Reference, reader: Option<&InstanceId>, depth: usize) -> Evaluated<String> {
        let name = &reference.name;
        match (&reference.owner, reader) {
            (Owner::Own, Some(id)) => self.value_at(&Key::instance(id, name), depth),
            (Owner::Own, None) | (Owner::Run, _) => self.value_at(&Key::run(name), depth),
            (Owner::Node(target), _) if NODE_NAMES.contains(&name.as_str()) => {
                self.value_at(&Key::node(&target.node, name), depth)
            }
            (Owner::Node(target), _) => {
                let keys: Vec<Key> = self.targets(target).iter().map(|id| Key::instance(id, name)).collect();
                match target.which {
                    Which::Any => self.first_set(&keys, depth),
                    Which::Lowest | Which::Index(_) | Which::All => self.all_set(&keys, depth),
                }
            }
        }
    }

    fn all_set(&self, keys: &[Key], depth: usize) -> Evaluated<String> {
        let mut values = Vec::new();
        let mut missing = Vec::new();
        for key in keys {
            match self.value_at(key, depth) {
                Ok(value) => values.push(value),
                Err(mut leaves) => missing.append(&mut leaves),
            }
        }
        if missing.is_empty() { Ok(values.join(",")) } else { Err(missing) }
    }

    fn first_set(&self, keys: &[Key], depth: usize) -> Evaluated<String> {
        let mut missing = Vec::new();
        for key in keys {
            match self.value_at(key, depth) {
                Ok(value) => return Ok(value),
                Err(mut leaves) => missing.append(&mut leaves),
            }
        }
        Err(missing)
    }

    /// The instances a target means, by id.
    #[must_use]
    pub fn targets(&self, target: &Target) -> Vec<InstanceId> {
        let live = self.instances.iter().filter(|(id, i)| id.node == target.node && i.is_live()).map(|(id, _)| id);
        match target.which {
            Which::All | Which::Any => live.cloned().collect(),
            Which::Lowest => match live.min() {
                Some(id) => vec![id.clone()],
                None => vec![InstanceId::new(target.node.clone(), 1)],
            },
            Which::Index(i) => vec![InstanceId::new(target.node.clone(), i)],
        }
    }

    /// The environment of a step, or what it waits for.
    pub fn environment(&self, id: &InstanceId, step: &StepPlan) -> Evaluated<BTreeMap<String, String>> {
        let mut missing: Vec<Leaf> = step.needs.iter().flat_map(|need| self.unmet(need)).collect();
        let mut env = BTreeMap::new();
        for (name, template) in &step.env {
            match self.expand(template, Some(id)) {
                Ok(value) => {
                    env.insert(name.clone(), value);
                }
                Err(mut leaves) => missing.append(&mut leaves),
            }
        }
        if missing.is_empty() { Ok(env) } else { Err(missing) }
    }

    fn unmet(&self, need: &Need) -> Vec<Leaf> {
        let targets = self.targets(&need.target);
        let reached = |id: &InstanceId| match need.milestone {
            NeedMilestone::Enrolled => self.instances.get(id).is_some_and(|i| i.key.is_some()),
            NeedMilestone::Deployed => self.is_deployed(id),
            NeedMilestone::Ready => self.instances.get(id).is_some_and(|i| i.ready),
        };
        if need.target.which == Which::Any && targets.iter().any(reached) {
            return vec![];
        }
        targets.into_iter().filter(|id| !reached(id)).map(|id| Leaf::Milestone(id, need.milestone)).collect()
    }

    /// The value of a name that the coordinator computes; the outer None: it does not compute that one.
    fn computed(&self, key: &Key) -> Option<Option<String>> {
        match &key.scope {
            Scope::Run => self.computed_for_run(&key.name),
            Scope::Node(node) => {
                let ids: Vec<String> = self
                    .instances
                    .iter()
                    .filter(|(id, i)| id.node == *node && i.is_live())
                    .map(|(id, _)| id.index.to_string())
                    .collect();
                match key.name.as_str() {
                    "ids" => Some(Some(ids.join(","))),
                    "multiplicity" => Some(Some(ids.len().to_string())),
                    _ => None,
                }
            }
            Scope::Instance(id) => self.instances.get(id).and_then(|i| self.computed_for_instance(id, i, &key.name)),
        }
    }

    fn computed_for_run(&self, name: &str) -> Option<Option<String>> {
        Some(match name {
            "state" => Some(self.state.to_string()),
            "abort" => self.abort.as_ref().map(|a| a.reason.clone()),
            "tags" => (!self.tags.is_empty()).then(|| self.tags.join(",")),
            "category" => Some(
                match self.plan.category {
                    Category::Application => "Deployment",
                    Category::Machine => "Image",
                }
                .to_owned(),
            ),
            _ => return None,
        })
    }

    fn computed_for_instance(&self, id: &InstanceId, instance: &Instance, name: &str) -> Option<Option<String>> {
        let node = self.node(id)?;
        Some(match name {
            "nodename" => Some(id.node.to_string()),
            "id" => Some(id.index.to_string()),
            "cloudservice" => Some(node.cloud.clone()),
            "login" => Some(node.login.clone()),
            "instanceid" => instance.native.clone(),
            "address.public" => instance.public.clone(),
            "address.private" => instance.private.clone(),
            "address" | "hostname" => address(instance, node.network),
            "vmstate" => Some(vmstate(instance).to_owned()),
            "url.ssh" => ssh_url(instance, &node.login),
            "abort" => self.abort.as_ref().filter(|a| a.instance.as_ref() == Some(id)).map(|a| a.reason.clone()),
            _ => return None,
        })
    }
}

/// Run-wide names that every run has.
pub const RUN_NAMES: [&str; 5] = ["abort", "category", "state", "tags", "url.service"];

/// Names that every node has.
pub const NODE_NAMES: [&str; 2] = ["ids", "multiplicity"];

/// Names that every instance has.
pub const INSTANCE_NAMES: [&str; 14] = [
    "abort",
    "address",
    "address.private",
    "address.public",
    "cloudservice",
    "hostname",
    "id",
    "instanceid",
    "login",
    "nodename",
    "statecustom",
    "url.service",
    "url.ssh",
    "vmstate",
];

/// The address others use: the one of the node's network, or the only one there is.
#[must_use]
pub fn address(instance: &Instance, network: Network) -> Option<String> {
    let (first, second) = match network {
        Network::Public => (&instance.public, &instance.private),
        Network::Private => (&instance.private, &instance.public),
    };
    first.clone().or_else(|| second.clone())
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_VALUE {
        text.truncate(text.floor_char_boundary(MAX_VALUE - CUT.len()));
        text.push_str(CUT);
    }
    text
}

/// `ssh://login@host[:port]`. None for a loopback address: the ssh server there, if any, is this host's.
#[must_use]
pub fn ssh_url(instance: &Instance, login: &str) -> Option<String> {
    let own = |address: &&String| !address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let host = instance.ssh.as_ref().or_else(|| instance.public.as_ref().filter(own))?;
    Some(format!("ssh://{login}@{host}"))
}

fn vmstate(instance: &Instance) -> &'static str {
    match instance.machine {
        Machine::Planned | Machine::Intended => "Unknown",
        Machine::Launched => "Pending",
        Machine::Running => "Running",
        Machine::Terminating => "Terminating",
        Machine::Gone => "Gone",
        Machine::Failed(_) => "Failed",
    }
}

/// True for a state in which no value will change any more.
#[must_use]
pub fn is_over(state: RunState) -> bool {
    state.is_final()
}
