//! From module files to SlipStream's XML.

use std::fmt::Write as _;

use quick_xml::escape::escape;

use crate::{
    id::NodeName,
    module::{
        Body, Draft, Module, ModuleRef, Node, Problem,
        model::{Component, Packages, ScriptDecl},
        params::ParamDecl,
    },
    operation::Hook,
    parameter::ParamType,
    plan::Network,
    template::{Owner, Part, Template, Which},
};

const GIB: u64 = 1 << 30;

/// The document for a module file, and what it cannot say.
///
/// # Errors
/// All that is wrong with the file.
pub fn export(source: &str) -> Result<(String, Vec<String>), Vec<Problem>> {
    let module = Draft::read(source)?.check(&Default::default())?;
    let mut document = Document { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned(), left: Vec::new() };
    document.module(&module);
    Ok((document.text, document.left))
}

struct Document {
    text: String,
    left: Vec<String>,
}

impl Document {
    fn leave(&mut self, what: impl Into<String>) {
        self.left.push(what.into());
    }

    fn module(&mut self, module: &Module) {
        let (parent, name) = module.name.rsplit_once('/').unwrap_or(("", &module.name));
        let (element, category) = match &module.body {
            Body::Project => ("projectModule", "Project"),
            Body::Image(_) | Body::Component(_) => ("imageModule", "Image"),
            Body::Application(_) => ("deploymentModule", "Deployment"),
        };
        let parent = format!("module/{parent}");
        let mut attributes =
            vec![("category", category.to_owned()), ("parentUri", parent), ("shortName", name.to_owned())];
        let about = module.description.clone().or(module.title.clone());
        attributes.extend(about.map(|text| ("description", text)));
        attributes.extend(module.logo.clone().map(|text| ("logoLink", text)));
        attributes.extend(module.tags.first().map(|tag| ("tag", tag.clone())));
        if let Some(component) = module.component() {
            attributes.extend(self.of_machine(component, matches!(module.body, Body::Image(_))));
        }
        self.open(element, &attributes);
        if let Some(notes) = &module.notes {
            let _ = writeln!(self.text, "<notes><note>{}</note></notes>", escape(notes.as_str()));
        }
        match &module.body {
            Body::Project => {}
            Body::Image(component) | Body::Component(component) => self.component(component),
            Body::Application(application) => {
                if !application.params.is_empty() {
                    self.leave("its inputs: applications of the original have none");
                }
                for name in application.outputs.keys() {
                    self.leave(format!("its output `{name}`"));
                }
                self.text += "<nodes>\n";
                for (name, node) in &application.nodes {
                    self.node(name, node);
                }
                self.text += "</nodes>\n";
            }
        }
        let _ = writeln!(self.text, "</{element}>");
    }

    fn open(&mut self, element: &str, attributes: &[(&str, String)]) {
        let _ = write!(self.text, "<{element}");
        for (name, value) in attributes {
            // Line breaks in attributes would be read as spaces.
            let value = escape(value.as_str()).replace('\n', "&#10;");
            let _ = write!(self.text, " {name}=\"{value}\"");
        }
        self.text += ">\n";
    }

    fn of_machine(&mut self, component: &Component, base: bool) -> Vec<(&'static str, String)> {
        let mut attributes = vec![("isBase", base.to_string())];
        attributes.extend(component.login.clone().map(|login| ("loginUser", login)));
        match component.platform.as_deref() {
            Some(platform @ ("redhat" | "debian" | "suse" | "ubuntu" | "other")) => {
                attributes.push(("platform", platform.to_owned()));
            }
            Some(platform) => {
                self.leave(format!("the platform `{platform}`, which the original does not know"));
                attributes.push(("platform", "other".to_owned()));
            }
            None => {}
        }
        if let Some(parent) = &component.parent {
            attributes.push(("moduleReferenceUri", self.uri(&parent.value)));
        }
        attributes
    }

    /// Versions there are counted for all modules together: those here mean nothing.
    fn uri(&mut self, reference: &ModuleRef) -> String {
        if reference.to_string() != reference.path {
            self.leave(format!("that it uses `{reference}`: the newest version is used"));
        }
        format!("module/{}", reference.path)
    }

    fn component(&mut self, component: &Component) {
        if !component.native.is_empty() {
            self.text += "<cloudImageIdentifiers>\n";
            for (cloud, native) in &component.native {
                let _ = writeln!(
                    self.text,
                    "<cloudImageIdentifier cloudServiceName=\"{}\" cloudImageIdentifier=\"{}\"/>",
                    escape(cloud.as_str()),
                    escape(native.as_str())
                );
            }
            self.text += "</cloudImageIdentifiers>\n";
        }
        self.parameters(component);
        for (element, script) in [("prerecipe", &component.pre_install), ("recipe", &component.install)] {
            if let Some(script) = script {
                let script = self.script(element, script);
                let _ = writeln!(self.text, "<{element}>{script}</{element}>");
            }
        }
        self.packages(&component.packages);
        self.text += "<targets>\n";
        for (name, script) in [("execute", &component.deploy), ("report", &component.report)] {
            if let Some(script) = script {
                self.target(name, script);
            }
        }
        for (hook, script) in &component.hooks {
            match hook {
                Hook::OnVmAdd => self.target("onvmadd", script),
                Hook::OnVmRemove => self.target("onvmremove", script),
                other => self.leave(format!("its script `{}`", other.name())),
            }
        }
        self.text += "</targets>\n";
        for name in component.env.keys() {
            self.leave(format!("the variable `{name}`: let the scripts read it with `ss-get`"));
        }
        if component.ready.is_some() {
            self.leave("its ready check: let `execute` end when it serves");
        }
        if !component.needs.is_empty() {
            self.leave("what it needs: let `execute` wait with `ss-get`");
        }
    }

    fn script(&mut self, name: &str, script: &ScriptDecl) -> String {
        if let Some(within) = script.within {
            self.leave(format!("that `{name}` may take {within} s"));
        }
        escape(script.text.as_str()).into_owned()
    }

    fn target(&mut self, name: &str, script: &ScriptDecl) {
        let script = self.script(name, script);
        let _ = writeln!(self.text, "<target name=\"{name}\">{script}</target>");
    }

    fn packages(&mut self, packages: &Packages) {
        let names = match packages {
            Packages::All(names) => names.clone(),
            Packages::ByFamily(families) => {
                if families.len() > 1 {
                    self.leave("packages for each package manager: there is one list, for the first of them");
                }
                families.values().next().cloned().unwrap_or_default()
            }
        };
        if !names.is_empty() {
            self.text += "<packages>\n";
            for name in names {
                let _ = writeln!(self.text, "<package name=\"{}\"/>", escape(name.as_str()));
            }
            self.text += "</packages>\n";
        }
    }

    fn parameters(&mut self, component: &Component) {
        self.text += "<parameters>\n";
        let size = &component.size;
        let whole = |bytes: u64| bytes.div_ceil(GIB).to_string();
        let network = component.network.map(|network| match network {
            Network::Public => "Public".to_owned(),
            Network::Private => "Private".to_owned(),
        });
        let hardware = [
            ("cpu.nb", size.cpu.map(|cpu| cpu.to_string())),
            ("ram.GB", size.ram.map(whole)),
            ("disk.GB", size.disk.map(whole)),
            ("network", network),
        ];
        for (name, value) in hardware {
            if let Some(value) = value {
                self.parameter(name, "Cloud", "String", &[], Some(&value), "", false);
            }
        }
        for (name, declared) in &component.params {
            self.declared(name, declared);
        }
        self.text += "</parameters>\n";
    }

    fn declared(&mut self, name: &str, declared: &ParamDecl) {
        let (kind, words): (&str, &[String]) = match &declared.kind {
            ParamType::Text => ("Text", &[]),
            ParamType::Boolean => ("Boolean", &[]),
            ParamType::Secret => ("Password", &[]),
            ParamType::Enum(words) => ("Enum", words),
            _ => ("String", &[]),
        };
        let limits = &declared.limits;
        if limits.min.is_some() || limits.max.is_some() || limits.pattern.is_some() || declared.generate.is_some() {
            self.leave(format!("the limits of `{name}`, and that it is made up"));
        }
        let value = declared.default.as_ref().and_then(Template::as_literal);
        if declared.default.is_some() && value.is_none() {
            self.leave(format!("the default of `{name}`, which refers to others"));
        }
        let category = if declared.output { "Output" } else { "Input" };
        self.parameter(name, category, kind, words, value, &declared.help, declared.required);
    }

    #[allow(clippy::too_many_arguments, reason = "they are the attributes of one element")]
    fn parameter(
        &mut self,
        name: &str,
        category: &str,
        kind: &str,
        words: &[String],
        value: Option<&str>,
        help: &str,
        mandatory: bool,
    ) {
        let name = escape(name);
        let help = escape(help).replace('\n', "&#10;");
        let _ = write!(
            self.text,
            "<entry><string>{name}</string><parameter name=\"{name}\" category=\"{category}\" type=\"{kind}\" \
             description=\"{help}\" mandatory=\"{mandatory}\" readonly=\"false\">"
        );
        if !words.is_empty() {
            let words = words.iter().map(|word| format!("<string>{}</string>", escape(word.as_str())));
            let _ = write!(self.text, "<enumValues>{}</enumValues>", words.collect::<String>());
        }
        if let Some(value) = value {
            let value = escape(value);
            let _ = write!(self.text, "<value>{value}</value><defaultValue>{value}</defaultValue>");
        }
        self.text += "</parameter></entry>\n";
    }

    fn node(&mut self, name: &NodeName, node: &Node) {
        let in_place = &node.component;
        if in_place.deploy.is_some() || in_place.install.is_some() || !in_place.packages.is_empty() {
            self.leave(format!("what the node `{name}` says in place: make a component of it, and use that"));
        }
        if !node.instances.is_empty() {
            self.leave(format!("what differs for single instances of `{name}`"));
        }
        if node.clouds.len() > 1 {
            self.leave(format!("further clouds of the node `{name}`"));
        }
        let uri = in_place.parent.as_ref().map(|parent| self.uri(&parent.value)).unwrap_or_default();
        let cloud = node.clouds.first().map_or("default", |cloud| cloud.value.as_str());
        let name = escape(name.as_str());
        let _ = writeln!(
            self.text,
            "<entry><string>{name}</string><node name=\"{name}\" imageUri=\"{}\" multiplicity=\"{}\" \
             maxProvisioningFailures=\"{}\" cloudService=\"{}\"><parameterMappings>",
            escape(uri.as_str()),
            node.count.default,
            node.tolerate,
            escape(cloud)
        );
        for (key, value) in &node.values {
            let (value, mapped) = match (value.value.as_literal(), value.value.parts()) {
                (Some(text), _) => (format!("'{text}'"), false),
                (None, [Part::Reference(reference)]) => match &reference.owner {
                    Owner::Node(target) if matches!(target.which, Which::Lowest | Which::Index(1)) => {
                        (format!("{}:{}", target.node, reference.name), true)
                    }
                    _ => {
                        self.leave(format!("`{key}` of the node `{name}`: `{}`", value.value));
                        continue;
                    }
                },
                _ => {
                    self.leave(format!("`{key}` of the node `{name}`: `{}`", value.value));
                    continue;
                }
            };
            let (key, value) = (escape(key.as_str()), escape(value.as_str()));
            let _ = writeln!(
                self.text,
                "<entry><string>{key}</string><parameter name=\"{key}\" isMappedValue=\"{mapped}\"><value>{value}</value>\
                 </parameter></entry>"
            );
        }
        self.text += "</parameterMappings></node></entry>\n";
    }
}
