//! Checks a tree against the table of fields: keys that exist, values of the right kind.
//!
//! What passes here can be taken by `build.rs` without further questions; what the kinds alone cannot
//! say (a default that fits its type, a reference that leads somewhere) is checked there and after.

use super::{
    fields::{Kind, Names, Support, Table},
    near::did_you_mean,
    path::{self, ModuleRef},
    problem::{Problems, join},
    tree::{Data, Entry, Tree},
    units,
};
use crate::{
    id::NodeName,
    limits,
    parameter::Key,
    template::{Owner, Reference, Template},
};

/// The most references in one text.
const MOST_REFERENCES: usize = 1000;

/// A message, and what to do about it.
type Refusal = (String, Option<String>);

/// Checks a map with known keys.
pub(super) fn table(tree: &Tree, table: &'static Table, path: &str, problems: &mut Problems) {
    for entry in tree.entries() {
        if problems.is_full() {
            return;
        }
        let at = join(path, &entry.key);
        match table.field(&entry.key) {
            None => unknown(entry, table, &at, problems),
            Some(field) if field.support == Support::Later => {
                problems.add(entry.at, &at, later(&format!("`{}`", entry.key)), None);
            }
            Some(field) => value(&entry.value, field.kind, &entry.key, &at, problems),
        }
    }
    for field in table.fields().filter(|f| f.required && tree.get(f.key).is_none()) {
        problems.add(tree.at, path, format!("the key `{}` is missing", field.key), Some(field.help.to_owned()));
    }
}

fn later(what: &str) -> String {
    format!("{what} is not supported by this version yet")
}

fn unknown(entry: &Entry, table: &'static Table, path: &str, problems: &mut Problems) {
    if let (Some(others), Data::Map(_)) = (table.others, &entry.value.data) {
        return problems.add(entry.at, path, later(&format!("{others} `{}`", entry.key)), None);
    }
    let old = table.fields().find(|f| !f.was.is_empty() && f.was == entry.key);
    let hint = match old {
        Some(field) => format!("it is called `{}` here", field.key),
        None => did_you_mean(&entry.key, table.fields().map(|f| f.key)).unwrap_or_else(|| {
            let keys: Vec<&str> = table.fields().filter(|f| f.support == Support::Now).map(|f| f.key).collect();
            format!("the keys of {} are: {}", table.what, keys.join(", "))
        }),
    };
    problems.add(entry.at, path, format!("`{}` is not a key of {}", entry.key, table.what), Some(hint));
}

/// Checks one value; `key` is what it is called in messages.
pub(super) fn value(tree: &Tree, kind: Kind, key: &str, path: &str, problems: &mut Problems) {
    let kind = match kind {
        Kind::OneOf(kinds) => match kinds.iter().find(|k| fits(**k, &tree.data)) {
            Some(kind) => *kind,
            None => return wrong_shape(tree, kind, key, path, problems),
        },
        other => other,
    };
    match (kind, &tree.data) {
        (Kind::Fields(fields), Data::Map(_)) => table(tree, fields, path, problems),
        (Kind::List(item), Data::List(items)) => {
            for (i, tree) in items.iter().enumerate() {
                value(tree, *item, key, &format!("{path}[{i}]"), problems);
            }
        }
        (Kind::Map(names, item), Data::Map(entries)) => {
            for entry in entries {
                let path = join(path, &entry.key);
                if let Err((message, hint)) = name(names, &entry.key) {
                    problems.add(entry.at, &path, message, hint);
                }
                value(&entry.value, *item, &entry.key, &path, problems);
            }
        }
        (_, Data::Text(text)) if fits(kind, &tree.data) => {
            if let Err((message, hint)) = scalar(kind, key, text) {
                problems.add(tree.at, path, message, hint);
            }
        }
        _ => wrong_shape(tree, kind, key, path, problems),
    }
}

pub(super) fn fits(kind: Kind, data: &Data) -> bool {
    match kind {
        Kind::List(_) => matches!(data, Data::List(_)),
        Kind::Map(..) | Kind::Fields(_) => matches!(data, Data::Map(_)),
        Kind::OneOf(kinds) => kinds.iter().any(|k| fits(*k, data)),
        _ => matches!(data, Data::Text(_)),
    }
}

fn wrong_shape(tree: &Tree, kind: Kind, key: &str, path: &str, problems: &mut Problems) {
    problems.add(tree.at, path, format!("`{key}` takes {}, not {}", describe(kind), tree.describe()), None);
}

/// What a value of that kind is, in words.
pub(super) fn describe(kind: Kind) -> String {
    match kind {
        Kind::Text | Kind::Template | Kind::Unread => "text".to_owned(),
        Kind::Line => "one line of text".to_owned(),
        Kind::Port => "a port (a number from 1 to 65535)".to_owned(),
        Kind::Url => "an address that begins with http:// or https://".to_owned(),
        Kind::Path => "the path of a module, as in `apps/lamp`".to_owned(),
        Kind::ModuleRef => "the path of a module, as in `images/debian-12` or `images/debian-12@3`".to_owned(),
        Kind::File => "the path of a file beside the module file".to_owned(),
        Kind::Regex => "a regular expression".to_owned(),
        Kind::Milestone => "a milestone, as in `mysql.ready`".to_owned(),
        Kind::Boolean => "`true` or `false`".to_owned(),
        Kind::Size => "a size, as in `4GiB`".to_owned(),
        Kind::Duration => "a time, as in `5m`".to_owned(),
        Kind::Whole(min, max) if min == max => min.to_string(),
        Kind::Whole(min, max) => format!("a whole number from {min} to {max}"),
        Kind::Words(words, _) => format!("one of {}", words.join(", ")),
        Kind::List(item) => format!("a list (each item: {})", describe(*item)),
        Kind::Map(names, _) => format!("a map from {} to values", plural(names)),
        Kind::Fields(table) => {
            let keys: Vec<&str> = table.fields().filter(|f| f.support == Support::Now).map(|f| f.key).collect();
            format!("a map with the keys {}", keys.join(", "))
        }
        Kind::OneOf(kinds) => kinds.iter().map(|k| describe(*k)).collect::<Vec<_>>().join(", or "),
    }
}

fn plural(names: Names) -> &'static str {
    match names {
        Names::Param => "names of parameters",
        Names::Node => "names of nodes",
        Names::Env => "names of environment variables",
        Names::Cloud => "names of clouds",
        Names::Family => "package managers",
        Names::Index => "ids",
    }
}

fn name(names: Names, text: &str) -> Result<(), Refusal> {
    match names {
        Names::Param => format!("ss:{text}").parse::<Key>().map(drop).map_err(|e| (e.to_string(), None)),
        Names::Node => text.parse::<NodeName>().map(drop).map_err(|e| (e.to_string(), None)),
        Names::Env => {
            let mut chars = text.chars();
            let ok = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !ok {
                let rule = "only letters, digits and underscores, not a digit first";
                return Err((format!("`{text}` is not a name of an environment variable: {rule}"), None));
            }
            if text.starts_with("SLIPSTREAM_") {
                return Err((format!("`{text}` is reserved: names with SLIPSTREAM_ are set by the agent"), None));
            }
            Ok(())
        }
        Names::Cloud => path::cloud(text).map_err(|e| (e.to_string(), None)),
        Names::Index if text.parse().is_ok_and(|id: u32| id > 0 && id.to_string() == text) => Ok(()),
        Names::Index => Err((format!("`{text}` is not the id of an instance (a number from 1)"), None)),
        Names::Family => words(&super::fields::FAMILIES, &[], "packages", text),
    }
}

fn words(now: &[&'static str], soon: &[&'static str], key: &str, text: &str) -> Result<(), Refusal> {
    if now.contains(&text) {
        return Ok(());
    }
    if soon.contains(&text) {
        return Err((later(&format!("`{key}: {text}`")), None));
    }
    let hint = did_you_mean(text, now.iter().copied()).unwrap_or_else(|| format!("it is one of {}", now.join(", ")));
    Err((format!("`{text}` is not a value of `{key}`"), Some(hint)))
}

fn scalar(kind: Kind, key: &str, text: &str) -> Result<(), Refusal> {
    let plain = |message: String| (message, None);
    let expected = || Err((format!("`{key}` takes {}, not `{text}`", describe(kind)), None));
    match kind {
        Kind::Words(now, soon) => words(now, soon, key, text),
        Kind::Line if text.contains('\n') => Err((format!("`{key}` takes one line"), None)),
        Kind::Line if text.is_empty() => Err((format!("`{key}` is empty"), None)),
        Kind::Path => path::check(text).map_err(|e| plain(e.to_string())),
        Kind::ModuleRef => text.parse::<ModuleRef>().map(drop).map_err(|e| plain(e.to_string())),
        Kind::File => file(text).map_err(plain),
        Kind::Regex => {
            limits::pattern(text).map(drop).map_err(|e| plain(format!("`{text}` is not a regular expression: {e}")))
        }
        Kind::Milestone => milestone(text).map_err(plain),
        Kind::Boolean if !matches!(text, "true" | "false") => expected(),
        Kind::Size => units::size(text).map(drop).map_err(plain),
        Kind::Duration => units::duration(text).map(drop).map_err(plain),
        Kind::Whole(min, max) if !text.parse().is_ok_and(|n: u64| min <= n && n <= max) => expected(),
        Kind::Template | Kind::Port | Kind::Url => {
            let template: Template = text.parse().map_err(|e: crate::template::InvalidTemplate| plain(e.reason))?;
            if template.references().count() > MOST_REFERENCES {
                return Err(plain(format!("`{key}` has more than {MOST_REFERENCES} references")));
            }
            match (kind, template.as_literal()) {
                (Kind::Port, Some(text)) if !text.parse().is_ok_and(|p: u16| p > 0) => expected(),
                (Kind::Url, _) if !["http://", "https://", "${"].iter().any(|s| text.starts_with(s)) => expected(),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

pub(super) fn file(text: &str) -> Result<(), String> {
    let inside = !text.is_empty()
        && !text.starts_with('/')
        && !text.contains(['\\', '\n'])
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if inside {
        return Ok(());
    }
    Err(format!("`{text}` is not a file beside the module file (a relative path without `..`)"))
}

fn milestone(text: &str) -> Result<(), String> {
    let expected = "as in `mysql.ready`, `mysql[*].deployed` or `mysql[1].enrolled`";
    let reference: Reference = text.parse().map_err(|e| format!("`{text}` is not a milestone, {expected}: {e}"))?;
    match reference.owner {
        Owner::Node(_) if matches!(reference.name.as_str(), "ready" | "deployed" | "enrolled") => Ok(()),
        _ => Err(format!("`{text}` is not a milestone, {expected}")),
    }
}
