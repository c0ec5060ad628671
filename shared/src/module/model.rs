//! What a module file says, typed.
//!
//! Values keep their place in the file where a later check may have something to say about them. A
//! [`Module`] is never stored: the source text is, and is read again.

use std::collections::BTreeMap;

use super::{params::ParamDecl, path::ModuleRef, problem::Position};
use crate::{
    disk::DiskSpec,
    id::NodeName,
    operation::Hook,
    plan::{KeepRunning, Need, Network, OnFailure, OnSilent, Size, Start},
    template::Template,
};

/// A value and its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it is.
    pub at: Position,
}

/// One version of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// Its path in the catalogue.
    pub name: String,
    /// Its name for people.
    pub title: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What whoever changes it should know.
    pub notes: Option<String>,
    /// Address of a picture.
    pub logo: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What it is.
    pub body: Body,
}

/// What a module is.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A folder with a description.
    Project,
    /// A native image of one or more clouds. Only the parts of a component that images have are filled.
    Image(Component),
    /// An image made useful.
    Component(Component),
    /// Nodes that work together.
    Application(Application),
}

impl Module {
    /// The word for its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.body {
            Body::Project => "project",
            Body::Image(_) => "image",
            Body::Component(_) => "component",
            Body::Application(_) => "application",
        }
    }

    /// What it contributes to a machine, where it is an image or a component.
    #[must_use]
    pub fn component(&self) -> Option<&Component> {
        match &self.body {
            Body::Image(component) | Body::Component(component) => Some(component),
            Body::Project | Body::Application(_) => None,
        }
    }

    /// The modules it names, with the key that does.
    #[must_use]
    pub fn references(&self) -> Vec<(String, &Spanned<ModuleRef>)> {
        match &self.body {
            Body::Project => Vec::new(),
            Body::Image(c) | Body::Component(c) => c.parent.iter().map(|p| ("image".to_owned(), p)).collect(),
            Body::Application(application) => application
                .nodes
                .iter()
                .filter_map(|(name, node)| {
                    let key = if node.uses { "use" } else { "image" };
                    node.component.parent.as_ref().map(|p| (format!("nodes.{name}.{key}"), p))
                })
                .collect(),
        }
    }
}

/// What an image, a component, or a node written in place contributes to its machines.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Component {
    /// What it builds on.
    pub parent: Option<Spanned<ModuleRef>>,
    /// Identifiers of the image, by cloud.
    pub native: BTreeMap<String, String>,
    /// The family of its operating system.
    pub platform: Option<String>,
    /// The user for ssh.
    pub login: Option<String>,
    /// How large its machines are; what it leaves open its parent says.
    pub size: Size,
    /// What disks they have beside the root disk.
    pub disks: Option<Vec<DiskSpec>>,
    /// Which address the others use.
    pub network: Option<Network>,
    /// Inputs and outputs.
    pub params: BTreeMap<String, ParamDecl>,
    /// Script before packages are installed.
    pub pre_install: Option<ScriptDecl>,
    /// Packages to install.
    pub packages: Packages,
    /// Script after packages are installed.
    pub install: Option<ScriptDecl>,
    /// Script of each deployment.
    pub deploy: Option<ScriptDecl>,
    /// Script that collects files at the end.
    pub report: Option<ScriptDecl>,
    /// Scripts that run when the run is scaled.
    pub hooks: BTreeMap<Hook, ScriptDecl>,
    /// How an instance knows that it serves.
    pub ready: Option<ReadyDecl>,
    /// Environment of the scripts.
    pub env: BTreeMap<String, Spanned<Template>>,
    /// Milestones that `deploy` waits for.
    pub needs: Vec<Spanned<Need>>,
    /// Its scripts come from SlipStream by SixSq.
    pub imported: bool,
    /// A mistake hides what else it declares: names that are not found may be there.
    pub(super) hidden: bool,
}

/// A script and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptDecl {
    /// The script.
    pub text: String,
    /// Seconds.
    pub within: Option<u64>,
}

/// Packages to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packages {
    /// The same names for every package manager; often none at all.
    All(Vec<String>),
    /// Names by package manager.
    ByFamily(BTreeMap<String, Vec<String>>),
}

impl Default for Packages {
    fn default() -> Self {
        Packages::All(Vec::new())
    }
}

impl Packages {
    /// True when nothing is to be installed anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Packages::All(names) => names.is_empty(),
            Packages::ByFamily(families) => families.values().all(Vec::is_empty),
        }
    }
}

/// How an instance knows that it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyDecl {
    /// What is tried.
    pub check: crate::plan::ReadyCheck,
    /// Where that is written.
    pub at: Position,
    /// Seconds until it gives up.
    pub within: u64,
    /// Seconds between two tries.
    pub every: u64,
}

/// Nodes that work together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Application {
    /// Run-wide inputs.
    pub params: BTreeMap<String, ParamDecl>,
    /// The machines, by role.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Results.
    pub outputs: BTreeMap<String, Spanned<Template>>,
    /// When the machines stay.
    pub keep_running: Option<KeepRunning>,
    /// Seconds the run may take to be Ready.
    pub timeout: Option<u64>,
    /// When instances begin with their steps.
    pub start: Start,
    /// What becomes of a deployment that fails.
    pub on_failure: OnFailure,
    /// Seconds the run lives.
    pub lease: Option<u64>,
    /// A mistake hides nodes or parameters.
    pub(super) hidden: bool,
}

/// A role in an application.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where its name is.
    pub at: Position,
    /// Written with `use`, not with `image`.
    pub uses: bool,
    /// What its instances are: keys written in place, on top of what `use` or `image` names.
    pub component: Component,
    /// How many instances.
    pub count: Count,
    /// Clouds in order of preference.
    pub clouds: Vec<Spanned<String>>,
    /// Values and references for declared parameters.
    pub values: BTreeMap<String, Spanned<Template>>,
    /// How many of its instances may fail to come.
    pub tolerate: u32,
    /// What follows when one falls silent.
    pub on_silent: OnSilent,
    /// What differs for single instances, by id.
    pub instances: BTreeMap<u32, InstanceDecl>,
}

/// What differs for one instance.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceDecl {
    /// Where its id is.
    pub at: Position,
    /// Values and references for declared parameters.
    pub values: BTreeMap<String, Spanned<Template>>,
}

/// How many instances a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// At the start, unless asked otherwise.
    pub default: u32,
    /// The fewest.
    pub min: u32,
    /// The most.
    pub max: u32,
}
