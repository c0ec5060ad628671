//! What a parameter is worth: values that were set, values computed from the run, and text with
//! references to either.

use std::{collections::BTreeMap, fmt};

use slipstream_shared::{
    disk::DiskName,
    id::{InstanceId, NodeName},
    meeting::MeetingName,
    parameter::{Key, MASK, ParamType, Scope},
    plan::{Category, Need, NeedMilestone, Network, ParamPlan, StepPlan},
    predefined::{self, Level, names},
    state::RunState,
    template::{Target, Template, Which},
};

use super::{Instance, Machine, Run, Stored, expand::Evaluation};

/// Something that can be waited for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leaf {
    /// That a parameter has a value.
    Value(Key),
    /// That an instance has come so far.
    Milestone(InstanceId, NeedMilestone),
    /// That other instances belong to a node.
    Members(NodeName),
    /// That a barrier opens.
    Barrier(MeetingName),
    /// That somebody else leads.
    Lead(MeetingName),
    /// Nothing: there is no value that could be read, and why.
    Broken(String),
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leaf::Value(key) => key.fmt(f),
            Leaf::Members(node) => write!(f, "instances of {node}"),
            Leaf::Barrier(name) => write!(f, "barrier {name}"),
            Leaf::Lead(name) => write!(f, "lead {name}"),
            Leaf::Broken(reason) => f.write_str(reason),
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
        let (level, exists) = match &key.scope {
            Scope::Run => (Level::Run, true),
            Scope::Node(node) => (Level::Node, self.plan.nodes.contains_key(node)),
            Scope::Instance(id) => (Level::Instance, self.instances.contains_key(id)),
        };
        predefined::find(level, &key.name).filter(|_| exists).map(|found| found.shape.kind())
    }

    pub(super) fn declared(&self, key: &Key) -> Option<&ParamPlan> {
        match &key.scope {
            Scope::Run => self.plan.params.get(&key.name),
            Scope::Node(_) => None,
            Scope::Instance(id) => self.instances.get(id).and(self.node(id)).and_then(|n| n.params.get(&key.name)),
        }
    }

    /// All keys the run has.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let run = names(Level::Run).chain(self.plan.params.keys().map(String::as_str)).map(Key::run);
        let nodes = self.plan.nodes.keys().flat_map(|n| names(Level::Node).map(move |name| Key::node(n, name)));
        let instances = self.instances.keys().flat_map(|id| {
            let own = self.node(id).into_iter().flat_map(|n| n.params.keys().map(String::as_str));
            let names: std::collections::BTreeSet<&str> = names(Level::Instance).chain(own).collect();
            names.into_iter().map(|name| Key::instance(id, name))
        });
        run.chain(nodes).chain(instances)
    }

    /// The value of a parameter, or what it waits for. A key the run does not have waits for itself. A secret
    /// is masked.
    pub fn value(&self, key: &Key) -> Evaluated<String> {
        let value = Evaluation::of_key(self, key).value(key, 0)?;
        Ok(if self.is_secret(key) { MASK.to_owned() } else { value })
    }

    /// The same, and a secret in clear: only for readers who may have it, see [`Run::may_read`].
    pub fn clear_value(&self, key: &Key) -> Evaluated<String> {
        Evaluation::of_key(self, key).value(key, 0)
    }

    /// The text that the module gives to a parameter.
    pub(super) fn template(&self, key: &Key) -> Option<&Template> {
        let declared = self.declared(key)?;
        let own = match &key.scope {
            Scope::Instance(id) => self.node(id).and_then(|node| node.instances.get(id)?.params.get(&key.name)),
            Scope::Run | Scope::Node(_) => None,
        };
        own.or(declared.value.as_ref())
    }

    /// True for what nobody waits for in the end: a value that is made of others, or that instances come.
    #[must_use]
    pub fn is_indirect(&self, leaf: &Leaf) -> bool {
        match leaf {
            Leaf::Value(key) => self.template(key).is_some_and(|t| t.references().next().is_some()),
            Leaf::Members(_) => true,
            Leaf::Milestone(..) | Leaf::Barrier(_) | Leaf::Lead(_) | Leaf::Broken(_) => false,
        }
    }

    /// The text that a value is made of now. None: it was set, is computed, or there is none.
    #[must_use]
    pub fn template_of(&self, key: &Key) -> Option<&Template> {
        let set = self.stored(key).is_some_and(|stored| stored.value.is_some());
        if set || self.is_computed(key) { None } else { self.template(key) }
    }

    /// True for a value that the coordinator computes.
    #[must_use]
    pub fn is_computed(&self, key: &Key) -> bool {
        self.computed(key).is_some()
    }

    /// What was written to a key last.
    #[must_use]
    pub fn stored(&self, key: &Key) -> Option<&Stored> {
        self.values.get(key)
    }

    /// Text with all its references replaced, as `reader` sees it; at most [`MAX_VALUE`] bytes.
    ///
    /// [`MAX_VALUE`]: slipstream_shared::parameter::MAX_VALUE
    pub fn expand(&self, template: &Template, reader: Option<&InstanceId>) -> Evaluated<String> {
        let text = template.to_string();
        let short = text.floor_char_boundary(60);
        let what = format!("the text `{}{}`", &text[..short], if short < text.len() { "…" } else { "" });
        Evaluation::of(self, what.clone()).text(&what, template, reader, 0)
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
        let missing = targets.into_iter().filter(|id| !reached(id)).map(|id| Leaf::Milestone(id, need.milestone));
        let mut leaves: Vec<Leaf> = missing.collect();
        if !leaves.is_empty() {
            leaves.push(Leaf::Members(need.target.node.clone()));
        }
        leaves
    }

    /// The value of a name that the coordinator computes; the outer None: it does not compute that one.
    pub(super) fn computed(&self, key: &Key) -> Option<Option<String>> {
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
                    "max-provisioning-failures" => {
                        Some(Some(self.plan.nodes.get(node).map_or(0, |n| n.tolerate).to_string()))
                    }
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
            "groups" => {
                let groups = self.plan.nodes.iter().map(|(name, node)| format!("{}:{name}", node.cloud));
                Some(groups.collect::<Vec<_>>().join(","))
            }
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
            "complete" => Some(self.is_deployed(id).to_string()),
            "is.orchestrator" => Some(false.to_string()),
            "network" => Some(
                match node.network {
                    Network::Public => "Public",
                    Network::Private => "Private",
                }
                .to_owned(),
            ),
            "image.id" => Some(node.image.clone()),
            "image.platform" => node.platform.clone(),
            "cpu.nb" => self.size_of(id, instance).cpu.map(|cpu| cpu.to_string()),
            "ram.GB" => self.size_of(id, instance).ram.map(gib),
            "disk.GB" => self.size_of(id, instance).disk.map(gib),
            "disk.attach.size" => instance.hardware.attached.as_ref().map(|disk| gib(disk.spec.size)),
            "disk.attached.device" => instance.hardware.attached.as_ref().map(|disk| disk.name.device()),
            "disk.detach.device" => instance.hardware.detached.map(DiskName::device),
            "vmstate" => Some(vmstate(instance).to_owned()),
            "url.ssh" => ssh_url(instance, &node.login),
            "abort" => {
                let first = self.abort.as_ref().filter(|a| a.instance.as_ref() == Some(id)).map(|a| a.reason.clone());
                first.or_else(|| instance.abort.clone())
            }
            _ => return None,
        })
    }
}

/// The address others use: the one of the node's network, or the only one there is.
#[must_use]
pub fn address(instance: &Instance, network: Network) -> Option<String> {
    let (first, second) = match network {
        Network::Public => (&instance.public, &instance.private),
        Network::Private => (&instance.private, &instance.public),
    };
    first.clone().or_else(|| second.clone())
}

/// As many digits as the number has.
fn gib(bytes: u64) -> String {
    (bytes as f64 / (1_u64 << 30) as f64).to_string()
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
        Machine::Stopping => "Stopping",
        Machine::Stopped => "Stopped",
        Machine::Starting => "Starting",
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
