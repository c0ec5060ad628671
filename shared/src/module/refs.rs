//! Do references lead somewhere, and do the values found there fit?
//!
//! A component stands alone: it knows its own parameters and nothing of the application it will be part
//! of. An application knows its nodes; what their components declare is known where these were found.

use std::collections::BTreeMap;

use super::{
    Layers, Used,
    model::{Application, Body, Component, Module, Node, Spanned},
    near::did_you_mean,
    params::{assignable, type_name},
    problem::{Problems, join},
};
use crate::{
    id::NodeName,
    parameter::ParamType,
    plan::ReadyCheck,
    predefined::{self, Level},
    template::{Owner, Part, Reference, Target, Template, Which},
};

/// Checks all references of a module.
pub(super) fn check(module: &Module, used: &Used, problems: &mut Problems) {
    match &module.body {
        Body::Project => {}
        Body::Image(component) | Body::Component(component) => {
            let Some(layers) = Layers::of_module(module, "", used) else { return };
            let scope = Scope { own: Some(&layers), nodes: None, application: None };
            scope.component(component, "", problems);
        }
        Body::Application(application) => check_application(application, used, problems),
    }
}

fn check_application(application: &Application, used: &Used, problems: &mut Problems) {
    let nodes: BTreeMap<&NodeName, Layers<'_>> =
        application.nodes.iter().map(|(name, node)| (name, Layers::of_node(node, "", used))).collect();
    for (name, node) in &application.nodes {
        let scope = Scope { own: nodes.get(name), nodes: Some(&nodes), application: Some(application) };
        let path = join("nodes", name.as_str());
        scope.component(&node.component, &path, problems);
        scope.values(name, node, &path, problems);
    }
    let scope = Scope { own: None, nodes: Some(&nodes), application: Some(application) };
    for (name, output) in &application.outputs {
        scope.template(output, None, &join("outputs", name), problems);
    }
}

/// What a reference may name from where it stands.
struct Scope<'a> {
    /// The reader itself; in outputs there is none, and own names are those of the run.
    own: Option<&'a Layers<'a>>,
    /// The nodes; none in a component.
    nodes: Option<&'a BTreeMap<&'a NodeName, Layers<'a>>>,
    application: Option<&'a Application>,
}

/// A message, and what to do about it.
type Refusal = (String, Option<String>);

impl Scope<'_> {
    fn component(&self, component: &Component, path: &str, problems: &mut Problems) {
        for (name, value) in &component.env {
            self.template(value, None, &join(&join(path, "env"), name), problems);
        }
        for (name, declared) in &component.params {
            if let Some(value) = &declared.default {
                let value = Spanned { value: value.clone(), at: declared.at };
                let section = if declared.output { "publish" } else { "params" };
                self.template(&value, Some((name, &declared.kind)), &join(&join(path, section), name), problems);
            }
        }
        if let Some(ready) = &component.ready {
            let (template, kind) = match &ready.check {
                ReadyCheck::Tcp(template) => (template, Some(("tcp", &ParamType::Port))),
                ReadyCheck::Http(template) => (template, None),
                ReadyCheck::Exec(_) => return self.needs(component, path, problems),
            };
            let value = Spanned { value: template.clone(), at: ready.at };
            self.template(&value, kind, &join(path, "ready"), problems);
        }
        self.needs(component, path, problems);
    }

    fn needs(&self, component: &Component, path: &str, problems: &mut Problems) {
        if let (Some(first), Some(own)) = (component.needs.first(), self.own)
            && own.complete
            && !own.deploys()
        {
            let message = "`needs` holds back `deploy`, and there is none here";
            problems.add(first.at, &join(path, "needs"), message, None);
        }
        for (i, need) in component.needs.iter().enumerate() {
            if let Err((message, hint)) = self.node(&need.value.target, None) {
                problems.add(need.at, &format!("{}[{i}]", join(path, "needs")), message, hint);
            }
        }
    }

    /// Values that a node gives to parameters.
    fn values(&self, name: &NodeName, node: &Node, path: &str, problems: &mut Problems) {
        self.values_of(name, &node.values, path, problems);
        for (id, instance) in &node.instances {
            let path = join(&join(path, "instances"), &id.to_string());
            if *id > node.count.max {
                let message = format!("`{name}` has at most {} instances", node.count.max);
                problems.add(instance.at, &path, message, Some("ids begin with 1".to_owned()));
            }
            self.values_of(name, &instance.values, &path, problems);
        }
    }

    fn values_of(
        &self,
        name: &NodeName,
        values: &BTreeMap<String, Spanned<Template>>,
        path: &str,
        problems: &mut Problems,
    ) {
        let Some(own) = self.own else { return };
        let params = own.params();
        for (key, value) in values {
            let path = join(&join(path, "params"), key);
            let Some(param) = params.get(key.as_str()) else {
                if own.complete {
                    let hint = did_you_mean(key, params.keys().copied());
                    let message = format!("`{key}` is not a parameter of `{name}`");
                    problems.add(value.at, &path, message, hint.or_else(|| list_of(params.keys().copied())));
                }
                self.template(value, None, &path, problems);
                continue;
            };
            if *param.kind() == ParamType::Secret && value.value.as_literal().is_some() {
                let message = format!("`{key}` is a secret: whoever reads the module would know it");
                let hint = "refer to an input of the application of the type `secret`, as in `${ss.name}`";
                problems.add(value.at, &path, message, Some(hint.to_owned()));
            } else if let Some(text) = value.value.as_literal()
                && let Err(reason) = param.declared.check(text)
            {
                problems.add(value.at, &path, format!("`{key}`: {reason}"), None);
            }
            self.template(value, Some((key, param.kind())), &path, problems);
        }
    }

    /// Checks the references of one text; `target` is the parameter it is a value of.
    fn template(
        &self,
        text: &Spanned<Template>,
        target: Option<(&str, &ParamType)>,
        path: &str,
        problems: &mut Problems,
    ) {
        for reference in text.value.references() {
            // Each mistake is looked up among all names; nobody reads more of them.
            if problems.is_full() {
                return;
            }
            match self.reference(reference) {
                Err((message, hint)) => problems.add(text.at, path, message, hint),
                Ok(Some(ParamType::Secret)) => {
                    if let Err((message, hint)) = secret(reference, target) {
                        problems.add(text.at, path, message, hint);
                    }
                }
                Ok(Some(kind)) => fit(reference, &kind, text, target, path, problems),
                Ok(None) => {}
            }
        }
    }

    /// The type of what a reference names; none where that is not known here.
    fn reference(&self, reference: &Reference) -> Result<Option<ParamType>, Refusal> {
        let name = reference.name.as_str();
        match &reference.owner {
            Owner::Run => self.run(name, reference),
            Owner::Own => match self.own {
                None => self.run(name, reference),
                Some(own) => self.declared(own, name, reference, None),
            },
            Owner::Node(target) => match self.node(target, Some(name))? {
                None => Ok(None),
                Some(layers) => {
                    let kind = self.declared(layers, name, reference, Some(target))?;
                    Ok(match kind {
                        Some(kind) if target.which == Which::All && kind != ParamType::Secret => {
                            Some(ParamType::String)
                        }
                        kind => kind,
                    })
                }
            },
        }
    }

    /// The node that is meant; none where it may be hidden by a mistake.
    fn node(&self, target: &Target, name: Option<&str>) -> Result<Option<&Layers<'_>>, Refusal> {
        let node = target.node.as_str();
        if let Some(layers) = self.nodes.and_then(|nodes| nodes.get(&target.node)) {
            return Ok(Some(layers));
        }
        if let Some(name) = self.dotted(node, name) {
            let message = format!("`{name}` has a dot: in `${{…}}` what stands before it is a node");
            return Err((message, Some(format!("read it in the script, with `ss-get {name}`"))));
        }
        let Some(nodes) = self.nodes else {
            let message = format!("a component does not know the node `{node}`");
            let hint = "declare an input under `params`; the application gives it its value";
            return Err((message, Some(hint.to_owned())));
        };
        if self.application.is_some_and(|a| a.hidden) {
            return Ok(None);
        }
        let names = || nodes.keys().map(|n| n.as_str());
        let hint = did_you_mean(node, names()).or_else(|| list_of(names()));
        Err((format!("there is no node `{node}`"), hint))
    }

    /// The parameter of the reader itself that such a reference was probably meant for.
    fn dotted(&self, node: &str, name: Option<&str>) -> Option<String> {
        let full = format!("{node}.{}", name?);
        let own = self.own?;
        let known = own.params().contains_key(full.as_str()) || predefined::find(Level::Instance, &full).is_some();
        known.then_some(full)
    }

    fn run(&self, name: &str, reference: &Reference) -> Result<Option<ParamType>, Refusal> {
        if predefined::find(Level::Run, name).is_some() {
            return Ok(Some(ParamType::String));
        }
        let Some(application) = self.application else {
            let message = format!("`${{{reference}}}`: a component does not know the run-wide input `{name}`");
            return Err((
                message,
                Some("declare an input under `params`; the application gives it its value".to_owned()),
            ));
        };
        match application.params.get(name) {
            Some(declared) => Ok(Some(declared.kind.clone())),
            None if application.hidden => Ok(None),
            None => {
                let names = application.params.keys().map(String::as_str).chain(predefined::names(Level::Run));
                let hint = did_you_mean(name, names);
                Err((format!("`${{{reference}}}`: the run has no parameter `{name}`"), hint))
            }
        }
    }

    /// The type of a parameter of a node, or of the reader itself where there is no target.
    fn declared(
        &self,
        layers: &Layers<'_>,
        name: &str,
        reference: &Reference,
        target: Option<&Target>,
    ) -> Result<Option<ParamType>, Refusal> {
        if let Some(found) = predefined::find(Level::Instance, name) {
            return Ok(Some(found.shape.kind()));
        }
        if let Some(found) = predefined::find(Level::Node, name) {
            return match target {
                Some(Target { which: Which::Lowest, .. }) | None => Ok(Some(found.shape.kind())),
                Some(target) => {
                    let message = format!("`{name}` belongs to the node `{}` as a whole", target.node);
                    Err((message, Some(format!("write `${{{}.{name}}}`", target.node))))
                }
            };
        }
        let params = layers.params();
        let run_wide = self.application.and_then(|a| a.params.get(name));
        match (params.get(name), target) {
            (Some(param), Some(target))
                if !param.output && param.value.is_none() && param.declared.generate.is_none() && layers.complete =>
            {
                let message =
                    format!("`${{{reference}}}`: `{name}` is an input of `{}` that nothing gives a value", target.node);
                Err((message, Some("publish it, or give it a value".to_owned())))
            }
            (Some(param), _) => Ok(Some(param.kind().clone())),
            (None, Some(target)) if run_wide.is_some_and(|p| p.kind == ParamType::Secret) => {
                let message = format!("`${{{reference}}}`: `{name}` is a secret of the run, not of `{}`", target.node);
                Err((message, Some(format!("write `${{ss.{name}}}`"))))
            }
            (None, _) if run_wide.is_some() => Ok(run_wide.map(|p| p.kind.clone())),
            (None, _) if !layers.complete => Ok(None),
            (None, target) => {
                let run_wide = self.application.iter().flat_map(|a| a.params.keys()).map(String::as_str);
                let names = params.keys().copied().chain(predefined::names(Level::Instance)).chain(run_wide);
                let hint = did_you_mean(name, names)
                    .unwrap_or_else(|| "declare it under `publish`, or under `params`".to_owned());
                let message = match target {
                    Some(target) => format!("`${{{reference}}}`: the node `{}` does not publish `{name}`", target.node),
                    None => format!("`${{{reference}}}`: there is no parameter `{name}` here"),
                };
                Err((message, Some(hint)))
            }
        }
    }
}

/// What is made of a secret is a secret: only a parameter that is declared as one may be.
fn secret(reference: &Reference, target: Option<(&str, &ParamType)>) -> Result<(), Refusal> {
    let refused = match target {
        Some((_, ParamType::Secret)) => return Ok(()),
        Some((name, _)) => format!("`{name}` is shown to everybody, and `${{{reference}}}` is a secret"),
        None => format!("`${{{reference}}}` is a secret: what stands here is shown, and seen by all processes"),
    };
    let name = &reference.name;
    Err((
        refused,
        Some(format!("bind it to a parameter of the type `secret`, read that in the script: `$(ss-get {name})`")),
    ))
}

/// A parameter whose value is one reference takes what is found there; text around it makes it text.
fn fit(
    reference: &Reference,
    source: &ParamType,
    text: &Spanned<Template>,
    target: Option<(&str, &ParamType)>,
    path: &str,
    problems: &mut Problems,
) {
    let Some((name, target)) = target else { return };
    if let [Part::Reference(_)] = text.value.parts()
        && !assignable(target, source)
    {
        let message = format!("`{name}` is {}, `${{{reference}}}` is {}", type_name(target), type_name(source));
        problems.add(text.at, path, message, Some("make both of the same type".to_owned()));
    }
}

fn list_of<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.take(20).collect();
    if names.is_empty() { None } else { Some(format!("there are: {}", names.join(", "))) }
}
