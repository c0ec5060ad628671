//! From SlipStream's XML to module files.

use std::fmt::Write as _;

use super::{
    Refused,
    xml::{self, Element},
};
use crate::{
    module::{
        Draft,
        fields::{self, Support, Table},
        fmt, path,
        rewrite::{as_block, fits_block},
    },
    predefined::{self, Level},
};

/// A module file made of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its path in the catalogue.
    pub path: String,
    /// `project`, `image`, `component` or `application`.
    pub kind: &'static str,
    /// The module file.
    pub text: String,
    /// Why it was saved last, as far as the document says.
    pub comment: String,
    /// What the document says that the module file does not.
    pub left: Vec<String>,
}

/// The module files of a document: one, or several where a project brings its children.
///
/// # Errors
/// It is not XML, not a module, or none that can be a module file; says where.
pub fn import(source: &str) -> Result<Vec<Imported>, Refused> {
    let mut all = Vec::new();
    tree(&xml::read(source)?, &mut all)?;
    Ok(all)
}

fn tree(root: &Element, all: &mut Vec<Imported>) -> Result<(), Refused> {
    all.push(module(root)?);
    let inner = root.below("children").iter().filter(|child| child.name.ends_with("Module"));
    inner.into_iter().try_for_each(|child| tree(child, all))
}

fn module(root: &Element) -> Result<Imported, Refused> {
    let category = root.get("category").unwrap_or_default();
    let kind = match (root.name.as_str(), category) {
        (_, "Project") | ("projectModule", "") => "project",
        (_, "Image") | ("imageModule", "") if root.get("isBase") == Some("true") => "image",
        (_, "Image") | ("imageModule", "") => "component",
        (_, "Deployment") | ("deploymentModule", "") => "application",
        (name, _) => {
            let known = "projectModule, imageModule or deploymentModule";
            return Err(Refused(format!("`{name}` is not a module of SlipStream (expected {known})")));
        }
    };
    let parent = root.get("parentUri").unwrap_or_default().trim_start_matches("module").trim_matches('/');
    let name = root.get("shortName").ok_or_else(|| Refused("the module has no `shortName`".to_owned()))?;
    let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
    path::check(&path).map_err(|e| Refused(e.to_string()))?;
    let mut file = File { text: String::new(), left: Vec::new() };
    file.header(root, kind, &path);
    match kind {
        "image" => file.image(root),
        "component" => file.component(root),
        "application" => file.application(root),
        _ => {}
    }
    file.others(root);
    let refused = |why: String| Refused(format!("`{path}` cannot be a module file: {why}"));
    let draft = Draft::read(&file.text).map_err(|p| refused(p.first().map(ToString::to_string).unwrap_or_default()))?;
    if let Some(problem) = draft.problems.sorted().first() {
        return Err(refused(format!("{}: {}", problem.path, problem.message)));
    }
    let text = fmt::format(&file.text).map_err(|e| refused(e.to_string()))?;
    let comment = root.child("commit").and_then(|commit| commit.text_of("comment")).unwrap_or_default().trim();
    Ok(Imported { path, kind, text, comment: comment.to_owned(), left: file.left })
}

/// A module file while it is written, and what is left out.
struct File {
    text: String,
    left: Vec<String>,
}

impl File {
    /// A key and its text.
    fn key(&mut self, indent: usize, key: &str, text: &str) {
        let text = text.trim_end_matches('\0');
        let value =
            if text.contains('\n') && fits_block(text) { as_block(text, indent + 2) } else { quoted(text) + "\n" };
        let _ = write!(self.text, "{:indent$}{key}: {value}", "");
    }

    fn line(&mut self, indent: usize, text: &str) {
        let _ = writeln!(self.text, "{:indent$}{text}", "");
    }

    fn leave(&mut self, what: impl Into<String>) {
        self.left.push(what.into());
    }

    fn header(&mut self, root: &Element, kind: &str, path: &str) {
        self.line(0, "slipstream: 1");
        self.line(0, &format!("kind: {kind}"));
        self.key(0, "name", path);
        for (attribute, key) in [("description", "description"), ("logoLink", "logo")] {
            if let Some(text) = root.get(attribute) {
                self.key(0, key, text);
            }
        }
        if let Some(tag) = root.get("tag") {
            self.line(0, &format!("tags: [{}]", quoted(tag.trim())));
        }
        let notes: Vec<&str> = root.below("notes").iter().filter_map(Element::text).collect();
        if !notes.is_empty() {
            self.key(0, "notes", &notes.join("\n\n"));
        }
    }

    /// What all modules may have that has no place in a module file.
    fn others(&mut self, root: &Element) {
        if let Some(policy) = root.get("placementPolicy") {
            self.leave(format!("the placement policy `{policy}`"));
        }
        if root.child("published").is_some() {
            self.leave("that it is published (publish it with `slipstream module publish`)");
        }
        let open = |(name, value): (&String, &String)| {
            (name.starts_with("public") || name.starts_with("group")) && value == "true"
        };
        if root.child("authz").is_some_and(|authz| authz.attributes.iter().any(open)) {
            self.leave("what others may do with it: it belongs to whoever imports it");
        }
    }

    fn image(&mut self, root: &Element) {
        let ids: Vec<&Element> = root.below("cloudImageIdentifiers").iter().collect();
        self.line(0, if ids.is_empty() { "native: {}" } else { "native:" });
        for id in ids {
            let (cloud, native) = (id.get("cloudServiceName"), id.get("cloudImageIdentifier"));
            let (Some(cloud), Some(native)) = (cloud, native) else { continue };
            if let Some(region) = id.get("region") {
                self.leave(format!("the identifier `{native}` for the region `{region}` of `{cloud}`"));
            } else if path::cloud(cloud).is_err() {
                self.leave(format!("the identifier `{native}` for the cloud `{cloud}`, which cannot be a name here"));
            } else {
                self.key(2, cloud, native);
            }
        }
        self.machine(root, &fields::IMAGE);
        for what in ["prerecipe", "recipe"] {
            if root.text_of(what).is_some() {
                self.leave(format!("its `{what}`: an image has no scripts, make a component that builds on it"));
            }
        }
        for target in root.below("targets").iter().filter(|target| target.text().is_some()) {
            let name = target.get("name").unwrap_or_default();
            self.leave(format!("its script `{name}`: an image has no scripts, make a component that builds on it"));
        }
    }

    fn component(&mut self, root: &Element) {
        self.line(0, "imported: true");
        if let Some(reference) = root.get("moduleReferenceUri") {
            let path = self.reference(reference);
            self.key(0, "image", &path);
        }
        self.machine(root, &fields::COMPONENT);
        for (element, key) in [("prerecipe", "pre_install"), ("recipe", "install")] {
            if let Some(script) = root.text_of(element) {
                self.key(0, key, script);
            }
        }
        for target in root.below("targets").iter().filter(|target| target.text().is_some()) {
            let (name, script) = (target.get("name").unwrap_or_default(), target.text.as_str());
            let field = fields::COMPONENT.fields().find(|f| f.key == name || !f.was.is_empty() && f.was == name);
            match field.filter(|field| field.support == Support::Now) {
                Some(field) => self.key(0, field.key, script),
                None => self.leave(format!("its script `{name}`")),
            }
        }
        self.packages(root);
        for id in root.below("cloudImageIdentifiers") {
            let cloud = id.get("cloudServiceName").unwrap_or_default();
            self.leave(format!("the image that was built of it on `{cloud}`: build it again"));
        }
    }

    fn packages(&mut self, root: &Element) {
        let mut names = Vec::new();
        for package in root.below("packages") {
            let Some(name) = package.get("name").map(str::trim) else { continue };
            if name.starts_with('-') || name.contains(char::is_whitespace) {
                self.leave(format!("the package `{name}`, which is not the name of one"));
                continue;
            }
            if let Some(repository) = package.get("repository") {
                self.leave(format!("the repository `{repository}` of the package `{name}`"));
            }
            names.push(quoted(name));
        }
        if !names.is_empty() {
            self.line(0, &format!("packages: [{}]", names.join(", ")));
        }
    }

    /// What images and components have of a machine, and their parameters.
    fn machine(&mut self, root: &Element, table: &'static Table) {
        if let Some(login) = root.get("loginUser") {
            self.key(0, "login", login);
        }
        match root.get("platform") {
            Some(platform) if table.field("platform").is_some() && fields::PLATFORMS.contains(&platform) => {
                self.key(0, "platform", platform);
            }
            // A component has that of its image.
            Some("other") | None => {}
            Some(platform) => self.leave(format!("the platform `{platform}`")),
        }
        let parameters: Vec<&Element> =
            root.below("parameters").iter().filter_map(|entry| entry.child("parameter")).collect();
        let of =
            |category: &'static str| parameters.iter().copied().filter(move |p| p.get("category") == Some(category));
        self.hardware(of("Cloud"));
        for (category, key) in [("Input", "params"), ("Output", "publish")] {
            let mine = of(category).filter(|p| !is_predefined(p.get("name").unwrap_or_default()));
            let mine: Vec<&Element> = mine.collect();
            if table.field(key).is_none() {
                mine.iter().for_each(|p| self.leave(format!("the output `{}`", p.get("name").unwrap_or_default())));
                continue;
            }
            if !mine.is_empty() {
                self.line(0, &format!("{key}:"));
                mine.into_iter().for_each(|p| self.parameter(p, key == "publish"));
            }
        }
        let standard = ["Cloud", "Input", "Output", "General", "Execution_Parameters", "Dummy"];
        for parameter in &parameters {
            let category = parameter.get("category").unwrap_or_default();
            if let Some(value) = value_of(parameter).filter(|_| !standard.contains(&category)) {
                self.leave(format!(
                    "`{}` = `{value}`, which is for one cloud",
                    parameter.get("name").unwrap_or_default()
                ));
            }
        }
    }

    fn hardware<'e>(&mut self, parameters: impl Iterator<Item = &'e Element>) {
        let mut size = Vec::new();
        for parameter in parameters {
            let (Some(name), Some(value)) = (parameter.get("name"), value_of(parameter)) else { continue };
            let whole = value.parse::<u32>().is_ok_and(|n| n > 0);
            match name {
                "network" if matches!(value, "Public" | "Private") => self.key(0, "network", &value.to_lowercase()),
                "cpu.nb" if whole => size.push(format!("cpu: {value}")),
                "ram.GB" if whole => size.push(format!("ram: {value}GiB")),
                "disk.GB" if whole => size.push(format!("disk: {value}GiB")),
                "extra.disk.volatile" if whole && is_now("disks") => {
                    self.line(0, &format!("disks: [{{ size: {value}GiB }}]"));
                }
                name => self.leave(format!("`{name}` = `{value}`")),
            }
        }
        if !size.is_empty() {
            self.line(0, &format!("size: {{ {} }}", size.join(", ")));
        }
    }

    fn parameter(&mut self, parameter: &Element, output: bool) {
        let name = parameter.get("name").unwrap_or_default();
        let mut keys = Vec::new();
        let words: Vec<&str> = parameter.below("enumValues").iter().filter_map(Element::text).collect();
        let kind = match parameter.get("type").unwrap_or("String") {
            "Text" | "RestrictedText" => "text",
            "Password" => "secret",
            "Boolean" => "boolean",
            "Enum" if !words.is_empty() => "enum",
            _ => "string",
        };
        if kind != "string" {
            keys.push(format!("type: {kind}"));
        }
        if kind == "enum" {
            keys.push(format!("enum: [{}]", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ")));
        }
        let value = value_of(parameter).map(|value| if kind == "boolean" && value == "on" { "true" } else { value });
        match value {
            Some(_) if kind == "secret" => {
                self.leave(format!("the value of the secret `{name}`: choose one at launch"))
            }
            Some(value) if kind == "boolean" && !matches!(value, "true" | "false") => {
                self.leave(format!("the value `{value}` of `{name}`, which is not a boolean"));
            }
            Some(value) if kind == "enum" && !words.contains(&value) => {
                self.leave(format!("the value `{value}` of `{name}`, which is not one of its words"));
            }
            Some(value) => keys.push(format!("default: {}", quoted(&value.replace("${", "$${")))),
            None => {}
        }
        if !output && value.is_none() && parameter.get("mandatory") == Some("true") {
            keys.push("required: true".to_owned());
        }
        let help = [parameter.get("description"), parameter.text_of("instructions")];
        let help: Vec<&str> = help.into_iter().flatten().map(str::trim).collect();
        if !help.is_empty() {
            keys.push(format!("help: {}", quoted(&help.join("\n"))));
        }
        self.line(2, &format!("{}: {{ {} }}", quoted(name), keys.join(", ")));
    }

    fn application(&mut self, root: &Element) {
        for target in root.below("targets").iter().filter(|target| target.text().is_some()) {
            self.leave(format!("its own script `{}`: an application has none", target.get("name").unwrap_or_default()));
        }
        self.line(0, "nodes:");
        for node in root.below("nodes").iter().filter_map(|entry| entry.child("node")) {
            self.node(node);
        }
        // Old recipes expect that all machines are there before the first one begins.
        self.line(0, "policy: { start: together }");
    }

    fn node(&mut self, node: &Element) {
        let name = node.get("name").unwrap_or_default();
        self.line(2, &format!("{}:", quoted(name)));
        if let Some(uri) = node.get("imageUri") {
            let path = self.reference(uri);
            self.key(4, "use", &path);
        }
        let count = node.get("multiplicity").filter(|count| *count != "1");
        let tolerate = node.get("maxProvisioningFailures").filter(|n| *n != "0");
        let cloud = node.get("cloudService").filter(|cloud| *cloud != "default");
        for (key, value) in [("count", count), ("tolerate", tolerate), ("cloud", cloud)] {
            match value {
                Some(number) if number.parse::<u32>().is_ok() => self.line(4, &format!("{key}: {number}")),
                Some(text) => self.key(4, key, text),
                None => {}
            }
        }
        let mut values: Vec<(String, String)> = Vec::new();
        for entry in ["parameterMappings", "parameters"].iter().flat_map(|key| node.below(key)) {
            let Some(parameter) = entry.child("parameter") else { continue };
            let key = parameter.get("name").unwrap_or_default();
            let Some(value) = parameter.text_of("value").map(str::trim) else { continue };
            if key.is_empty() || values.iter().any(|(known, _)| known == key) {
                continue;
            }
            let inner = |quote: char| value.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
            match (inner('\'').or(inner('"')), value.split_once(':')) {
                (Some(literal), _) => values.push((key.to_owned(), literal.replace("${", "$${"))),
                (None, Some((source, name))) if source != "ss" && name != "multiplicity" => {
                    // What the source's first instance sets, whoever reads it.
                    let source = source.strip_suffix(".1").unwrap_or(source);
                    values.push((key.to_owned(), format!("${{{source}[1].{name}}}")));
                }
                _ => self.leave(format!("`{key}` of the node `{name}`: `{value}` had no effect")),
            }
        }
        if !values.is_empty() {
            self.line(4, "params:");
            values.iter().for_each(|(key, value)| self.key(6, &quoted(key), value));
        }
    }

    /// The path of a module that another refers to.
    fn reference(&mut self, uri: &str) -> String {
        let path = uri.trim_start_matches("module").trim_matches('/');
        match path.rsplit_once('/') {
            Some((path, version)) if version.chars().all(|c| c.is_ascii_digit()) && !version.is_empty() => {
                self.leave(format!("that it uses the version {version} of `{path}`: its newest is used"));
                path.to_owned()
            }
            _ => path.to_owned(),
        }
    }
}

fn is_predefined(name: &str) -> bool {
    predefined::find(Level::Instance, name).or(predefined::find(Level::Node, name)).is_some()
}

fn is_now(key: &str) -> bool {
    fields::COMPONENT.field(key).is_some_and(|field| field.support == Support::Now)
}

fn value_of(parameter: &Element) -> Option<&str> {
    parameter.text_of("value").or(parameter.text_of("defaultValue")).map(str::trim)
}

/// A JSON string is a YAML one too, whatever is in it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-' | ' ');
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain) && !text.ends_with(' ');
    let special = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if word && !special.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}
