//! `slipstream explain node.ready`: what a key of a module file is, from the table of fields.

use serde::Serialize;

use super::{
    fields::{self, Field, Kind, Support, Table},
    near::did_you_mean,
    shape::describe,
};

/// What is known of a key, or of a map with known keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What was asked for, as one would write it.
    pub path: String,
    /// What its value is.
    pub kind: String,
    /// What it is for.
    pub help: String,
    /// What holds without it; empty where nothing does.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub default: &'static str,
    /// It as people write it, a line of YAML.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub example: String,
    /// What SlipStream called it, where that differs.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub was: &'static str,
    /// Of these keys there is one, and one only.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub one_of: &'static [&'static str],
    /// The keys beneath.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyLine>,
}

/// One of the keys beneath.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyLine {
    /// The key.
    pub key: &'static str,
    /// What its value is, in short.
    pub kind: String,
    /// What it is for.
    pub help: &'static str,
    /// Whether it must be there.
    pub required: bool,
}

/// Where a path may begin: what a map describes.
pub const ROOTS: [(&str, &Table); 7] = [
    ("project", &fields::PROJECT),
    ("image", &fields::IMAGE),
    ("component", &fields::COMPONENT),
    ("application", &fields::APPLICATION),
    ("node", &fields::NODE),
    ("input", &fields::PARAM),
    ("output", &fields::OUTPUT),
];

/// Explains a path such as `node.ready`, `application.nodes.web.count`, or a key alone: `firewall`. Several
/// answers where a key alone means different things.
///
/// # Errors
/// There is no such key; says what may have been meant.
pub fn explain(path: &str) -> Result<Vec<Explanation>, String> {
    let segments: Vec<&str> = path.split('.').collect();
    let (first, rest) = segments.split_first().ok_or("nothing to explain")?;
    if let Some((name, table)) = ROOTS.iter().find(|(name, _)| name == first)
        && (rest.is_empty() || table.field(rest[0]).is_some() || table.field(first).is_none())
    {
        return beneath(name, table, rest).map(|found| vec![found]);
    }
    let mut found: Vec<Explanation> = Vec::new();
    for (name, table) in ROOTS.iter().filter(|(_, table)| table.field(first).is_some()) {
        let explained = beneath(name, table, &segments)?;
        // `deploy` is the same in a component and in a node.
        let same = |other: &&Explanation| (&other.help, &other.kind) == (&explained.help, &explained.kind);
        if found.iter().find(same).is_none() {
            found.push(explained);
        }
    }
    if found.is_empty() {
        let keys = ROOTS.iter().flat_map(|(name, table)| std::iter::once(*name).chain(table.fields().map(|f| f.key)));
        let hint = did_you_mean(first, keys).unwrap_or_else(|| {
            let roots: Vec<&str> = ROOTS.iter().map(|(name, _)| *name).collect();
            format!("begin with one of {}", roots.join(", "))
        });
        return Err(format!("`{first}` is not a key of module files ({hint})"));
    }
    Ok(found)
}

fn beneath(path: &str, table: &'static Table, segments: &[&str]) -> Result<Explanation, String> {
    let Some((first, rest)) = segments.split_first() else { return Ok(of_table(path, table)) };
    let Some(field) = table.field(first) else {
        let hint = did_you_mean(first, table.fields().map(|f| f.key))
            .unwrap_or_else(|| format!("`slipstream explain {path}` lists the keys"));
        return Err(format!("`{first}` is not a key of {} ({hint})", table.what));
    };
    let path = format!("{path}.{first}");
    // Names that people choose (`nodes.web`) may be there or left out.
    let rest = match (named(field.kind), rest) {
        (true, [name, rest @ ..]) if field.kind.table().is_none_or(|inner| inner.field(name).is_none()) => rest,
        (_, rest) => rest,
    };
    match (rest.is_empty(), field.kind.table()) {
        (true, _) => Ok(of_field(path, field)),
        (false, Some(inner)) => beneath(&path, inner, rest),
        (false, None) => Err(format!("`{path}` has no keys beneath it: it is {}", describe(field.kind))),
    }
}

fn named(kind: Kind) -> bool {
    match kind {
        Kind::Map(..) => true,
        Kind::OneOf(kinds) => kinds.iter().any(|kind| named(*kind)),
        _ => false,
    }
}

fn of_table(path: &str, table: &'static Table) -> Explanation {
    Explanation {
        path: path.to_owned(),
        kind: "a map".to_owned(),
        help: table.what.to_owned(),
        default: "",
        example: String::new(),
        was: "",
        one_of: table.one_of,
        keys: keys(table),
    }
}

fn of_field(path: String, field: &'static Field) -> Explanation {
    let inner = field.kind.table();
    let later = if field.support == Support::Later { " (not supported by this version yet)" } else { "" };
    Explanation {
        path,
        kind: short(field.kind),
        help: format!("{}{later}", field.help),
        default: field.default,
        example: if field.example().is_empty() { String::new() } else { format!("{}: {}", field.key, field.example()) },
        was: field.was,
        one_of: inner.map_or(&[], |table| table.one_of),
        keys: inner.map(keys).unwrap_or_default(),
    }
}

fn keys(table: &'static Table) -> Vec<KeyLine> {
    let now = table.fields().filter(|field| field.support == Support::Now);
    now.map(|f| KeyLine { key: f.key, kind: short(f.kind), help: f.help, required: f.required }).collect()
}

/// What a value is, without listing the keys beneath.
pub(super) fn short(kind: Kind) -> String {
    match kind {
        Kind::Fields(_) => "a map".to_owned(),
        Kind::List(item) => format!("a list of {}", several(*item)),
        Kind::Map(_, item) => format!("a map of names to {}", several(*item)),
        Kind::OneOf(kinds) => kinds.iter().map(|kind| short(*kind)).collect::<Vec<_>>().join(", or "),
        Kind::Unread => "of a later version".to_owned(),
        other => describe(other),
    }
}

fn several(kind: Kind) -> String {
    match kind {
        Kind::Fields(_) => "maps".to_owned(),
        Kind::Text | Kind::Template | Kind::Line => "texts".to_owned(),
        Kind::Milestone => "milestones, as in `mysql.ready`".to_owned(),
        Kind::Size => "sizes, as in `4GiB`".to_owned(),
        other => format!("values, each {}", short(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str) -> Explanation {
        let mut found = explain(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(found.len(), 1, "{path}: {found:#?}");
        found.remove(0)
    }

    #[test]
    fn keys_are_found_with_and_without_the_names_people_choose() {
        for path in ["node.ready", "application.nodes.web.ready", "application.nodes.ready", "ready", "component.ready"]
        {
            let found = one(path);
            assert_eq!(found.one_of, ["tcp", "http", "exec"], "{path}");
            assert_eq!(
                found.keys.iter().map(|k| k.key).collect::<Vec<_>>(),
                ["tcp", "http", "exec", "within", "every"]
            );
        }
        let within = one("node.ready.within");
        assert_eq!((within.default, within.example.as_str()), ("5m", "within: 5m"));
        assert_eq!(one("count").kind, "a whole number from 0 to 300, or a map");
        assert_eq!(one("nodes.web.instances.2.params").path, "application.nodes.instances.params");
        assert_eq!(one("application").keys.iter().filter(|k| k.required).count(), 4);
        // The word is a kind of module, and a key of a component too.
        assert_eq!(one("image").help, "an image");
        assert_eq!(one("component.image").example, "image: images/debian-12");
        assert!(explain("params").expect("two meanings").len() > 1);
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is_near() {
        assert_eq!(
            explain("node.raedy").expect_err("a typing error"),
            "`raedy` is not a key of a node (did you mean `ready`?)"
        );
        assert_eq!(
            explain("deplyo").expect_err("a typing error"),
            "`deplyo` is not a key of module files (did you mean `deploy`?)"
        );
        assert_eq!(
            explain("node.ready.tcp.x").expect_err("too deep"),
            "`node.ready.tcp` has no keys beneath it: it is a port (a number from 1 to 65535)"
        );
        assert!(explain("").is_err());
    }
}
