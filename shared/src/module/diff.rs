//! What differs between two versions of a module: by meaning, and line by line.

use serde::Serialize;
use similar::TextDiff;

use super::{
    build::table_of,
    fields::{Kind, Table},
    problem::{Problem, Problems, join},
    shape::fits,
    tree::{self, Data, Tree},
    units,
};

/// A value that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its key, such as `nodes.web.count`.
    pub path: String,
    /// What it was; absent where it was not there.
    pub before: Option<String>,
    /// What it is now; absent where it is not there any more.
    pub after: Option<String>,
}

/// What has another meaning in `after` than in `before`, in the order of the older text, new keys last. The
/// order of keys, comments, quotes and units mean nothing.
///
/// # Errors
/// One of them cannot be read.
pub fn changes(before: &str, after: &str) -> Result<Vec<Change>, Vec<Problem>> {
    let (old, new) = (read(before)?, read(after)?);
    let mut changes = Vec::new();
    table(&old, &new, table_of(&new), "", &mut changes);
    Ok(changes)
}

/// What differs line by line, as `diff -u` shows it; empty where nothing does.
#[must_use]
pub fn lines(before: &str, after: &str, names: (&str, &str)) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(3).header(names.0, names.1).to_string()
}

fn read(source: &str) -> Result<Tree, Vec<Problem>> {
    let mut problems = Problems::default();
    tree::read(source, &mut problems).ok_or_else(|| problems.sorted())
}

fn table(old: &Tree, new: &Tree, known: &'static Table, path: &str, changes: &mut Vec<Change>) {
    pairs(old, new, path, changes, |key| known.field(key).map_or(Kind::Text, |field| field.kind));
}

/// Compares two maps, whose values are of the kind that their key says.
fn pairs(old: &Tree, new: &Tree, path: &str, changes: &mut Vec<Change>, kind: impl Fn(&str) -> Kind) {
    for entry in old.entries() {
        let path = join(path, &entry.key);
        match new.get(&entry.key) {
            Some(after) => value(&entry.value, after, kind(&entry.key), &path, changes),
            None => changes.push(Change { path, before: Some(shown(&entry.value)), after: None }),
        }
    }
    for entry in new.entries().iter().filter(|entry| old.get(&entry.key).is_none()) {
        let path = join(path, &entry.key);
        changes.push(Change { path, before: None, after: Some(shown(&entry.value)) });
    }
}

fn value(old: &Tree, new: &Tree, kind: Kind, path: &str, changes: &mut Vec<Change>) {
    let kind = match kind {
        Kind::OneOf(kinds) => *kinds.iter().find(|kind| fits(**kind, &new.data)).unwrap_or(&Kind::Text),
        kind => kind,
    };
    match (&old.data, &new.data, kind) {
        (Data::Map(_), Data::Map(_), Kind::Fields(known)) => table(old, new, known, path, changes),
        (Data::Map(_), Data::Map(_), Kind::Map(_, item)) => pairs(old, new, path, changes, |_| *item),
        (Data::Map(_), Data::Map(_), _) => pairs(old, new, path, changes, |_| Kind::Text),
        (Data::Text(before), Data::Text(after), _) if normal(before, kind) == normal(after, kind) => {}
        _ if old.same(new) => {}
        _ => changes.push(Change { path: path.to_owned(), before: Some(shown(old)), after: Some(shown(new)) }),
    }
}

/// A text with units taken away.
fn normal(text: &str, kind: Kind) -> String {
    let number = match kind {
        Kind::Size => units::size(text).ok(),
        Kind::Duration => units::duration(text).ok(),
        _ => None,
    };
    number.map_or_else(|| text.to_owned(), |number| number.to_string())
}

/// A value on one line, but for text, which is shown as it is.
fn shown(tree: &Tree) -> String {
    match &tree.data {
        Data::Null => String::new(),
        Data::Text(text) => text.clone(),
        Data::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Data::Map(entries) => {
            let entries: Vec<String> = entries.iter().map(|e| format!("{}: {}", e.key, shown(&e.value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "slipstream: 1\nkind: application\nname: a\nnodes:\n  web: { image: i, count: 2, size: { ram: 4GiB }, packages: [a, b], deploy: \"x\\ny\\n\" }\n  db: { image: i }\n";

    #[test]
    fn what_means_the_same_is_no_change() {
        let same = "# a comment\nkind: application\nslipstream: 1\nname: 'a'\nnodes:\n  db:\n    image: i\n  web:\n    deploy: |\n      x\n      y\n    packages:\n    - a\n    - b\n    size:\n      ram: 4096MiB\n    count: \"2\"\n    image: i\n";
        assert_eq!(changes(OLD, same), Ok(vec![]));
        assert!(!lines(OLD, same, ("a@1", "a@2")).is_empty());
        assert_eq!(lines(OLD, OLD, ("a@1", "a@2")), "");
    }

    #[test]
    fn each_value_that_differs_is_told_with_its_key() {
        let new = OLD.replace("count: 2", "count: { max: 3 }").replace("4GiB", "5GiB").replace("[a, b]", "[a]");
        let new = new.replace("\\ny", "\\nz").replace("  db: { image: i }", "  last: { use: c }\ntitle: T");
        let found = changes(OLD, &new).expect("readable");
        let shown: Vec<String> = found.iter().map(|c| format!("{}|{:?}|{:?}", c.path, c.before, c.after)).collect();
        assert_eq!(
            shown,
            [
                "nodes.web.count|Some(\"2\")|Some(\"{max: 3}\")",
                "nodes.web.size.ram|Some(\"4GiB\")|Some(\"5GiB\")",
                "nodes.web.packages|Some(\"[a, b]\")|Some(\"[a]\")",
                "nodes.web.deploy|Some(\"x\\ny\\n\")|Some(\"x\\nz\\n\")",
                "nodes.db|Some(\"{image: i}\")|None",
                "nodes.last|None|Some(\"{use: c}\")",
                "title|None|Some(\"T\")",
            ]
        );
        assert!(changes("{", OLD).is_err());
    }
}
