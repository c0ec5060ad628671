//! Makes of a module what a run is going to do.
//!
//! Steps run in the order of the layers, parent first: for each layer `pre_install`, `packages`,
//! `install`; then `deploy` of each. What they are given is decided here:
//!
//! - The environment is one for the whole node, the nearest entry of a name wins: what an application
//!   adds to a component it uses is seen by the component's scripts too.
//! - `deploy` and `report` get all of it. `deploy` waits until its references have values, and its first
//!   step for the milestones that any layer needs: they hold back `deploy` as a whole.
//! - `pre_install` and `install` get the entries that are known without other nodes, and wait for none:
//!   installing goes on while the others come up, and what it reads could go into an image.
//!
//! Predefined parameters are not part of a plan: every instance has them.

use std::collections::BTreeMap;

use slipstream_shared::{
    id::{InstanceId, NodeName},
    module::{
        Application, Body, Draft, Layers, Module, Node, Used,
        model::{Component, Count, InstanceDecl, Packages, ScriptDecl},
    },
    operation::{Bounds, Hook},
    parameter::{Key, ParamType},
    plan::{Category, InstancePlan, NodePlan, ParamPlan, Plan, Policy, ReadyPlan, Script, StepPlan},
    predefined::{self, Level, Since},
    template::{Owner, Reference, Template},
};

use super::{Catalogue, CatalogueError, LaunchOptions, error::invalid, launch::Chosen};
use crate::{run::secret::Secrets, store::MAX_VALUE};

/// The largest plan: it is kept with the event that begins a run, in one record of the store.
const MAX_PLAN: usize = MAX_VALUE - 64 * 1024;
/// References may lead to references; files with longer chains are refused.
const MAX_DEPTH: u32 = 32;
/// The single machine of a run of an image or a component.
const ONE: Count = Count { default: 1, min: 1, max: 1 };

/// Parameters by name.
type Params = BTreeMap<String, ParamPlan>;

impl Catalogue {
    /// The plan of a run of `target`, without the secrets chosen for it; see [`Catalogue::prepare`].
    ///
    /// # Errors
    /// As [`Catalogue::prepare`].
    pub async fn resolve(&self, target: &str, options: &LaunchOptions) -> Result<Plan, CatalogueError> {
        self.prepare(target, options).await.map(|prepared| prepared.plan)
    }

    /// What a run of `target`, which is `path` or `path@version`, needs to begin.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`] or [`CatalogueError::NoVersion`]; [`CatalogueError::Invalid`] where a
    /// module that it uses no longer fits; [`CatalogueError::Launch`] with everything that is wrong with
    /// the options.
    pub async fn prepare(&self, target: &str, options: &LaunchOptions) -> Result<Prepared, CatalogueError> {
        let stored = self.get(target).await?;
        let origin = stored.to_string();
        let mut draft = Draft::read(&stored.source).map_err(|problems| invalid(&origin, problems))?;
        let used = self.used(&mut draft).await?;
        let module = draft.check(&used).map_err(|problems| invalid(&origin, problems))?;
        plan(&module, &origin, &used, options).map_err(|reasons| CatalogueError::Launch { module: origin, reasons })
    }
}

/// A run that can begin.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What it is going to do.
    pub plan: Plan,
    /// The secrets that were chosen for it: no part of the plan, for that is stored and shown as it is.
    pub secrets: Secrets,
}

fn plan(module: &Module, origin: &str, used: &Used, options: &LaunchOptions) -> Result<Prepared, Vec<String>> {
    let application = match &module.body {
        Body::Project => return Err(vec!["it is a project, launch one of the modules in it".to_owned()]),
        Body::Image(_) | Body::Component(_) => None,
        Body::Application(application) => Some(application),
    };
    let layers = layers(module, origin, used);
    let mut chosen = Chosen::check(options, &layers, application);
    let params = application.map(|a| run_wide(a, &mut chosen)).unwrap_or_default();
    let mut nodes = BTreeMap::new();
    for (name, layers) in &layers {
        let node = application.and_then(|a| a.nodes.get(name));
        let planner = Planner { name, layers, node, run: &params, origin };
        nodes.insert(name.clone(), planner.node(&mut chosen));
    }
    chosen.total(nodes.values().map(|n| n.count));
    let outputs = application.iter().flat_map(|a| &a.outputs);
    let plan = Plan {
        module: origin.to_owned(),
        title: module.title.clone().unwrap_or_else(|| module.name.clone()),
        category: if application.is_some() { Category::Application } else { Category::Machine },
        params,
        nodes,
        outputs: outputs.map(|(name, output)| (name.clone(), output.value.clone())).collect(),
        policy: policy(application, options),
    };
    let size = serde_json::to_vec(&plan).map_or(0, |bytes| bytes.len());
    if size > MAX_PLAN {
        chosen.reasons.push(format!("its scripts and values make a plan of {size} bytes, the limit is {MAX_PLAN}"));
    }
    if chosen.reasons.is_empty() { Ok(Prepared { plan, secrets: chosen.secrets }) } else { Err(chosen.reasons) }
}

/// What each node is made of; a single image or component is the node `machine`.
fn layers<'a>(module: &'a Module, origin: &'a str, used: &'a Used) -> BTreeMap<NodeName, Layers<'a>> {
    match &module.body {
        Body::Application(application) => {
            let nodes = application.nodes.iter();
            nodes.map(|(name, node)| (name.clone(), Layers::of_node(node, origin, used))).collect()
        }
        _ => Layers::of_module(module, origin, used).map(|l| (NodeName::machine(), l)).into_iter().collect(),
    }
}

fn policy(application: Option<&Application>, options: &LaunchOptions) -> Policy {
    let default = Policy::default();
    let keep_running = options.keep_running.or(application.and_then(|a| a.keep_running));
    let timeout = options.timeout.or(application.and_then(|a| a.timeout));
    Policy {
        keep_running: keep_running.unwrap_or(default.keep_running),
        timeout: timeout.unwrap_or(default.timeout),
        start: application.map(|a| a.start).unwrap_or_default(),
        on_failure: application.map(|a| a.on_failure).unwrap_or_default(),
        lease: options.lease.or(application.and_then(|a| a.lease)),
    }
}

/// The inputs of the run, with the values chosen for them.
fn run_wide(application: &Application, chosen: &mut Chosen<'_>) -> Params {
    let mut params = Params::new();
    for (name, declared) in &application.params {
        let set = chosen.run.get(name.as_str()).copied();
        let value = set.map(Template::literal).or_else(|| declared.default.clone());
        if value.is_none() && chosen.lacks(declared) {
            chosen.reasons.push(format!("the input `{name}` needs a value"));
        }
        params.insert(name.clone(), chosen.param(Key::run(name), declared, set, value));
    }
    params
}

/// Plans one node.
struct Planner<'a> {
    name: &'a NodeName,
    layers: &'a Layers<'a>,
    /// None where the node is the single machine of a run.
    node: Option<&'a Node>,
    /// The inputs of the run.
    run: &'a Params,
    /// The module that is launched.
    origin: &'a str,
}

impl Planner<'_> {
    fn node(&self, chosen: &mut Chosen<'_>) -> NodePlan {
        let (name, layers) = (self.name, self.layers);
        let preferred = self.node.and_then(|n| n.clouds.first()).map(|c| c.value.as_str());
        let cloud = chosen.cloud(name, preferred);
        let image = layers.native(&cloud).unwrap_or_default().to_owned();
        if image.is_empty() && !cloud.is_empty() {
            chosen.reasons.push(self.no_image(&cloud));
        }
        let params = self.params(chosen);
        let steps = self.steps(&params, chosen);
        let ready = layers.ready().map(|(ready, _)| ready);
        NodePlan {
            component: self.component().to_owned(),
            count: chosen.count(name, self.node.map_or(ONE, |n| n.count)),
            cloud,
            image,
            platform: layers.platform().map(str::to_owned),
            login: layers.login().to_owned(),
            size: layers.size(),
            disks: layers.disks().to_vec(),
            network: layers.network(),
            params,
            steps,
            report: self.report(),
            bounds: self.bounds(),
            hooks: self.hooks(),
            ready: ready.map(|r| ReadyPlan { check: r.check.clone(), within: r.within, every: r.every }),
            instances: self.instances(chosen),
            tolerate: self.node.map_or(0, |n| n.tolerate),
            on_silent: self.node.map(|n| n.on_silent).unwrap_or_default(),
            imported: layers.imported(),
        }
    }

    /// What the node is: the component it uses, or else the module that is launched.
    fn component(&self) -> &str {
        match self.node {
            Some(node) if node.uses => self.layers.iter().rev().nth(1).map_or(self.origin, |l| l.origin),
            _ => self.origin,
        }
    }

    fn no_image(&self, cloud: &str) -> String {
        let image = self.layers.iter().next().map_or(self.origin, |l| l.origin);
        let clouds = self.layers.clouds().join(", ");
        format!("`{}`: the image `{image}` has no identifier for the cloud `{cloud}` (it has: {clouds})", self.name)
    }

    /// What differs for single instances; what was chosen at launch for the node is the same for all.
    fn instances(&self, chosen: &Chosen<'_>) -> BTreeMap<InstanceId, InstancePlan> {
        let instances = self.node.into_iter().flat_map(|node| &node.instances);
        let plan = |(index, instance): (&u32, &InstanceDecl)| {
            let values = instance.values.iter().filter(|(name, _)| self.set(chosen, name).is_none());
            let params = values.map(|(name, value)| (name.clone(), value.value.clone())).collect();
            (InstanceId::new(self.name.clone(), *index), InstancePlan { params })
        };
        instances.map(plan).collect()
    }

    /// Declared parameters with their values, and the inputs of the run as parameters of each instance.
    fn params(&self, chosen: &mut Chosen<'_>) -> Params {
        let mut params = Params::new();
        for (name, param) in self.layers.params() {
            let set = self.set(chosen, name);
            let value = set.map(Template::literal).or_else(|| param.value.cloned());
            if value.is_none() && chosen.lacks(param.declared) {
                chosen.reasons.push(format!("the input `{}:{name}` needs a value", self.name));
            }
            let key = Key::node(self.name, name);
            params.insert((*name).to_owned(), chosen.param(key, param.declared, set, value));
        }
        for (name, declared) in self.run {
            if params.contains_key(name) {
                continue;
            }
            let set = self.set(chosen, name);
            if declared.kind == ParamType::Secret && !self.binds(name) {
                let unused = set.map(|_| format!("`{}:{name}`: nothing in that node reads this secret", self.name));
                chosen.reasons.extend(unused);
                continue;
            }
            let secret = set.filter(|_| declared.kind == ParamType::Secret);
            chosen.secrets.0.extend(secret.map(|value| (Key::node(self.name, name), value.to_owned())));
            let value = match set {
                Some(_) if secret.is_some() => None,
                Some(text) => Some(Template::literal(text)),
                None => format!("${{ss.{name}}}").parse().ok(),
            };
            params.insert(name.clone(), ParamPlan { value, generate: None, ..declared.clone() });
        }
        params
    }

    /// The value chosen at launch.
    fn set<'c>(&self, chosen: &Chosen<'c>, name: &str) -> Option<&'c str> {
        chosen.nodes.get(&(self.name.as_str(), name)).copied()
    }

    /// Whether the instances of the node get a secret of the run: only where the node is written in place, as
    /// part of the application, and speaks of it. Others declare a parameter with a reference to it.
    fn binds(&self, name: &str) -> bool {
        self.node.is_some_and(|node| !node.uses) && self.layers.speaks_of(name)
    }

    fn steps(&self, params: &Params, chosen: &mut Chosen<'_>) -> Vec<StepPlan> {
        let env = self.env();
        let early: BTreeMap<String, Template> =
            self.env().into_iter().filter(|(_, text)| self.is_early(text, params, 0)).collect();
        let mut steps = Vec::new();
        for layer in self.layers.iter() {
            let Component { pre_install, packages, install, .. } = layer.component;
            let before = pre_install.as_ref().map(|s| step("pre_install", layer.origin, s, &early));
            steps.extend(before);
            if let Some(names) = self.packages(packages, chosen) {
                let (step, origin) = ("packages".to_owned(), layer.origin.to_owned());
                let script = Script::Packages(names);
                steps.push(StepPlan { step, origin, script, within: None, env: BTreeMap::new(), needs: Vec::new() });
            }
            let after = install.as_ref().map(|s| step("install", layer.origin, s, &early));
            steps.extend(after);
        }
        let mut needs: Vec<_> = self.layers.needs().into_iter().map(|(need, _)| need.clone()).collect();
        for layer in self.layers.iter() {
            if let Some(script) = &layer.component.deploy {
                let needs = std::mem::take(&mut needs);
                steps.push(StepPlan { needs, ..step("deploy", layer.origin, script, &env) });
            }
        }
        steps
    }

    fn report(&self) -> Vec<StepPlan> {
        let env = self.env();
        let scripts = self.layers.iter().filter_map(|l| Some((l.origin, l.component.report.as_ref()?)));
        scripts.map(|(origin, script)| step("report", origin, script, &env)).collect()
    }

    /// What the instances run when the run is scaled, parents first.
    fn hooks(&self) -> BTreeMap<Hook, Vec<StepPlan>> {
        let env = self.env();
        let mut hooks: BTreeMap<Hook, Vec<StepPlan>> = BTreeMap::new();
        for layer in self.layers.iter() {
            for (hook, script) in &layer.component.hooks {
                hooks.entry(*hook).or_default().push(step(hook.name(), layer.origin, script, &env));
            }
        }
        hooks
    }

    fn bounds(&self) -> Bounds {
        let Count { min, max, .. } = self.node.map_or(ONE, |n| n.count);
        Bounds { min, max }
    }

    fn env(&self) -> BTreeMap<String, Template> {
        self.layers.env().into_iter().map(|(name, (text, _))| (name.to_owned(), text.clone())).collect()
    }

    /// The names for the package manager of the node's platform; none where nothing is to be installed.
    fn packages(&self, packages: &Packages, chosen: &mut Chosen<'_>) -> Option<Vec<String>> {
        if packages.is_empty() {
            return None;
        }
        let families = match packages {
            Packages::All(names) => return Some(names.clone()),
            Packages::ByFamily(families) => families,
        };
        let platform = self.layers.platform();
        let names = platform.and_then(family).and_then(|family| families.get(family));
        if names.is_none() {
            let has = families.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let platform = platform.map_or("no platform".to_owned(), |p| format!("the platform `{p}`"));
            chosen.reasons.push(format!("`{}` lists packages for {has}, but its image has {platform}", self.name));
        }
        names.cloned()
    }

    /// True for text whose references have values before other nodes do anything.
    fn is_early(&self, text: &Template, params: &Params, depth: u32) -> bool {
        depth < MAX_DEPTH && text.references().all(|r| self.is_known(r, params, depth + 1))
    }

    fn is_known(&self, reference: &Reference, params: &Params, depth: u32) -> bool {
        let name = reference.name.as_str();
        let predefined = |level| predefined::find(level, name).map(|p| p.since != Since::Set);
        let (found, values) = match &reference.owner {
            Owner::Node(_) => return false,
            Owner::Run => (predefined(Level::Run), self.run),
            Owner::Own => (predefined(Level::Instance).or(predefined(Level::Node)), params),
        };
        let value = || values.get(name).and_then(|p| p.value.as_ref());
        let mut variants = self.layers.variants(name).filter(|_| reference.owner == Owner::Own);
        found.unwrap_or_else(|| {
            value().is_some_and(|text| self.is_early(text, params, depth))
                && variants.all(|text| self.is_early(&text.value, params, depth))
        })
    }
}

fn step(name: &str, origin: &str, script: &ScriptDecl, env: &BTreeMap<String, Template>) -> StepPlan {
    StepPlan {
        step: name.to_owned(),
        origin: origin.to_owned(),
        script: Script::Text(script.text.clone()),
        within: script.within,
        env: env.clone(),
        needs: Vec::new(),
    }
}

/// The package manager of a platform.
fn family(platform: &str) -> Option<&'static str> {
    Some(match platform {
        "debian" | "ubuntu" => "apt",
        "redhat" | "centos" | "fedora" | "rocky" | "alma" => "dnf",
        "suse" | "opensuse" => "zypper",
        "alpine" => "apk",
        "arch" => "pacman",
        _ => return None,
    })
}
