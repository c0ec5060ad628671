//! What a person may choose at launch, checked against the module.

use std::{collections::BTreeMap, fmt};

use slipstream_shared::{
    api::LaunchRequest,
    id::NodeName,
    module::{Application, Layers, fields::MOST_INSTANCES, model::Count, near::did_you_mean, params::ParamDecl},
    parameter::{Key, ParamType},
    plan::{KeepRunning, ParamPlan},
    template::Template,
};

use crate::run::{lease::LONGEST, secret::Secrets};

/// What is chosen at launch; what is not chosen, the module says.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LaunchOptions {
    /// Values of inputs: `name` for the run, `node:name` for the instances of a node. In a run of a single
    /// image or component both mean its machine.
    pub set: BTreeMap<String, String>,
    /// Clouds by node; the key `*` is for all others. They come before those of the module.
    pub cloud: BTreeMap<String, String>,
    /// The cloud of nodes for which neither the person nor the module names one.
    pub default_cloud: Option<String>,
    /// Numbers of instances by node.
    pub count: BTreeMap<String, u32>,
    /// What stays in the end.
    pub keep_running: Option<KeepRunning>,
    /// From launch to Ready, in seconds.
    pub timeout: Option<u64>,
    /// How long the run lives, in seconds.
    pub lease: Option<u64>,
    /// The run has begun: secrets that were chosen for it then are no part of this, and not missing.
    pub begun: bool,
}

impl fmt::Debug for LaunchOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the values: some are secret.
        let set: Vec<&String> = self.set.keys().collect();
        f.debug_struct("LaunchOptions").field("set", &set).field("count", &self.count).finish_non_exhaustive()
    }
}

impl From<&LaunchRequest> for LaunchOptions {
    fn from(request: &LaunchRequest) -> Self {
        LaunchOptions {
            set: request.set.clone(),
            cloud: request.cloud.clone(),
            default_cloud: None,
            count: request.count.clone(),
            keep_running: request.keep_running,
            timeout: request.timeout,
            lease: request.lease,
            begun: false,
        }
    }
}

/// The options, sorted by what they are for, and what is wrong with them.
pub(super) struct Chosen<'a> {
    options: &'a LaunchOptions,
    /// Values of run-wide inputs.
    pub(super) run: BTreeMap<&'a str, &'a str>,
    /// Values of parameters, by node and name.
    pub(super) nodes: BTreeMap<(&'a str, &'a str), &'a str>,
    /// Why this cannot be launched.
    pub(super) reasons: Vec<String>,
    /// Values of secrets, which are no part of the plan.
    pub(super) secrets: Secrets,
}

impl<'a> Chosen<'a> {
    /// Checks `options` for nodes with these layers; there is no application where a single image or
    /// component is launched.
    pub(super) fn check(
        options: &'a LaunchOptions,
        nodes: &BTreeMap<NodeName, Layers<'_>>,
        application: Option<&Application>,
    ) -> Self {
        let mut chosen = Chosen {
            options,
            run: BTreeMap::new(),
            nodes: BTreeMap::new(),
            reasons: Vec::new(),
            secrets: Secrets::default(),
        };
        for (key, value) in &options.set {
            if let Err(reason) = chosen.set(key, value, nodes, application) {
                chosen.reasons.push(reason);
            }
        }
        let clouds = options.cloud.keys().filter(|node| *node != "*");
        for node in clouds.chain(options.count.keys()) {
            if let Err(reason) = node_of(node, nodes) {
                chosen.reasons.push(reason);
            }
        }
        if options.timeout == Some(0) {
            chosen.reasons.push("a timeout of 0 s leaves no time to start".to_owned());
        }
        if options.lease.is_some_and(|lease| lease == 0 || lease > LONGEST) {
            chosen.reasons.push(format!("a lease has 1 to {LONGEST} s (ten years)"));
        }
        chosen
    }

    fn set(
        &mut self,
        key: &'a str,
        value: &'a str,
        nodes: &BTreeMap<NodeName, Layers<'_>>,
        application: Option<&Application>,
    ) -> Result<(), String> {
        let (node, name) = match (key.split_once(':'), application) {
            (None | Some(("ss", _)), Some(application)) => {
                let name = key.strip_prefix("ss:").unwrap_or(key);
                let declared = application.params.get(name).ok_or_else(|| {
                    let hint = did_you_mean(name, application.params.keys().map(String::as_str));
                    format!("the application has no input `{name}`{}", joined(hint))
                })?;
                fits(key, value, declared)?;
                self.run.insert(name, value);
                return Ok(());
            }
            (None, None) => ("machine", key),
            (Some(pair), _) => pair,
        };
        let layers = node_of(node, nodes)?;
        let run_wide = application.and_then(|a| a.params.get(name));
        let declared = layers.params().get(name).map(|p| p.declared).or(run_wide).ok_or_else(|| {
            let hint = did_you_mean(name, layers.params().keys().copied());
            format!("`{node}` has no parameter `{name}`{}", joined(hint))
        })?;
        fits(key, value, declared)?;
        self.nodes.insert((node, name), value);
        Ok(())
    }

    /// True for an input that somebody has to choose.
    pub(super) fn lacks(&self, declared: &ParamDecl) -> bool {
        let known = declared.generate.is_some() || self.options.begun && declared.kind == ParamType::Secret;
        declared.required && !known
    }

    /// A parameter of the plan, `set` being what was chosen for it. A secret is kept apart, by its key.
    pub(super) fn param(
        &mut self,
        key: Key,
        declared: &ParamDecl,
        set: Option<&str>,
        value: Option<Template>,
    ) -> ParamPlan {
        let ParamDecl { kind, limits, help, generate, .. } = declared;
        let secret = set.filter(|_| *kind == ParamType::Secret);
        self.secrets.0.extend(secret.map(|value| (key, value.to_owned())));
        let value = if secret.is_some() { None } else { value };
        let generate = generate.filter(|_| secret.is_none() && value.is_none());
        ParamPlan { kind: kind.clone(), value, limits: limits.clone(), generate, help: help.clone() }
    }

    /// The cloud of a node, `preferred` being what its module says.
    pub(super) fn cloud(&mut self, node: &NodeName, preferred: Option<&str>) -> String {
        let chosen = self.options.cloud.get(node.as_str()).or_else(|| self.options.cloud.get("*")).map(String::as_str);
        let cloud = chosen.or(preferred).or(self.options.default_cloud.as_deref());
        if cloud.is_none() {
            self.reasons.push(format!("nothing says on which cloud `{node}` runs"));
        }
        cloud.unwrap_or_default().to_owned()
    }

    /// How many instances of a node to start with.
    pub(super) fn count(&mut self, node: &NodeName, bounds: Count) -> u32 {
        let count = self.options.count.get(node.as_str()).copied().unwrap_or(bounds.default);
        let Count { min, max, .. } = bounds;
        if !(min..=max).contains(&count) {
            let allowed = if min == max { min.to_string() } else { format!("{min} to {max}") };
            self.reasons.push(format!("the number of instances of `{node}` is {allowed}, not {count}"));
        }
        count
    }

    /// A run as a whole has a limit too.
    pub(super) fn total(&mut self, counts: impl Iterator<Item = u32>) {
        let total = counts.fold(0, u32::saturating_add);
        if total > MOST_INSTANCES {
            self.reasons.push(format!("a run has at most {MOST_INSTANCES} instances, not {total}"));
        }
    }
}

fn node_of<'n, 'l>(name: &str, nodes: &'n BTreeMap<NodeName, Layers<'l>>) -> Result<&'n Layers<'l>, String> {
    let found = name.parse().ok().and_then(|name: NodeName| nodes.get(&name));
    found.ok_or_else(|| match name.split_once('.') {
        Some((node, _)) => format!("`{name}` is one instance: at launch, choose for the node `{node}`"),
        None => format!("there is no node `{name}`{}", joined(did_you_mean(name, nodes.keys().map(NodeName::as_str)))),
    })
}

fn fits(key: &str, value: &str, declared: &ParamDecl) -> Result<(), String> {
    declared.check(value).map_err(|reason| format!("`{key}`: {reason}"))
}

fn joined(hint: Option<String>) -> String {
    hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
}
