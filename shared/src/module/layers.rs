//! A component together with all it builds on.
//!
//! The layers are ordered parent first. Scripts and packages of all of them run in that order; of values
//! the nearest wins, that is the last. A node of an application is one more layer on top of what it uses.
//! The checks and the planner look at components through this only, so both see the same.

use std::collections::BTreeMap;

use super::{
    Found, Used,
    model::{Component, Module, Node, ReadyDecl, Spanned},
    params::ParamDecl,
    problem::Position,
};
use crate::{
    disk::DiskSpec,
    parameter::ParamType,
    plan::{Need, Network, ReadyCheck, Size},
    template::{Owner, Template},
};

/// What one module contributes.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// Where it comes from: path and version.
    pub origin: &'a str,
    /// What it says.
    pub component: &'a Component,
    /// Written in the file that is being looked at, so that its positions mean something there.
    pub here: bool,
}

/// All layers of a component, an image or a node.
#[derive(Debug, Clone)]
pub struct Layers<'a> {
    layers: Vec<Layer<'a>>,
    params: BTreeMap<&'a str, Param<'a>>,
    /// Values that single instances have instead.
    variants: Vec<(&'a str, &'a Spanned<Template>)>,
    /// All of them are known: what is not declared here does not exist.
    pub complete: bool,
}

/// A parameter as its instances have it.
#[derive(Debug, Clone, Copy)]
pub struct Param<'a> {
    /// The nearest declaration.
    pub declared: &'a ParamDecl,
    /// Some layer publishes it.
    pub output: bool,
    /// Its value until somebody sets one.
    pub value: Option<&'a Template>,
    /// Where the value is written, if in the file that is being looked at.
    pub at: Option<Position>,
}

impl<'a> Layers<'a> {
    /// Those of an image or a component; `origin` is its own. None for other modules.
    #[must_use]
    pub fn of_module(module: &'a Module, origin: &'a str, used: &'a Used) -> Option<Self> {
        let component = module.component()?;
        Some(Layers::of(component, origin, used, None))
    }

    /// Those of a node; `origin` is that of its application.
    #[must_use]
    pub fn of_node(node: &'a Node, origin: &'a str, used: &'a Used) -> Self {
        let variants = node.instances.values().flat_map(|i| &i.values).map(|(name, v)| (name.as_str(), v)).collect();
        Layers { variants, ..Layers::of(&node.component, origin, used, Some(&node.values)) }
    }

    fn of(
        component: &'a Component,
        origin: &'a str,
        used: &'a Used,
        values: Option<&'a BTreeMap<String, Spanned<Template>>>,
    ) -> Self {
        let parent = component.parent.as_ref();
        let found: Option<&Vec<Found>> = parent.and_then(|p| used.get(&p.value.to_string()));
        let mut layers: Vec<Layer<'a>> = found
            .into_iter()
            .flatten()
            .filter_map(|f| Some(Layer { origin: &f.origin, component: f.module.component()?, here: false }))
            .collect();
        layers.push(Layer { origin, component, here: true });
        let params = params(&layers, values);
        Layers {
            layers,
            params,
            variants: Vec::new(),
            complete: !component.hidden && (parent.is_none() || found.is_some()),
        }
    }

    /// The layers, parent first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Layer<'a>> {
        self.layers.iter()
    }

    fn nearest<T>(&self, value: impl Fn(&'a Component) -> Option<T>) -> Option<T> {
        self.layers.iter().rev().find_map(|l| value(l.component))
    }

    /// The parameters, by name.
    #[must_use]
    pub fn params(&self) -> &BTreeMap<&'a str, Param<'a>> {
        &self.params
    }

    /// The values that single instances have for a parameter, instead of that of the node.
    pub fn variants(&self, name: &str) -> impl Iterator<Item = &'a Spanned<Template>> {
        self.variants.iter().filter(move |(of, _)| *of == name).map(|(_, value)| *value)
    }

    /// True where a script that runs before `deploy` speaks of the name, and so may set it. A guess on
    /// the safe side: the text of a script says no more.
    #[must_use]
    pub fn may_set_early(&self, name: &str) -> bool {
        let speaks = |script: &Option<super::model::ScriptDecl>| script.as_ref().is_some_and(|s| s.text.contains(name));
        self.layers.iter().any(|l| speaks(&l.component.pre_install) || speaks(&l.component.install))
    }

    /// True where what is written in this file speaks of a name of its own: a script has it as a word, or a
    /// value or variable refers to it.
    #[must_use]
    pub fn speaks_of(&self, name: &str) -> bool {
        self.layers.iter().filter(|layer| layer.here).any(|layer| {
            let component = layer.component;
            let scripts = [&component.pre_install, &component.install, &component.deploy, &component.report];
            let exec = component.ready.iter().filter_map(|ready| match &ready.check {
                ReadyCheck::Exec(text) => Some(text.as_str()),
                ReadyCheck::Tcp(_) | ReadyCheck::Http(_) => None,
            });
            let scripts = scripts.into_iter().flatten().chain(component.hooks.values());
            let mut texts = scripts.map(|script| script.text.as_str()).chain(exec);
            texts.any(|text| has_word(text, name))
        }) || self
            .values()
            .any(|value| value.references().any(|reference| reference.owner == Owner::Own && reference.name == name))
    }

    /// The values of all parameters of all instances.
    fn values(&self) -> impl Iterator<Item = &'a Template> {
        let variants = self.variants.iter().map(|(_, value)| &value.value);
        self.params.values().filter_map(|param| param.value).chain(variants)
    }

    /// The environment of its scripts, with places where they are in this file.
    #[must_use]
    pub fn env(&self) -> BTreeMap<&'a str, (&'a Template, Option<Position>)> {
        let entries = self.layers.iter().flat_map(|l| l.component.env.iter().map(move |entry| (l.here, entry)));
        entries.map(|(here, (name, v))| (name.as_str(), (&v.value, here.then_some(v.at)))).collect()
    }

    /// What `deploy` waits for, of all layers.
    #[must_use]
    pub fn needs(&self) -> Vec<(&'a Need, Option<Position>)> {
        let needs = self.layers.iter().flat_map(|l| l.component.needs.iter().map(move |n| (l.here, n)));
        needs.map(|(here, n)| (&n.value, here.then_some(n.at))).collect()
    }

    /// The nearest ready check, and whether it is in this file.
    #[must_use]
    pub fn ready(&self) -> Option<(&'a ReadyDecl, bool)> {
        self.layers.iter().rev().find_map(|l| Some((l.component.ready.as_ref()?, l.here)))
    }

    /// True where some layer has a `deploy` script.
    #[must_use]
    pub fn deploys(&self) -> bool {
        self.layers.iter().any(|l| l.component.deploy.is_some())
    }

    /// The image's identifier on a cloud.
    #[must_use]
    pub fn native(&self, cloud: &str) -> Option<&'a str> {
        self.nearest(|c| c.native.get(cloud)).map(String::as_str)
    }

    /// The clouds on which the image exists.
    #[must_use]
    pub fn clouds(&self) -> Vec<&'a str> {
        let mut all: Vec<&str> =
            self.layers.iter().flat_map(|l| l.component.native.keys()).map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The user for ssh.
    #[must_use]
    pub fn login(&self) -> &'a str {
        self.nearest(|c| c.login.as_deref()).unwrap_or("root")
    }

    /// True where scripts of some layer come from SlipStream by SixSq.
    #[must_use]
    pub fn imported(&self) -> bool {
        self.layers.iter().any(|l| l.component.imported)
    }

    /// The family of the operating system.
    #[must_use]
    pub fn platform(&self) -> Option<&'a str> {
        self.nearest(|c| c.platform.as_deref())
    }

    /// Which address the others use.
    #[must_use]
    pub fn network(&self) -> Network {
        self.nearest(|c| c.network).unwrap_or_default()
    }

    /// The disks of its machines beside the root disk: those of the nearest that says so.
    #[must_use]
    pub fn disks(&self) -> &'a [DiskSpec] {
        self.nearest(|c| c.disks.as_deref()).unwrap_or_default()
    }

    /// How large its machines are.
    #[must_use]
    pub fn size(&self) -> Size {
        Size {
            cpu: self.nearest(|c| c.size.cpu),
            ram: self.nearest(|c| c.size.ram),
            disk: self.nearest(|c| c.size.disk),
        }
    }
}

fn params<'a>(
    layers: &[Layer<'a>],
    values: Option<&'a BTreeMap<String, Spanned<Template>>>,
) -> BTreeMap<&'a str, Param<'a>> {
    let mut all: BTreeMap<&str, Param<'_>> = BTreeMap::new();
    for layer in layers {
        for (name, declared) in &layer.component.params {
            let before = all.get(name.as_str()).copied();
            let at = layer.here.then_some(declared.at);
            let param = match (&declared.default, before) {
                (Some(value), _) => Param { declared, output: false, value: Some(value), at },
                (None, Some(before)) => Param { declared, ..before },
                (None, None) => Param { declared, output: false, value: None, at },
            };
            let output = declared.output || before.is_some_and(|b| b.output);
            all.insert(name, Param { output, ..param });
        }
    }
    for (name, value) in values.into_iter().flatten() {
        if let Some(param) = all.get_mut(name.as_str()) {
            (param.value, param.at) = (Some(&value.value), Some(value.at));
        }
    }
    all
}

/// True where `word` stands in `text` with nothing around it that could belong to a longer name.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    text.match_indices(word).any(|(at, _)| {
        let mut after = text[at + word.len()..].chars();
        let next = after.next();
        // A dot may end a sentence.
        let after = if next == Some('.') { after.next() } else { next }.is_some_and(part);
        !text[..at].ends_with(part) && !after
    })
}

impl Param<'_> {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> &ParamType {
        &self.declared.kind
    }
}
