//! The table of all fields of a module file: the one place that says which keys there are.
//!
//! The reader checks files against it; JSON Schema, `explain`, `fmt` and the reference page are made of it.
//! To add a key: one line here, and the line in `build.rs` that takes its value. A key of the format
//! that this version does not act on is [`Support::Later`]: it is refused by name, never skipped.

use super::params::{MOST_GENERATED, TYPES};
use crate::disk::Fs;

/// Whether this version acts on a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It does.
    Now,
    /// It knows the word and refuses it.
    Later,
}

/// A key that may stand in a [`Table`].
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The key.
    pub key: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What it is for, in one line.
    pub help: &'static str,
    /// What SlipStream called it, where that differs: offered to whoever types the old word.
    pub was: &'static str,
    /// What holds without it, in the words of a module file; empty where nothing does.
    pub default: &'static str,
    /// A value as people write it, in YAML; empty where [`Kind::example`] says enough.
    pub example: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// Whether this version acts on it.
    pub support: Support,
}

/// The keys of one kind of map.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// What the map describes, with its article: `a component`.
    pub what: &'static str,
    /// Its fields. In groups, because contexts share them.
    pub groups: &'static [&'static [Field]],
    /// Of these keys one has to be there, and one only; often none at all.
    pub one_of: &'static [&'static str],
    /// What maps under other keys are, where those belong to the format but not to this version.
    pub others: Option<&'static str>,
}

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text without line breaks.
    Line,
    /// Text with references.
    Template,
    /// A port, or text with references that makes one.
    Port,
    /// An `http://` or `https://` address, with references.
    Url,
    /// A module's path.
    Path,
    /// A module's path, perhaps with a version.
    ModuleRef,
    /// A path of a file beside the module file.
    File,
    /// A regular expression.
    Regex,
    /// A milestone of another node.
    Milestone,
    /// `true` or `false`.
    Boolean,
    /// Bytes, with a unit.
    Size,
    /// A time, with a unit.
    Duration,
    /// A whole number within bounds.
    Whole(u64, u64),
    /// One of some words: those of this version, then those of later ones.
    Words(&'static [&'static str], &'static [&'static str]),
    /// Items of one kind.
    List(&'static Kind),
    /// Names and values.
    Map(Names, &'static Kind),
    /// A map with known keys.
    Fields(&'static Table),
    /// Whichever fits the shape of the value: text, list or map.
    OneOf(&'static [Kind]),
    /// A key of a later version: its value is not looked at.
    Unread,
}

/// What the names of a [`Kind::Map`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Names of parameters.
    Param,
    /// Names of nodes.
    Node,
    /// Names of environment variables.
    Env,
    /// Names of configured clouds.
    Cloud,
    /// Package manager families.
    Family,
    /// Ids of the instances of a node.
    Index,
}

impl Table {
    /// All fields.
    pub fn fields(&self) -> impl Iterator<Item = &'static Field> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    /// What the map describes, without the article and as one word: `ready_check`.
    #[must_use]
    pub fn name(&self) -> String {
        self.what.split_once(' ').map_or(self.what, |(_, name)| name).replace(' ', "_")
    }

    /// The field of that key.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields().find(|f| f.key == key)
    }
}

impl Kind {
    /// The table of its maps with known keys, however deep; none where it has no such maps.
    #[must_use]
    pub fn table(self) -> Option<&'static Table> {
        match self {
            Kind::Fields(table) => Some(table),
            Kind::List(kind) | Kind::Map(_, kind) => kind.table(),
            Kind::OneOf(kinds) => kinds.iter().find_map(|kind| kind.table()),
            _ => None,
        }
    }

    /// A value, in YAML.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Kind::Text | Kind::Line | Kind::Template => "some text",
            Kind::Port => "8080",
            Kind::Url => "http://localhost/",
            Kind::Path => "apps/lamp",
            Kind::ModuleRef => "images/debian-12",
            Kind::File => "deploy.sh",
            Kind::Regex => "'[a-z]+'",
            Kind::Milestone => "mysql.ready",
            Kind::Boolean => "true",
            Kind::Size => "4GiB",
            Kind::Duration => "5m",
            Kind::Whole(1, _) => "1",
            Kind::Whole(..) => "0",
            Kind::Words(words, _) => words.first().copied().unwrap_or_default(),
            Kind::OneOf(kinds) => kinds.first().map_or("", |kind| kind.example()),
            Kind::List(_) | Kind::Map(..) | Kind::Fields(_) | Kind::Unread => "",
        }
    }
}

impl Field {
    /// A value as people write it, in YAML.
    #[must_use]
    pub fn example(&self) -> &'static str {
        if self.example.is_empty() { self.kind.example() } else { self.example }
    }

    const fn was(mut self, old: &'static str) -> Self {
        self.was = old;
        self
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn like(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    const fn must(mut self) -> Self {
        self.required = true;
        self
    }
}

const fn now(key: &'static str, kind: Kind, help: &'static str) -> Field {
    Field { key, kind, help, was: "", default: "", example: "", required: false, support: Support::Now }
}

const fn later(key: &'static str, help: &'static str) -> Field {
    Field { key, kind: Kind::Unread, help, was: "", default: "", example: "", required: false, support: Support::Later }
}

/// Kinds of modules.
pub const KINDS: [&str; 4] = ["project", "image", "component", "application"];
/// Package manager families, as keys of `packages`.
pub const FAMILIES: [&str; 5] = ["apt", "dnf", "zypper", "apk", "pacman"];
/// What `platform` may be.
pub const PLATFORMS: [&str; 13] = [
    "debian", "ubuntu", "redhat", "centos", "fedora", "rocky", "alma", "suse", "opensuse", "alpine", "arch", "busybox",
    "other",
];
/// The most instances a run may have.
pub const MOST_INSTANCES: u32 = 300;

/// What every module has.
static HEADER: [Field; 8] = [
    now("slipstream", Kind::Whole(1, 1), "version of the format").must(),
    now("kind", Kind::Words(&KINDS, &[]), "what the module is").must(),
    now("name", Kind::Path, "its path in the catalogue").must().like("apps/lamp"),
    now("title", Kind::Line, "its name for people").like("Guest book on LAMP"),
    now("description", Kind::Text, "what it is for"),
    now("tags", Kind::List(&Kind::Line), "words to find it by").like("[ web, php ]"),
    now("notes", Kind::Text, "what whoever changes it should know"),
    now("logo", Kind::Line, "address of a picture").was("logoLink").like("https://example.org/lamp.png"),
];

static INPUTS: [Field; 1] =
    [now("params", Kind::Map(Names::Param, &Kind::Fields(&PARAM)), "inputs: name to type, default and limits")
        .was("parameters")
        .like("{ site_name: { type: string, default: \"Guest book\" } }")];

static MACHINE: [Field; 3] = [
    now("login", Kind::Line, "user for ssh").was("loginUser").or("root").like("debian"),
    now("size", Kind::Fields(&SIZE), "how large its machines are").like("{ cpu: 2, ram: 4GiB }"),
    now("network", Kind::Words(&["public", "private"], &[]), "which address the others use").or("public"),
];

static IMAGE_ONLY: [Field; 2] = [
    now("native", Kind::Map(Names::Cloud, &Kind::Line), "cloud to the image's identifier there")
        .was("cloudImageIdentifiers")
        .must()
        .like("{ local: debian-12, exoscale-ch-gva: 2a1c7d9e }"),
    now("platform", Kind::Words(&PLATFORMS, &["windows"]), "the family of its operating system").like("debian"),
];

static PARENT: [Field; 1] = [now("image", Kind::ModuleRef, "the image or component it builds on")
    .was("moduleReferenceUri")
    .must()
    .like("images/debian-12")];

static IMPORTED: [Field; 1] = [now(
    "imported",
    Kind::Boolean,
    "its scripts come from SlipStream by SixSq, and may set values of other instances as they could there",
)
.or("false")];

static NODE_PARENT: [Field; 2] = [
    now("use", Kind::ModuleRef, "the component its instances are").was("imageUri").like("components/mariadb@3"),
    now("image", Kind::ModuleRef, "the image or component it builds on").was("moduleReferenceUri"),
];

static WORK: [Field; 17] = [
    now("pre_install", SCRIPT, "script before packages are installed")
        .was("prerecipe")
        .like("curl -fsS https://example.org/key.asc >/etc/apt/keyrings/example.asc"),
    now(
        "packages",
        Kind::OneOf(&[Kind::List(&Kind::Line), Kind::Map(Names::Family, &Kind::List(&Kind::Line))]),
        "packages to install, for all package managers or for each",
    )
    .like("{ apt: [ apache2, php-mysql ], dnf: [ httpd ] }"),
    now("install", SCRIPT, "script after packages are installed").was("recipe").like("useradd --system app"),
    now("deploy", SCRIPT, "script of each deployment").was("execute").like("systemctl restart apache2"),
    now("report", SCRIPT, "script that collects files in $SLIPSTREAM_REPORT_DIR at the end")
        .like("cp /var/log/syslog \"$SLIPSTREAM_REPORT_DIR\""),
    now("on_vm_add", SCRIPT, "script of the ready instances when others of the run have come")
        .was("onvmadd")
        .like("haproxy-reload"),
    now("on_vm_remove", SCRIPT, "script of the ready instances when others of the run have gone")
        .was("onvmremove")
        .like("haproxy-reload"),
    now("pre_remove", SCRIPT, "script of an instance before it goes")
        .like("{ run: apachectl graceful-stop, within: 30s }"),
    now("pre_scale", SCRIPT, "script of an instance before its size or disks change")
        .was("prescale")
        .like("systemctl stop mariadb"),
    now("post_scale", SCRIPT, "script of an instance after its size or disks have changed")
        .was("postscale")
        .like("systemctl start mariadb"),
    later("on_change", "step to run again when a value moves"),
    now("publish", Kind::Map(Names::Param, &Kind::Fields(&OUTPUT)), "outputs: name to type and default")
        .like("{ port: { type: port, default: 3306 } }"),
    now("ready", Kind::Fields(&READY), "how an instance knows that it serves; without it, when `deploy` has succeeded")
        .like("{ tcp: 3306, within: 5m }"),
    now(
        "env",
        Kind::Map(Names::Env, &Kind::Template),
        "environment of the scripts; `deploy` waits for what it refers to",
    )
    .like("{ DB: \"${mysql.address}:${mysql.port}\" }"),
    now("needs", Kind::List(&Kind::Milestone), "milestones of other nodes that `deploy` waits for")
        .like("[ mysql.ready ]"),
    now("disks", Kind::List(&Kind::Fields(&DISK)), "further disks of each instance")
        .was("extra.disk.volatile")
        .like("[ { size: 20GiB, mount: /var/lib/mysql } ]"),
    later("firewall", "which ports are open to whom"),
];

static NODE_ONLY: [Field; 6] = [
    now("count", Kind::OneOf(&[Kind::Whole(0, MOST_INSTANCES as u64), Kind::Fields(&COUNT)]), "how many instances")
        .was("multiplicity")
        .or("1")
        .like("{ default: 2, min: 1, max: 8 }"),
    now("cloud", Kind::OneOf(&[Kind::Line, Kind::List(&Kind::Line)]), "a cloud, or several in order of preference")
        .was("cloudservice")
        .like("[ exoscale-ch-dk, local ]"),
    now(
        "params",
        Kind::Map(Names::Param, &Kind::OneOf(&[Kind::Template, Kind::Fields(&PARAM)])),
        "values or references for the component's inputs",
    )
    .was("parameterMappings")
    .like("{ db_host: \"${mysql.address}\" }"),
    now("tolerate", Kind::Whole(0, MOST_INSTANCES as u64), "how many of its instances may fail to come")
        .was("maxProvisioningFailures")
        .or("0"),
    now("instances", Kind::Map(Names::Index, &Kind::Fields(&INSTANCE)), "what differs for single instances, by id")
        .like("{ 2: { params: { role: leader } } }"),
    now(
        "on_silent",
        Kind::Words(&["wait", "fail", "replace"], &[]),
        "what follows when an instance falls silent or loses its machine",
    )
    .or("wait"),
];

static APPLICATION_ONLY: [Field; 3] = [
    now("nodes", Kind::Map(Names::Node, &Kind::Fields(&NODE)), "the machines, by role")
        .must()
        .like("{ web: { use: components/apache } }"),
    now("outputs", Kind::Map(Names::Param, &Kind::Template), "results shown when the run is Ready")
        .like("{ url: \"http://${web[1].address}/\" }"),
    now("policy", Kind::Fields(&POLICY), "how the run behaves as a whole")
        .like("{ keep_running: on-success, timeout: 20m, lease: 8h }"),
];

const SCRIPT: Kind = Kind::OneOf(&[Kind::Text, Kind::Fields(&SCRIPT_MAP)]);
const ANY: Kind = Kind::Line;

/// A project: a folder with a description.
pub static PROJECT: Table = Table { what: "a project", groups: &[&HEADER], one_of: &[], others: None };
/// An image.
pub static IMAGE: Table =
    Table { what: "an image", groups: &[&HEADER, &INPUTS, &IMAGE_ONLY, &MACHINE], one_of: &[], others: None };
/// A component.
pub static COMPONENT: Table = Table {
    what: "a component",
    groups: &[&HEADER, &IMPORTED, &INPUTS, &PARENT, &MACHINE, &WORK],
    one_of: &[],
    others: None,
};
/// An application.
pub static APPLICATION: Table =
    Table { what: "an application", groups: &[&HEADER, &INPUTS, &APPLICATION_ONLY], one_of: &[], others: None };
/// A module whose kind is not known: only what all kinds have is checked.
pub static UNKNOWN: Table = Table { what: "a module", groups: &[&HEADER], one_of: &[], others: None };
/// A node of an application.
pub static NODE: Table = Table {
    what: "a node",
    groups: &[&NODE_PARENT, &NODE_ONLY, &MACHINE, &WORK],
    one_of: &["use", "image"],
    others: None,
};

/// One instance of a node.
pub static INSTANCE: Table = Table {
    what: "an instance",
    groups: &[&[
        now("params", Kind::Map(Names::Param, &Kind::Template), "values or references, instead of those of the node")
            .like("{ role: leader }"),
        later("size", "how large its machine is"),
        later("cloud", "the cloud it runs on"),
    ]],
    one_of: &[],
    others: None,
};

/// An input.
pub static PARAM: Table = Table {
    what: "an input",
    groups: &[
        &OUTPUT_FIELDS,
        &[
            now("min", ANY, "the smallest value").like("1"),
            now("max", ANY, "the largest value").like("100"),
            now("match", Kind::Regex, "a regular expression the whole value matches").like("'[a-z]+'"),
            now("required", Kind::Boolean, "whether a run needs a value for it"),
            now("generate", Kind::Whole(8, MOST_GENERATED as u64), "how many characters to make up for a secret")
                .like("24"),
        ],
    ],
    one_of: &[],
    others: None,
};

/// An output.
pub static OUTPUT: Table = Table { what: "an output", groups: &[&OUTPUT_FIELDS], one_of: &[], others: None };

static OUTPUT_FIELDS: [Field; 4] = [
    now("type", Kind::Words(&TYPES, &[]), "what values it takes").or("string").like("port"),
    now("default", Kind::Template, "its value until somebody sets one").was("value").like("3306"),
    now("enum", Kind::List(&Kind::Line), "the words it may be").was("enumValues").like("[ small, large ]"),
    now("help", Kind::Text, "what it is for").was("instructions"),
];

/// How large machines are.
pub static SIZE: Table = Table {
    what: "a size",
    groups: &[&[
        now("cpu", Kind::Whole(1, 1024), "virtual processors").was("cpu.nb").like("2"),
        now("ram", Kind::Size, "memory").was("ram.GB"),
        now("disk", Kind::Size, "root disk").was("disk.GB").like("20GiB"),
    ]],
    one_of: &[],
    others: Some("the size for one cloud"),
};

/// A disk beside the root disk.
static DISK: Table = Table {
    what: "a disk",
    groups: &[&[
        now("size", Kind::Size, "how large it is").must(),
        now("mount", Kind::Line, "the folder it is mounted on before the scripts run").like("/var/lib/mysql"),
        now("fs", Kind::Words(&Fs::NAMES, &[]), "the file system of a blank disk that is mounted").or("ext4"),
    ]],
    one_of: &[],
    others: None,
};

static SCRIPT_MAP: Table = Table {
    what: "a script",
    groups: &[&[
        now("run", Kind::Text, "the script").like("systemctl restart apache2"),
        now("file", Kind::File, "a file beside the module file that holds the script").like("deploy.sh"),
        now("within", Kind::Duration, "how long it may take"),
        later("shell", "what runs it"),
        later("retry", "how often it is tried again"),
        later("per", "once for each run, or for each boot"),
        later("user", "who runs it"),
    ]],
    one_of: &["run", "file"],
    others: None,
};

static READY: Table = Table {
    what: "a ready check",
    groups: &[&[
        now("tcp", Kind::Port, "the port accepts connections").like("3306"),
        now("http", Kind::Url, "the address answers with a status below 400").like("http://localhost/"),
        now("exec", Kind::Text, "the script ends with 0").like("pg_isready"),
        now("within", Kind::Duration, "how long to try").or("5m"),
        now("every", Kind::Duration, "time between two tries").or("2s"),
    ]],
    one_of: &["tcp", "http", "exec"],
    others: None,
};

static COUNT: Table = Table {
    what: "a count",
    groups: &[&[
        now("default", Kind::Whole(0, MOST_INSTANCES as u64), "how many to start with").like("2"),
        now("min", Kind::Whole(0, MOST_INSTANCES as u64), "the fewest"),
        now("max", Kind::Whole(1, MOST_INSTANCES as u64), "the most"),
    ]],
    one_of: &[],
    others: None,
};

static POLICY: Table = Table {
    what: "a policy",
    groups: &[&[
        now("keep_running", Kind::Words(&["always", "on-success", "on-error", "never"], &[]), "when the machines stay")
            .was("keep-running"),
        now("timeout", Kind::Duration, "how long the run may take to be Ready"),
        now(
            "start",
            Kind::Words(&["eager", "together"], &[]),
            "whether the first step waits until all have an address; `eager`: it does not",
        )
        .or("eager"),
        now(
            "on_failure",
            Kind::Words(&["keep", "rollback"], &[]),
            "what becomes of a deployment that fails; `keep`: as keep_running says",
        )
        .or("keep"),
        now("lease", Kind::Duration, "how long the run lives; without it, for ever").like("8h"),
    ]],
    one_of: &[],
    others: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::{Problems, shape, tree};

    /// All tables, each once.
    fn tables() -> Vec<&'static Table> {
        let mut all = vec![&PROJECT, &IMAGE, &COMPONENT, &APPLICATION, &UNKNOWN];
        let mut next = 0;
        while let Some(table) = all.get(next).copied() {
            next += 1;
            for inner in table.fields().filter_map(|field| field.kind.table()) {
                if !all.iter().any(|known| std::ptr::eq(*known, inner)) {
                    all.push(inner);
                }
            }
        }
        all
    }

    #[test]
    fn a_key_has_one_meaning_in_its_context_and_every_key_has_help() {
        assert!(tables().len() > 12);
        for table in tables() {
            for field in table.fields() {
                assert_eq!(table.fields().filter(|f| f.key == field.key).count(), 1, "{} in {}", field.key, table.what);
                assert!(!field.help.is_empty(), "{}", field.key);
            }
            assert!(table.one_of.iter().all(|key| table.field(key).is_some()), "{}", table.what);
        }
    }

    #[test]
    fn defaults_and_examples_are_values_of_their_keys() {
        for (table, field) in tables().iter().flat_map(|t| t.fields().map(move |f| (t, f))) {
            if field.support == Support::Later {
                continue;
            }
            let texts = [field.default.to_owned(), field.example().to_owned()];
            for text in texts.iter().filter(|text| !text.is_empty()) {
                let mut problems = Problems::default();
                let tree = tree::read(text, &mut problems).expect("YAML");
                shape::value(&tree, field.kind, field.key, field.key, &mut problems);
                assert!(problems.is_empty(), "{} of {}: {:?}", field.key, table.what, problems.sorted());
            }
            assert!(!field.example().is_empty(), "{} of {} has no example", field.key, table.what);
        }
    }
}
