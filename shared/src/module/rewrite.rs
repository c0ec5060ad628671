//! Puts another text in the place of one value of a module file; all else stays as it is, comments included.

use super::{
    problem::Problems,
    tree::{self, BYTE_ORDER_MARK, Data, Entry, Tree},
};

/// How far a block stands behind its key.
const INDENT: usize = 2;

/// The module file with `text` as the value of the key at `path`, such as `["nodes", "web", "deploy"]`. Where
/// the value is a map, as scripts may be, its `run` is meant.
///
/// # Errors
/// There is no such key, or the file is written in a way that this does not understand; says so.
pub fn replace(source: &str, path: &[&str], text: &str) -> Result<String, String> {
    let source = source.strip_prefix(BYTE_ORDER_MARK).unwrap_or(source);
    let shown = path.join(".");
    let root = read(source).ok_or_else(|| "the module file cannot be read".to_owned())?;
    let entry = find(&root, path).ok_or_else(|| format!("the module file has no `{shown}`"))?;
    let (from, to) = value_of(source, entry).ok_or_else(|| format!("`{shown}` cannot be found in its line"))?;
    let block = source[from..].starts_with(['|', '>']);
    let new = if block && fits_block(text) {
        as_block(text, column_of(entry) + INDENT)
    } else if block {
        // A JSON string is a YAML one too, whatever is in it.
        format!("{}\n", serde_json::Value::from(text))
    } else {
        serde_json::Value::from(text).to_string()
    };
    let replaced = [&source[..from], &new, &source[to..]].concat();
    // Whatever was written there: it has to read back as what was meant, and nothing else may have moved.
    let meant = read(&replaced).filter(|new| find(new, path).and_then(|e| e.value.text()) == Some(text));
    match meant {
        Some(new) if same_but(&root, &new, path) => Ok(replaced),
        _ => Err(format!("`{shown}` is written in a way that cannot be replaced: write it as a block (`|`)")),
    }
}

fn read(source: &str) -> Option<Tree> {
    let mut problems = Problems::default();
    tree::read(source, &mut problems).filter(|_| problems.is_empty())
}

fn find<'a>(tree: &'a Tree, path: &[&str]) -> Option<&'a Entry> {
    let (first, rest) = path.split_first()?;
    let entry = tree.entries().iter().find(|entry| entry.key == *first)?;
    match rest {
        [] if matches!(entry.value.data, Data::Map(_)) => find(&entry.value, &["run"]),
        [] => Some(entry),
        rest => find(&entry.value, rest),
    }
}

/// From where to where the value stands, in bytes: a block from its sign to the end of its last line.
pub(super) fn value_of(source: &str, entry: &Entry) -> Option<(usize, usize)> {
    let starts: Vec<usize> = std::iter::once(0).chain(source.match_indices('\n').map(|(i, _)| i + 1)).collect();
    let line = usize::try_from(entry.at.line).ok()?.checked_sub(1)?;
    let start = *starts.get(line)?;
    let end = |line: usize| starts.get(line + 1).copied().unwrap_or(source.len());
    let byte = |char: usize| source.char_indices().nth(char).map_or(source.len(), |(i, _)| i);
    let after_key = byte(entry.range.end);
    let rest = source.get(after_key..end(line))?;
    let sign = rest.find(|c: char| !matches!(c, ':' | ' ' | '"' | '\''))?;
    let from = after_key + sign;
    if !source[from..].starts_with(['|', '>']) {
        return Some((byte(entry.value.range.start), byte(entry.value.range.end)));
    }
    let column = column_of(entry);
    let belongs = |text: &str| text.trim().is_empty() || text.len() - text.trim_start_matches(' ').len() > column;
    let mut last = line;
    for next in line + 1..starts.len() {
        let text = &source[starts[next]..end(next)];
        if !belongs(text) {
            break;
        }
        if !text.trim().is_empty() {
            last = next;
        }
    }
    (start <= from).then(|| (from, end(last)))
}

/// How many characters stand before a key.
fn column_of(entry: &Entry) -> usize {
    usize::try_from(entry.at.column).unwrap_or(usize::MAX).saturating_sub(1)
}

/// True for text that a block can hold as it is.
pub(super) fn fits_block(text: &str) -> bool {
    let odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    !text.trim().is_empty() && !text.starts_with([' ', '\t', '\n']) && !text.contains(odd) && !text.ends_with("\n\n")
}

pub(super) fn as_block(text: &str, indent: usize) -> String {
    let (sign, body) = match text.strip_suffix('\n') {
        Some(body) => ("|", body),
        None => ("|-", text),
    };
    let lines = body.split('\n').map(|line| match line {
        "" => "\n".to_owned(),
        line => format!("{:indent$}{line}\n", ""),
    });
    format!("{sign}\n{}", lines.collect::<String>())
}

/// True where two trees say the same but for the value at `path`.
fn same_but(old: &Tree, new: &Tree, path: &[&str]) -> bool {
    match (&old.data, &new.data, path) {
        (Data::Map(_), Data::Text(_), []) => false,
        (Data::Map(old), Data::Map(new), path) => {
            let (first, rest) = path.split_first().map_or((&"run", &[][..]), |(first, rest)| (first, rest));
            old.len() == new.len()
                && old.iter().zip(new).all(|(old, new)| {
                    old.key == new.key
                        && if old.key == *first {
                            same_but(&old.value, &new.value, rest)
                        } else {
                            old.value.same(&new.value)
                        }
                })
        }
        (_, _, []) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "kind: application # what it is\nname: a/b\nnodes:\n  web:\n    deploy: |\n      one\n\n      two\n\n    # said before\n    report: \
                          echo done # here\n  db: { deploy: \"x\", image: i }\n  last:\n    deploy:\n      run: >-\n        folded\n        text\n      within: 5m\n";

    #[test]
    fn only_the_value_changes_and_reads_back() {
        let script = "#!/bin/sh -e\n# new\nif true; then\n\techo \"a: b\"\nfi\n";
        for path in [
            ["nodes", "web", "deploy"],
            ["nodes", "web", "report"],
            ["nodes", "db", "deploy"],
            ["nodes", "last", "deploy"],
        ] {
            for text in [script, "one line", " \u{1}odd\n\n"] {
                let new = replace(SOURCE, &path, text).unwrap_or_else(|e| panic!("{path:?} {text:?}: {e}"));
                let tree = read(&new).expect("readable");
                assert_eq!(find(&tree, &path).and_then(|e| e.value.text()), Some(text), "{new}");
                assert!(new.starts_with("kind: application # what it is\n"), "{new}");
                assert!(new.contains("# said before"), "{new}");
            }
        }
        let new = replace(SOURCE, &["nodes", "web", "deploy"], "three\n").expect("replaced");
        assert!(new.contains("    deploy: |\n      three\n\n    # said before\n"), "{new}");
        let renamed = replace(SOURCE, &["name"], "c/d").expect("replaced");
        assert!(renamed.contains("\nname: \"c/d\"\n"), "{renamed}");
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert_eq!(
            replace(SOURCE, &["nodes", "web", "install"], "x").unwrap_err(),
            "the module file has no `nodes.web.install`"
        );
        assert_eq!(replace("{", &["name"], "x").unwrap_err(), "the module file cannot be read");
    }
}
