//! The parameters that exist without being declared, and what they mean.
//!
//! The only list of them: the reader of modules, the planner, runs and documentation look here. SlipStream
//! had more; `docs/glossary.md` says which are left out and why.

use crate::parameter::ParamType;

/// What a predefined parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The run: `ss:state`.
    Run,
    /// A node: `web:ids`.
    Node,
    /// A node instance: `web.1:address`.
    Instance,
}

/// When a predefined parameter gets its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// It has one from the beginning of the run.
    Start,
    /// Before the first step of the instance runs.
    Boot,
    /// When somebody sets it, perhaps never.
    Set,
}

/// What the values of a predefined parameter look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// A decimal number.
    Number,
    /// `true` or `false`.
    Boolean,
}

impl Shape {
    /// The type of such values.
    #[must_use]
    pub fn kind(self) -> ParamType {
        match self {
            Shape::Text => ParamType::String,
            Shape::Integer => ParamType::Integer,
            Shape::Number => ParamType::Number,
            Shape::Boolean => ParamType::Boolean,
        }
    }
}

/// A parameter nobody declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Predefined {
    /// What it belongs to.
    pub level: Level,
    /// Its name, the part after the colon of a key.
    pub name: &'static str,
    /// When it gets its value.
    pub since: Since,
    /// What its values look like.
    pub shape: Shape,
    /// True when it is an ordinary value that scripts and people set; the coordinator computes all others.
    pub settable: bool,
    /// What it means, in one line.
    pub meaning: &'static str,
}

const fn text(level: Level, name: &'static str, since: Since, meaning: &'static str) -> Predefined {
    of(Shape::Text, level, name, since, meaning)
}

const fn of(shape: Shape, level: Level, name: &'static str, since: Since, meaning: &'static str) -> Predefined {
    Predefined { level, name, since, shape, settable: false, meaning }
}

const fn settable(level: Level, name: &'static str, meaning: &'static str) -> Predefined {
    Predefined { level, name, since: Since::Set, shape: Shape::Text, settable: true, meaning }
}

/// All of them, those of the run first.
pub const PREDEFINED: [Predefined; 34] = [
    text(Level::Run, "category", Since::Start, "`Deployment` for an application, `Image` for a single machine"),
    text(Level::Run, "state", Since::Start, "where the run stands, from `Initializing` to `Done`"),
    text(Level::Run, "abort", Since::Set, "why the run was aborted; set by the first who aborts it"),
    settable(Level::Run, "url.service", "where the service of the run is found; shown in lists"),
    text(Level::Run, "tags", Since::Set, "words given at launch, separated by commas"),
    text(Level::Run, "groups", Since::Start, "which node runs where: `cloud:node`, separated by commas"),
    text(Level::Node, "ids", Since::Start, "the ids of the live instances, separated by commas"),
    of(Shape::Integer, Level::Node, "multiplicity", Since::Start, "how many instances the node has"),
    of(
        Shape::Integer,
        Level::Node,
        "max-provisioning-failures",
        Since::Start,
        "how many of its instances may fail to come (`tolerate`)",
    ),
    text(Level::Instance, "nodename", Since::Start, "the node it belongs to"),
    of(Shape::Integer, Level::Instance, "id", Since::Start, "its number within the node"),
    text(Level::Instance, "cloudservice", Since::Start, "the cloud it runs on"),
    text(Level::Instance, "instanceid", Since::Boot, "the cloud's identifier of its machine"),
    text(Level::Instance, "hostname", Since::Boot, "the same as `address`"),
    text(Level::Instance, "address", Since::Boot, "the address of the network its node asks for"),
    text(Level::Instance, "address.public", Since::Boot, "the address reachable from outside"),
    text(Level::Instance, "address.private", Since::Boot, "the address shared by the machines of the run"),
    settable(Level::Instance, "statecustom", "what `ss-display` shows, free text"),
    text(Level::Instance, "abort", Since::Set, "why this instance aborted the run"),
    text(Level::Instance, "vmstate", Since::Start, "what the cloud says of its machine, or `Unknown`"),
    text(Level::Instance, "url.ssh", Since::Boot, "how to log in: `ssh://user@address`"),
    text(Level::Instance, "login", Since::Start, "the user for ssh"),
    settable(Level::Instance, "url.service", "where its own service is found"),
    of(Shape::Boolean, Level::Instance, "complete", Since::Start, "whether all its deployment scripts have succeeded"),
    of(Shape::Boolean, Level::Instance, "is.orchestrator", Since::Start, "`false`: there is no such machine"),
    text(Level::Instance, "network", Since::Start, "the network its node asks for, `Public` or `Private`"),
    text(Level::Instance, "image.id", Since::Start, "the identifier of its image on its cloud"),
    text(Level::Instance, "image.platform", Since::Set, "the platform of its image, if its module says it"),
    of(Shape::Integer, Level::Instance, "cpu.nb", Since::Set, "its processors, if asked for"),
    of(Shape::Number, Level::Instance, "ram.GB", Since::Set, "its memory in GiB, if asked for"),
    of(Shape::Number, Level::Instance, "disk.GB", Since::Set, "its root disk in GiB, if asked for"),
    of(Shape::Number, Level::Instance, "disk.attach.size", Since::Set, "the size in GiB of the disk it was given last"),
    text(Level::Instance, "disk.attached.device", Since::Set, "where that disk is found in it"),
    text(Level::Instance, "disk.detach.device", Since::Set, "where the disk was that was taken from it last"),
];

/// The predefined parameter of that name, if there is one.
#[must_use]
pub fn find(level: Level, name: &str) -> Option<&'static Predefined> {
    PREDEFINED.iter().find(|p| p.level == level && p.name == name)
}

/// The names at one level.
pub fn names<'a>(level: Level) -> impl Iterator<Item = &'a str> {
    PREDEFINED.iter().filter(move |p| p.level == level).map(|p| p.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameter::Key;

    #[test]
    fn each_name_is_listed_once_and_makes_a_key() {
        for (i, one) in PREDEFINED.iter().enumerate() {
            assert!(format!("ss:{}", one.name).parse::<Key>().is_ok(), "{}", one.name);
            assert!(!one.meaning.is_empty());
            assert!(!PREDEFINED[..i].iter().any(|p| (p.level, p.name) == (one.level, one.name)), "{}", one.name);
        }
    }

    #[test]
    fn a_name_is_found_at_its_own_level_only() {
        assert_eq!(find(Level::Instance, "hostname").map(|p| p.since), Some(Since::Boot));
        assert_eq!(find(Level::Run, "hostname"), None);
        assert_eq!(names(Level::Node).collect::<Vec<_>>(), ["ids", "multiplicity", "max-provisioning-failures"]);
    }

    #[test]
    fn the_glossary_has_this_list() {
        let glossary = include_str!("../../docs/glossary.md");
        let section = glossary.split("### Predefined\n").nth(1).and_then(|s| s.split("\n###").next());
        let rows = section.expect("there is a section").lines().filter(|line| line.starts_with("| `"));
        let listed: Vec<String> = rows.map(ToOwned::to_owned).collect();
        let row = |one: &Predefined| {
            let owner = match one.level {
                Level::Run => "ss",
                Level::Node => "NODE",
                Level::Instance => "NODE.N",
            };
            format!("| `{owner}:{}` | {} |", one.name, one.meaning)
        };
        assert_eq!(listed, PREDEFINED.iter().map(row).collect::<Vec<_>>());
    }
}
