//! Does nobody wait for himself?
//!
//! A graph of what has to happen first: `deploy` of a node waits for the values that its environment
//! refers to and for the milestones it needs; a value waits for the values it is made of, or, published
//! without one, for the `deploy` that sets it; a ready check waits for `deploy`. A cycle in it would only
//! show as a run that never gets Ready; so would a chain of references longer than runs follow. What scripts do with `ss-get` is theirs: they may hand-shake.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::{
    Layers, Used,
    layers::Param,
    model::{Body, Module},
    problem::{Position, Problems, join},
};
use crate::{
    id::NodeName,
    plan::{NeedMilestone, ReadyCheck},
    template::{Owner, Template},
};

/// The longest chain of values made of values. Runs give up after 32; an input of the application adds one.
const LONGEST: usize = 30;
/// The most values that a value is made of, each counted as often as it is used: a run puts them together.
const MOST: usize = 1000;

/// Something that happens in the life of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment<'a> {
    /// Its `deploy` has succeeded.
    Deployed(Who<'a>),
    /// Its ready check has passed.
    Ready(Who<'a>),
    /// A parameter of its instances has a value.
    Value(Who<'a>, &'a str),
}

/// A node; none in a component, which has one nameless one.
type Who<'a> = Option<&'a NodeName>;

/// One moment waits for another, and where that is written.
struct Edge<'a> {
    to: Moment<'a>,
    at: Option<Position>,
    path: String,
}

/// Finds all circles of waits.
pub(super) fn check(module: &Module, used: &Used, problems: &mut Problems) {
    let mut graph = Graph { nodes: BTreeMap::new() };
    match &module.body {
        Body::Project => return,
        Body::Image(_) | Body::Component(_) => {
            graph.nodes.extend(Layers::of_module(module, "", used).map(|layers| (None, layers)));
        }
        Body::Application(application) => {
            graph
                .nodes
                .extend(application.nodes.iter().map(|(name, node)| (Some(name), Layers::of_node(node, "", used))));
        }
    }
    let mut done = BTreeMap::new();
    for (who, layers) in &graph.nodes {
        let values = layers.params().keys().map(|name| Moment::Value(*who, name));
        for start in [Moment::Deployed(*who), Moment::Ready(*who)].into_iter().chain(values) {
            graph.search(start, &mut done, problems);
        }
    }
}

struct Graph<'a> {
    nodes: BTreeMap<Who<'a>, Layers<'a>>,
}

impl<'a> Graph<'a> {
    /// Follows all waits from one moment, depth first. Not recursive: a file can make a chain of tens
    /// of thousands of values.
    fn search(&self, start: Moment<'a>, done: &mut BTreeMap<Moment<'a>, Made>, problems: &mut Problems) {
        let mut way: Vec<(Moment<'a>, Vec<Edge<'a>>, usize)> = Vec::new();
        let mut on_way: BTreeSet<Moment<'a>> = BTreeSet::new();
        if let Entry::Vacant(new) = done.entry(start) {
            new.insert(Made::default());
            on_way.insert(start);
            way.push((start, self.edges(start), 0));
        }
        while let Some((moment, edges, next)) = way.last_mut() {
            let Some(to) = edges.get(*next).map(|e| e.to) else {
                let made = made_of(*moment, edges, done, problems);
                done.insert(*moment, made);
                on_way.remove(moment);
                way.pop();
                continue;
            };
            *next += 1;
            if on_way.contains(&to) {
                report(&way, to, problems);
            } else if let Entry::Vacant(new) = done.entry(to) {
                new.insert(Made::default());
                on_way.insert(to);
                way.push((to, self.edges(to), 0));
            }
        }
    }

    fn edges(&self, moment: Moment<'a>) -> Vec<Edge<'a>> {
        let (Moment::Deployed(who) | Moment::Ready(who) | Moment::Value(who, _)) = moment;
        let Some(layers) = self.nodes.get(&who) else { return Vec::new() };
        let path = who.map_or_else(String::new, |node| join("nodes", node.as_str()));
        match moment {
            Moment::Deployed(_) if layers.deploys() => self.edges_of_deploy(who, layers, &path),
            Moment::Deployed(_) => Vec::new(),
            Moment::Ready(_) => {
                let deployed = Edge { to: Moment::Deployed(who), at: None, path: join(&path, "deploy") };
                let read = layers.ready().map(|(ready, here)| match &ready.check {
                    ReadyCheck::Tcp(text) | ReadyCheck::Http(text) => {
                        self.reads(who, text, here.then_some(ready.at), &join(&path, "ready"))
                    }
                    ReadyCheck::Exec(_) => Vec::new(),
                });
                read.into_iter().flatten().chain([deployed]).collect()
            }
            Moment::Value(_, name) => match layers.params().get(name) {
                Some(param) => self.edges_of_value(who, layers, name, param, &path),
                None => Vec::new(),
            },
        }
    }

    fn edges_of_value(
        &self,
        who: Who<'a>,
        layers: &Layers<'a>,
        name: &'a str,
        param: &Param<'a>,
        path: &str,
    ) -> Vec<Edge<'a>> {
        let path = |section| join(&join(path, section), name);
        let mut edges = match param.value {
            Some(text) => self.reads(who, text, param.at, &path("params")),
            None if param.output && !layers.may_set_early(name) => {
                vec![Edge { to: Moment::Deployed(who), at: None, path: path("publish") }]
            }
            None => Vec::new(),
        };
        for text in layers.variants(name) {
            edges.extend(self.reads(who, &text.value, Some(text.at), &path("instances")));
        }
        edges
    }

    fn edges_of_deploy(&self, who: Who<'a>, layers: &Layers<'a>, path: &str) -> Vec<Edge<'a>> {
        let mut edges = Vec::new();
        for (name, (text, at)) in layers.env() {
            edges.extend(self.reads(who, text, at, &join(&join(path, "env"), name)));
        }
        for (need, at) in layers.needs() {
            let node = Some(&need.target.node);
            let to = match need.milestone {
                NeedMilestone::Enrolled => continue,
                NeedMilestone::Deployed => Moment::Deployed(node),
                NeedMilestone::Ready => Moment::Ready(node),
            };
            edges.push(Edge { to, at, path: join(path, "needs") });
        }
        edges
    }

    /// The values that a text of `who` is made of.
    fn reads(&self, who: Who<'a>, text: &'a Template, at: Option<Position>, path: &str) -> Vec<Edge<'a>> {
        let mut edges = Vec::new();
        for reference in text.references() {
            let owner = match &reference.owner {
                Owner::Run => continue,
                Owner::Own => who,
                Owner::Node(target) => Some(&target.node),
            };
            edges.push(Edge { to: Moment::Value(owner, &reference.name), at, path: path.to_owned() });
        }
        edges
    }
}

/// What stands behind a value; nothing behind a moment of another sort.
#[derive(Debug, Clone, Copy, Default)]
struct Made {
    /// The longest chain of values.
    length: usize,
    /// All values, each as often as it is used.
    values: usize,
}

/// Adds up what a moment is made of, and says so where that has become too much.
fn made_of(moment: Moment<'_>, edges: &[Edge<'_>], done: &BTreeMap<Moment<'_>, Made>, problems: &mut Problems) -> Made {
    let Moment::Value(..) = moment else { return Made::default() };
    let mut made = Made::default();
    for part in edges.iter().filter_map(|e| done.get(&e.to)) {
        made.length = made.length.max(part.length + 1);
        made.values = made.values.saturating_add(part.values + 1);
    }
    let mut too_much = |what: String, hint: &str| {
        let (at, path) = edges.first().map_or((None, ""), |e| (e.at, e.path.as_str()));
        let message = format!("`{}` is made of {what}", show(moment));
        problems.add(at.unwrap_or(Position::START), path, message, Some(hint.to_owned()));
    };
    if made.length == LONGEST + 1 {
        too_much(format!("a chain of more than {LONGEST} values"), "refer to the first of them directly");
    }
    if made.values > MOST {
        too_much(format!("more than {MOST} values"), "refer to each of them once");
        // Said once: what is made of this one is not counted again.
        made.values = 0;
    }
    made
}

/// Reports the circle that closes at `to`, beginning with the wait that comes first in the file.
fn report<'a>(way: &[(Moment<'a>, Vec<Edge<'a>>, usize)], to: Moment<'a>, problems: &mut Problems) {
    let from = way.iter().position(|(moment, ..)| *moment == to).unwrap_or_default();
    let circle = &way[from..];
    let edge = |i: usize| circle.get(i).and_then(|(_, edges, next)| edges.get(next - 1));
    let place = |i: &usize| edge(*i).and_then(|e| e.at).map_or((1, Position::START), |at| (0, at));
    let Some(first) = (0..circle.len()).min_by_key(place) else { return };
    let around = circle[first..].iter().chain(&circle[..first]).chain([&circle[first]]);
    let names: Vec<String> = around.map(|(moment, ..)| show(*moment)).collect();
    let values_only = circle.iter().all(|(moment, ..)| matches!(moment, Moment::Value(..)));
    let (what, hint) = if values_only {
        ("this value is made of itself", "give one of them a value without a reference")
    } else {
        ("this waits for itself", "give one of the values a default, or let the script read it with `ss-get`")
    };
    let at = edge(first).and_then(|e| e.at).unwrap_or(Position::START);
    let path = edge(first).map(|e| e.path.clone()).unwrap_or_default();
    problems.add(at, &path, format!("{what}: {}", names.join(" -> ")), Some(hint.to_owned()));
}

fn show(moment: Moment<'_>) -> String {
    match moment {
        Moment::Deployed(Some(node)) => format!("deploy of {node}"),
        Moment::Deployed(None) => "deploy".to_owned(),
        Moment::Ready(Some(node)) => format!("{node}.ready"),
        Moment::Ready(None) => "ready".to_owned(),
        Moment::Value(Some(node), name) => format!("${{{node}.{name}}}"),
        Moment::Value(None, name) => format!("${{{name}}}"),
    }
}
