//! Scripts that are kept in files beside the module file: `deploy: { file: deploy.sh }`.
//!
//! The command line puts them into the text before it uploads it, so the catalogue holds whole modules.
//! `file: name` becomes `run: "…"` on the same line: every line of the module keeps its number, and what
//! the coordinator says about it fits the file on the person's disk.

use std::collections::BTreeMap;

use super::{
    fields::{Field, Kind, Table},
    problem::{Position, Problem, Problems, join},
    shape,
    tree::{self, BYTE_ORDER_MARK, Entry, MAX_SOURCE, Tree},
};

/// A script that a module file takes from another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRef {
    /// Where the file is, relative to the module file.
    pub file: String,
    /// Where that is written.
    pub at: Position,
    /// The key, such as `nodes.web.deploy.file`.
    pub path: String,
}

/// The files that a module file names.
///
/// # Errors
/// The text is not YAML, or names files outside the folder of the module file.
pub fn list(source: &str) -> Result<Vec<FileRef>, Vec<Problem>> {
    let (found, problems) = find(source)?;
    if !problems.is_empty() {
        return Err(problems.sorted());
    }
    Ok(found.into_iter().map(|(reference, _)| reference).collect())
}

/// Puts the files into the text: `contents` by the names that [`list`] gave.
///
/// # Errors
/// A file is missing, or the module is too large with them.
pub fn inline(source: &str, contents: &BTreeMap<String, String>) -> Result<String, Vec<Problem>> {
    let source = source.strip_prefix(BYTE_ORDER_MARK).unwrap_or(source);
    let (found, mut problems) = find(source)?;
    let chars: Vec<usize> = source.char_indices().map(|(i, _)| i).chain([source.len()]).collect();
    let byte = |char: usize| chars.get(char).copied().unwrap_or(source.len());
    let mut text = source.to_owned();
    // From the end, so that what comes before keeps its place.
    for (reference, entry) in found.iter().rev() {
        let Some(content) = contents.get(&reference.file) else {
            problems.add(reference.at, &reference.path, format!("there is no file `{}`", reference.file), None);
            continue;
        };
        let (key, value) = (
            byte(entry.range.start)..byte(entry.range.end),
            byte(entry.value.range.start)..byte(entry.value.range.end),
        );
        // A JSON string is a YAML one too, whatever is in it.
        text.replace_range(value, &serde_json::Value::from(content.as_str()).to_string());
        text.replace_range(key, "run");
    }
    if text.len() > MAX_SOURCE {
        let message = format!("with its files the module has {} bytes, the limit is {MAX_SOURCE}", text.len());
        problems.add(Position::START, "", message, None);
    }
    if problems.is_empty() { Ok(text) } else { Err(problems.sorted()) }
}

/// A reference, and the entry that makes it.
type Named = (FileRef, Entry);

/// All `file` entries in the order of the text.
fn find(source: &str) -> Result<(Vec<Named>, Problems), Vec<Problem>> {
    let mut problems = Problems::default();
    let Some(root) = tree::read(source, &mut problems) else { return Err(problems.sorted()) };
    // What else is wrong is for the check of the whole module to say.
    let mut problems = Problems::default();
    let mut found = Vec::new();
    walk(&root, super::build::table_of(&root), "", &mut found, &mut problems);
    found.sort_by_key(|(reference, _)| reference.at);
    Ok((found, problems))
}

fn walk(tree: &Tree, table: &'static Table, path: &str, found: &mut Vec<Named>, problems: &mut Problems) {
    for entry in tree.entries() {
        let path = join(path, &entry.key);
        match table.field(&entry.key) {
            Some(Field { kind: Kind::File, .. }) => {
                let Some(file) = entry.value.text() else { continue };
                match shape::file(file) {
                    Ok(()) => {
                        let reference = FileRef { file: file.to_owned(), at: entry.value.at, path };
                        found.push((reference, entry.clone()));
                    }
                    Err(message) => problems.add(entry.value.at, &path, message, None),
                }
            }
            Some(field) => inside(&entry.value, field.kind, &path, found, problems),
            None => {}
        }
    }
}

fn inside(tree: &Tree, kind: Kind, path: &str, found: &mut Vec<Named>, problems: &mut Problems) {
    match kind {
        Kind::Fields(table) => walk(tree, table, path, found, problems),
        Kind::Map(_, Kind::Fields(table)) => {
            for entry in tree.entries() {
                walk(&entry.value, table, &join(path, &entry.key), found, problems);
            }
        }
        Kind::OneOf(kinds) => {
            for kind in kinds.iter().filter(|k| matches!(k, Kind::Fields(_))) {
                inside(tree, *kind, path, found, problems);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "# é\nslipstream: 1\nkind: application\nname: a\nnodes:\n  wéb:\n    image: i\n  web:\n    image: i\n    deploy: { file: \"scripts/dé.sh\", within: 5m }\n    report:\n      # why\n      file: report.sh   # kept\n";

    #[test]
    fn files_are_listed_with_their_place() {
        let found = list(SOURCE).expect("fine");
        let shown: Vec<String> = found.iter().map(|f| format!("{} {} {}", f.at, f.path, f.file)).collect();
        assert_eq!(shown, ["10:21 nodes.web.deploy.file scripts/dé.sh", "13:13 nodes.web.report.file report.sh"]);
    }

    #[test]
    fn files_are_put_in_and_lines_keep_their_numbers() {
        let deploy = "#!/bin/sh\nset -eu\n\techo \"é: $x\" 'y' \\\n\n";
        let contents = [("scripts/dé.sh".to_owned(), deploy.to_owned()), ("report.sh".to_owned(), "true".to_owned())];
        let text = inline(SOURCE, &contents.into()).expect("fine");
        assert_eq!(text.lines().count(), SOURCE.lines().count());
        assert!(text.contains("run: \"true\"   # kept"), "{text}");
        let root = tree::read(&text, &mut Problems::default()).expect("YAML");
        let script = root.get("nodes").and_then(|n| n.get("web")).and_then(|w| w.get("deploy")).expect("there");
        assert_eq!(script.get("run").and_then(Tree::text), Some(deploy));
        assert_eq!(script.get("within").and_then(Tree::text), Some("5m"));
        assert_eq!(list(&text), Ok(vec![]));
    }

    #[test]
    fn files_elsewhere_missing_or_huge_are_refused() {
        let one = |file: &str| format!("kind: component\ndeploy: {{ file: {file} }}\n");
        for bad in ["/etc/passwd", "../x", "a/../../x", "a//b", "./x"] {
            assert_eq!(
                list(&one(bad)).expect_err(bad)[0].to_string(),
                format!("2:17: `{bad}` is not a file beside the module file (a relative path without `..`)")
            );
        }
        let missing = inline(&one("x.sh"), &BTreeMap::new()).expect_err("missing");
        assert_eq!(missing[0].to_string(), "2:17: there is no file `x.sh`");
        let huge = BTreeMap::from([("x.sh".to_owned(), "x".repeat(MAX_SOURCE))]);
        assert!(
            inline(&one("x.sh"), &huge).expect_err("huge")[0].message.starts_with("with its files the module has 10")
        );
    }
}
