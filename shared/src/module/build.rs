//! Takes a checked tree apart into a [`Module`].
//!
//! It always yields one: what the shape check has refused is left out, so that the rest can still be
//! checked and a person sees all mistakes at once. Rules that join two keys live here.

use std::collections::BTreeMap;

use super::{
    fields::{self, FAMILIES, MOST_INSTANCES, Table},
    model::{
        Application, Body, Component, Count, InstanceDecl, Module, Node, Packages, ReadyDecl, ScriptDecl, Spanned,
    },
    params::ParamDecl,
    problem::{Problems, join},
    tree::{Data, Tree},
    units,
};
use crate::{
    disk::{DiskSpec, MOST_DISKS},
    operation::Hook,
    plan::{KeepRunning, Need, NeedMilestone, Network, ReadyCheck, Size},
    predefined::{self, Level},
    template::{Owner, Reference, Template},
};

/// Seconds a ready check is tried, and between two tries, unless the module says otherwise.
const READY: (u64, u64) = (300, 2);

/// The table for the kind of module that the tree says it is.
pub(super) fn table_of(root: &Tree) -> &'static Table {
    match text(root, "kind").as_deref() {
        Some("project") => &fields::PROJECT,
        Some("image") => &fields::IMAGE,
        Some("component") => &fields::COMPONENT,
        Some("application") => &fields::APPLICATION,
        _ => &fields::UNKNOWN,
    }
}

/// Takes the whole tree.
pub(super) fn module(root: &Tree, problems: &mut Problems) -> Module {
    let body = match text(root, "kind").as_deref() {
        Some("image") => Body::Image(component(root, "", &fields::IMAGE, problems)),
        Some("component") => Body::Component(component(root, "", &fields::COMPONENT, problems)),
        Some("application") => Body::Application(application(root, problems)),
        _ => Body::Project,
    };
    Module {
        name: text(root, "name").unwrap_or_default(),
        title: text(root, "title"),
        description: text(root, "description"),
        notes: text(root, "notes"),
        logo: text(root, "logo"),
        tags: texts(root.get("tags")),
        body,
    }
}

/// Takes the keys of an image, a component, or a node.
fn component(tree: &Tree, path: &str, table: &'static Table, problems: &mut Problems) -> Component {
    let mut params = BTreeMap::new();
    for (key, output) in [("params", false), ("publish", true)] {
        for entry in tree.get(key).map(Tree::entries).unwrap_or_default() {
            if !matches!(entry.value.data, Data::Map(_)) {
                continue; // A value for an input, taken by `node`, or refused already.
            }
            let path = join(&join(path, key), &entry.key);
            if predefined::find(Level::Instance, &entry.key).or(predefined::find(Level::Node, &entry.key)).is_some() {
                let hint = Some("take this line away: nobody needs to declare it".to_owned());
                problems.add(entry.at, &path, format!("`{}` is always there", entry.key), hint);
                continue;
            }
            let declared = super::declare::param(entry, output, &path, problems);
            if let Some(other) = params.insert(entry.key.clone(), declared) {
                let other: ParamDecl = other;
                let hint = Some(format!("first at {}", other.at));
                problems.add(entry.at, &path, format!("`{}` is declared twice", entry.key), hint);
            }
        }
    }
    Component {
        parent: tree.get("use").or(tree.get("image")).and_then(spanned),
        native: strings(tree.get("native")),
        platform: text(tree, "platform"),
        login: text(tree, "login"),
        size: size(tree.get("size")),
        disks: tree.get("disks").map(|list| disks(list, &join(path, "disks"), problems)),
        network: network(tree),
        params,
        pre_install: script(tree, path, "pre_install", problems),
        packages: packages(tree.get("packages"), &join(path, "packages"), problems),
        install: script(tree, path, "install", problems),
        deploy: script(tree, path, "deploy", problems),
        report: script(tree, path, "report", problems),
        hooks: Hook::ALL.into_iter().filter_map(|h| Some((h, script(tree, path, h.name(), problems)?))).collect(),
        ready: ready(tree.get("ready"), &join(path, "ready"), problems),
        env: templates(tree.get("env")),
        needs: tree.get("needs").map(Tree::items).unwrap_or_default().iter().filter_map(need).collect(),
        imported: text(tree, "imported").as_deref() == Some("true"),
        hidden: hides(path, table, problems),
    }
}

/// Whether a mistake may hide declarations of what is at `path`: an unknown key may have been
/// `publish`, one that is twice may have had another value.
fn hides(path: &str, table: &'static Table, problems: &Problems) -> bool {
    problems.iter().any(|problem| {
        let below = if path.is_empty() {
            Some(problem.path.as_str())
        } else {
            problem.path.strip_prefix(path).map(|rest| rest.strip_prefix('.').unwrap_or(rest))
        };
        match below {
            Some("" | "params" | "publish" | "use" | "image" | "nodes") => true,
            Some(rest) => !rest.contains(['.', '[']) && table.field(rest).is_none(),
            None => false,
        }
    })
}

fn application(root: &Tree, problems: &mut Problems) -> Application {
    let mut params = BTreeMap::new();
    for entry in root.get("params").map(Tree::entries).unwrap_or_default() {
        let path = join("params", &entry.key);
        if [Level::Run, Level::Node, Level::Instance].iter().any(|l| predefined::find(*l, &entry.key).is_some()) {
            let message = format!("`{}` is always there and cannot be an input of an application", entry.key);
            problems.add(entry.at, &path, message, Some("give it another name".to_owned()));
            continue;
        }
        let declared = super::declare::param(entry, false, &path, problems);
        if declared.default.as_ref().is_some_and(|d| d.as_literal().is_none()) {
            let message = format!("the default of the run-wide input `{}` has a reference", entry.key);
            problems.add(entry.at, &path, message, Some("references are for `nodes` and `outputs`".to_owned()));
        }
        params.insert(entry.key.clone(), declared);
    }
    let mut nodes = BTreeMap::new();
    for entry in root.get("nodes").map(Tree::entries).unwrap_or_default() {
        let Ok(name) = entry.key.parse() else { continue };
        nodes.insert(name, node(entry, problems));
    }
    let policy = root.get("policy");
    Application {
        params,
        nodes,
        outputs: templates(root.get("outputs")),
        keep_running: policy.and_then(|p| text(p, "keep_running")).and_then(|t| keep_running(&t)),
        timeout: policy.and_then(|p| text(p, "timeout")).and_then(|t| units::duration(&t).ok()),
        start: policy.and_then(|p| word(p, "start")).unwrap_or_default(),
        on_failure: policy.and_then(|p| word(p, "on_failure")).unwrap_or_default(),
        lease: policy.and_then(|p| text(p, "lease")).and_then(|t| units::duration(&t).ok()),
        hidden: hides("", &fields::APPLICATION, problems),
    }
}

/// The policy of that name.
#[must_use]
pub fn keep_running(text: &str) -> Option<KeepRunning> {
    Some(match text {
        "always" => KeepRunning::Always,
        "on-success" => KeepRunning::OnSuccess,
        "on-error" => KeepRunning::OnError,
        "never" => KeepRunning::Never,
        _ => return None,
    })
}

fn node(entry: &super::tree::Entry, problems: &mut Problems) -> Node {
    let (tree, path) = (&entry.value, join("nodes", &entry.key));
    let hint = || Some("`use: a component`, or `image: what to build on` with the rest written in place".to_owned());
    match (tree.get("use"), tree.get("image")) {
        (Some(_), Some(image)) => {
            problems.add(image.at, &path, format!("node `{}` has both `use` and `image`", entry.key), hint());
        }
        (None, None) if matches!(tree.data, Data::Map(_)) => {
            problems.add(entry.at, &path, format!("node `{}` says neither `use` nor `image`", entry.key), hint());
        }
        _ => {}
    }
    let values = templates(tree.get("params"));
    let clouds = match tree.get("cloud") {
        Some(one @ Tree { data: Data::Text(_), .. }) => vec![one],
        several => several.map(Tree::items).unwrap_or_default().iter().collect(),
    };
    let instances = tree.get("instances").map(Tree::entries).unwrap_or_default().iter();
    let instances = instances.filter_map(|e| {
        let values = templates(e.value.get("params"));
        Some((e.key.parse().ok()?, InstanceDecl { at: e.at, values }))
    });
    Node {
        at: entry.at,
        instances: instances.collect(),
        uses: tree.get("use").is_some(),
        component: component(tree, &path, &fields::NODE, problems),
        count: count(tree.get("count"), &join(&path, "count"), problems),
        clouds: clouds
            .into_iter()
            .filter_map(|t| t.text().map(|text| Spanned { value: text.to_owned(), at: t.at }))
            .collect(),
        values,
        tolerate: text(tree, "tolerate").and_then(|t| t.parse().ok()).unwrap_or_default(),
        on_silent: word(tree, "on_silent").unwrap_or_default(),
    }
}

fn count(tree: Option<&Tree>, path: &str, problems: &mut Problems) -> Count {
    let all = Count { default: 1, min: 0, max: MOST_INSTANCES };
    let Some(tree) = tree else { return all };
    if let Some(number) = tree.text().and_then(|t| t.parse().ok()) {
        return Count { default: number, ..all };
    }
    let number = |key| text(tree, key).and_then(|t| t.parse::<u32>().ok());
    let (min, max) = (number("min").unwrap_or(all.min), number("max").unwrap_or(all.max));
    if min > max {
        problems.add(tree.at, path, format!("`min` ({min}) is more than `max` ({max})"), None);
        return all;
    }
    let default = number("default").unwrap_or_else(|| 1.clamp(min, max));
    if !(min..=max).contains(&default) {
        problems.add(
            tree.at,
            path,
            format!("`default` ({default}) is not between `min` ({min}) and `max` ({max})"),
            None,
        );
    }
    Count { default, min, max }
}

fn script(tree: &Tree, path: &str, key: &str, problems: &mut Problems) -> Option<ScriptDecl> {
    let value = tree.get(key)?;
    if let Some(text) = value.text() {
        return Some(ScriptDecl { text: text.to_owned(), within: None });
    }
    let path = join(path, key);
    match (value.get("run"), value.get("file")) {
        (_, Some(file)) => {
            let message = "`file` is read by the `slipstream` command before it uploads a module";
            let hint = "upload the file with that command, or write the script under `run`";
            problems.add(file.at, &join(&path, "file"), message, Some(hint.to_owned()));
        }
        (None, None) if !value.entries().is_empty() => {
            problems.add(value.at, &path, format!("`{key}` has no `run`"), None);
        }
        _ => {}
    }
    let within = text(value, "within").and_then(|t| units::duration(&t).ok());
    text(value, "run").map(|text| ScriptDecl { text, within })
}

fn ready(tree: Option<&Tree>, path: &str, problems: &mut Problems) -> Option<ReadyDecl> {
    let tree = tree?;
    let template = |key| text(tree, key).and_then(|t| t.parse::<Template>().ok());
    let checks: Vec<_> = tree.entries().iter().filter(|e| matches!(e.key.as_str(), "tcp" | "http" | "exec")).collect();
    let [check] = checks.as_slice() else {
        if matches!(tree.data, Data::Map(_)) {
            problems.add(tree.at, path, "`ready` takes one of tcp, http and exec", None);
        }
        return None;
    };
    let at = check.value.at;
    let check = match check.key.as_str() {
        "tcp" => template("tcp").map(ReadyCheck::Tcp),
        "http" => template("http").map(ReadyCheck::Http),
        _ => text(tree, "exec").map(ReadyCheck::Exec),
    }?;
    let seconds = |key, default| text(tree, key).and_then(|t| units::duration(&t).ok()).unwrap_or(default);
    Some(ReadyDecl { check, at, within: seconds("within", READY.0), every: seconds("every", READY.1) })
}

fn packages(tree: Option<&Tree>, path: &str, problems: &mut Problems) -> Packages {
    // Names are handed to a package manager: one that begins with a dash would be an option to it.
    let mut names = |tree: Option<&Tree>| {
        for item in tree.map(Tree::items).unwrap_or_default() {
            let bad = |t: &str| t.starts_with('-') || t.contains(char::is_whitespace);
            if item.text().is_some_and(bad) {
                let shown = item.text().unwrap_or_default();
                problems.add(item.at, path, format!("`{shown}` is not the name of a package"), None);
            }
        }
        texts(tree)
    };
    match tree.map(|t| &t.data) {
        Some(Data::Map(_)) => Packages::ByFamily(
            FAMILIES.iter().filter_map(|f| Some(((*f).to_owned(), names(Some(tree?.get(f)?))))).collect(),
        ),
        _ => Packages::All(names(tree)),
    }
}

fn size(tree: Option<&Tree>) -> Size {
    let bytes = |key| tree.and_then(|t| text(t, key)).and_then(|t| units::size(&t).ok());
    let cpu = tree.and_then(|t| text(t, "cpu")).and_then(|t| t.parse().ok());
    Size { cpu, ram: bytes("ram"), disk: bytes("disk") }
}

fn disks(list: &Tree, path: &str, problems: &mut Problems) -> Vec<DiskSpec> {
    let mut disks: Vec<DiskSpec> = Vec::new();
    for (place, tree) in list.items().iter().enumerate() {
        let path = format!("{path}[{place}]");
        let Some(size) = text(tree, "size").and_then(|t| units::size(&t).ok()) else { continue };
        let disk = DiskSpec { size, mount: text(tree, "mount"), fs: word(tree, "fs") };
        let twice = disk.mount.as_ref().filter(|mount| disks.iter().any(|other| other.mount.as_ref() == Some(*mount)));
        if let Err(reason) = disk.check() {
            problems.add(tree.at, &path, reason, None);
        } else if let Some(mount) = twice {
            problems.add(tree.at, &path, format!("another disk is mounted on `{mount}`"), None);
        }
        disks.push(disk);
    }
    if disks.len() > MOST_DISKS {
        problems.add(list.at, path, format!("a machine has at most {MOST_DISKS} disks, not {}", disks.len()), None);
    }
    disks
}

fn network(tree: &Tree) -> Option<Network> {
    match text(tree, "network").as_deref() {
        Some("public") => Some(Network::Public),
        Some("private") => Some(Network::Private),
        _ => None,
    }
}

fn need(tree: &Tree) -> Option<Spanned<Need>> {
    let reference: Reference = tree.text()?.parse().ok()?;
    let Owner::Node(target) = reference.owner else { return None };
    let milestone = match reference.name.as_str() {
        "enrolled" => NeedMilestone::Enrolled,
        "deployed" => NeedMilestone::Deployed,
        "ready" => NeedMilestone::Ready,
        _ => return None,
    };
    Some(Spanned { value: Need { target, milestone }, at: tree.at })
}

/// The word of a key, by the name it has in a plan.
fn word<T: serde::de::DeserializeOwned>(tree: &Tree, key: &str) -> Option<T> {
    serde_json::from_value(text(tree, key)?.into()).ok()
}

/// The text of a key.
pub(super) fn text(tree: &Tree, key: &str) -> Option<String> {
    tree.get(key).and_then(Tree::text).map(str::to_owned)
}

fn texts(tree: Option<&Tree>) -> Vec<String> {
    tree.map(Tree::items).unwrap_or_default().iter().filter_map(Tree::text).map(str::to_owned).collect()
}

fn strings(tree: Option<&Tree>) -> BTreeMap<String, String> {
    let entries = tree.map(Tree::entries).unwrap_or_default().iter();
    entries.filter_map(|e| Some((e.key.clone(), e.value.text()?.to_owned()))).collect()
}

fn templates(tree: Option<&Tree>) -> BTreeMap<String, Spanned<Template>> {
    let entries = tree.map(Tree::entries).unwrap_or_default().iter();
    entries.filter_map(|e| Some((e.key.clone(), spanned(&e.value)?))).collect()
}

fn spanned<T: std::str::FromStr>(tree: &Tree) -> Option<Spanned<T>> {
    Some(Spanned { value: tree.text()?.parse().ok()?, at: tree.at })
}
