//! Text as a tree in which each key and value knows its place.
//!
//! YAML 1.2, and so JSON too; and TOML.  Left out on purpose, each with its own message: anchors and aliases (a
//! short file can unfold to gigabytes), tags, several documents, keys that are not text.
//!
//! Everything is text here: whether `8080` is a number or a name is for the declared type to say.

use std::{collections::HashMap, ops::Range};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::{
    problem::{Position, Problems, join},
    toml,
};

/// The longest module file, in bytes: with its author and comment it must fit a record of the store.
pub const MAX_SOURCE: usize = 1024 * 1024 - 16 * 1024;
/// How deep values may be nested.
pub const MAX_DEPTH: usize = 32;
/// How many values a file may have.
const MAX_VALUES: usize = 50_000;
/// How many entries a map may have: checks look at each name from each other.
pub(super) const MAX_ENTRIES: usize = 1000;

/// What some editors begin a file with; it is not part of the text.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Where it begins; for a value left out, where its key is.
    pub at: Position,
    /// What it is.
    pub data: Data,
    /// The characters of the file it takes, from and to.
    pub range: Range<usize>,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Nothing: left out, `~` or `null`.
    Null,
    /// Text, quoted or not.
    Text(String),
    /// Values in order.
    List(Vec<Tree>),
    /// Keys and values in the order of the file; no key twice.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key is.
    pub at: Position,
    /// The characters of the file the key takes.
    pub range: Range<usize>,
    /// The value.
    pub value: Tree,
}

impl Tree {
    /// The text, where it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries, where it is a map; none otherwise.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items, where it is a list; none otherwise.
    #[must_use]
    pub fn items(&self) -> &[Tree] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Tree> {
        self.entries().iter().find(|e| e.key == key).map(|e| &e.value)
    }

    /// True where both say the same, wherever they stand; the order of keys says nothing.
    #[must_use]
    pub fn same(&self, other: &Tree) -> bool {
        match (&self.data, &other.data) {
            (Data::Map(old), Data::Map(new)) => {
                old.len() == new.len() && old.iter().all(|a| other.get(&a.key).is_some_and(|b| a.value.same(b)))
            }
            (Data::List(old), Data::List(new)) => old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.same(b)),
            (old, new) => old == new,
        }
    }

    /// What it is, in a word for messages.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self.data {
            Data::Null => "nothing",
            Data::Text(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
        }
    }
}

/// Reads a file. What is wrong is added to `problems`; where the text is not YAML at all, or is empty,
/// there is no tree.
pub fn read(source: &str, problems: &mut Problems) -> Option<Tree> {
    if source.len() > MAX_SOURCE {
        let message = format!("the file has {} bytes, the limit is {MAX_SOURCE}", source.len());
        problems.add(Position::START, "", message, None);
        return None;
    }
    let source = source.strip_prefix(BYTE_ORDER_MARK).unwrap_or(source);
    if let Some(at) = control_character(source) {
        problems.add(at, "", "a control character that text does not have", None);
        return None;
    }
    let mut builder = Builder { problems, stack: Vec::new(), root: None, values: 0 };
    let whole = if toml::is_toml(source) { toml::feed(source, &mut builder) } else { yaml(source, &mut builder) };
    if !whole {
        return None;
    }
    let root = builder.root;
    if root.is_none() {
        problems.add(Position::START, "", "the file is empty", None);
    }
    root
}

/// Hands the whole text to the builder; false when reading is of no use.
fn yaml(source: &str, builder: &mut Builder<'_>) -> bool {
    let mut parser = Parser::new_from_str(source);
    while let Some(event) = parser.next_event() {
        let going_on = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                let hint = tab_hint(source, error.marker());
                builder.problem(place(*error.marker()), format!("this is not YAML: {}", error.info()), hint);
                false
            }
        };
        if !going_on {
            return false;
        }
    }
    true
}

fn place(marker: Marker) -> Position {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Position { line: small(marker.line()), column: small(marker.col() + 1) }
}

fn control_character(source: &str) -> Option<Position> {
    let bad = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    let at = source.find(bad)?;
    let before = &source[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count());
    Some(place(Marker::new(at, line, column)))
}

/// Tabs are the usual reason why a file that looks right is not YAML. The mistake may show only when the
/// scanner looks ahead from the line before.
fn tab_hint(source: &str, marker: &Marker) -> Option<String> {
    let mut near = source.lines().skip(marker.line().saturating_sub(1)).take(2);
    let indented = near.any(|line| line[..line.len() - line.trim_start().len()].contains('\t'));
    indented.then(|| "indent with spaces, not tabs".to_owned())
}

/// A list or map that is still being read.
enum Open {
    List { start: Span, items: Vec<Tree> },
    Map { start: Span, entries: Vec<Entry>, seen: HashMap<String, Position>, key: Option<Pending> },
}

/// A key whose value comes next. `keep` is false where the entry is refused.
struct Pending {
    text: String,
    at: Position,
    range: Range<usize>,
    keep: bool,
}

/// Makes the tree of events, whatever they were read from.
pub(super) struct Builder<'p> {
    problems: &'p mut Problems,
    stack: Vec<Open>,
    root: Option<Tree>,
    values: usize,
}

impl Builder<'_> {
    /// Takes the next event; false when reading is of no use any more.
    pub(super) fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                self.problem(place(span.start), "a second document begins here; a file is one module".to_owned(), None);
                return false;
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse(span, anchor, tag.is_some());
                let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let data = if null { Data::Null } else { Data::Text(text.into_owned()) };
                return self.done(Tree { at: place(span.start), data, range: span.start.index()..span.end.index() });
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse(span, anchor, tag.is_some());
                return self.open(Open::List { start: span, items: Vec::new() }, span);
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse(span, anchor, tag.is_some());
                let seen = HashMap::new();
                return self.open(Open::Map { start: span, entries: Vec::new(), seen, key: None }, span);
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close(span),
            Event::Alias(_) => {
                let message = "aliases (`*name`) are not read: write the value again".to_owned();
                self.problem(place(span.start), message, None);
                return self.done(Tree {
                    at: place(span.start),
                    data: Data::Null,
                    range: span.start.index()..span.end.index(),
                });
            }
            _ => {}
        }
        true
    }

    /// The text itself is not what it should be.
    pub(super) fn unreadable(&mut self, at: &Marker, message: &str) {
        self.problem(place(*at), message.to_owned(), None);
    }

    fn refuse(&mut self, span: Span, anchor: usize, tag: bool) {
        if anchor != 0 {
            self.problem(place(span.start), "anchors (`&name`) are not read: write the value again".to_owned(), None);
        }
        if tag {
            let message = "tags (`!name`) are not read: the key says what its value is".to_owned();
            self.problem(place(span.start), message, None);
        }
    }

    fn open(&mut self, open: Open, span: Span) -> bool {
        if self.stack.len() >= MAX_DEPTH {
            self.problem(place(span.start), format!("this is nested deeper than {MAX_DEPTH} levels"), None);
            return false;
        }
        self.stack.push(open);
        true
    }

    fn close(&mut self, end: Span) -> bool {
        let Some(open) = self.stack.pop() else { return false };
        let (start, data) = match open {
            Open::List { start, items } => (start, Data::List(items)),
            Open::Map { start, entries, .. } => (start, Data::Map(entries)),
        };
        self.done(Tree { at: place(start.start), data, range: start.start.index()..end.end.index() })
    }

    /// A value is complete: it belongs to what is open.
    fn done(&mut self, mut value: Tree) -> bool {
        self.values += 1;
        if self.values > MAX_VALUES {
            self.problem(value.at, format!("the file has more than {MAX_VALUES} values"), None);
            return false;
        }
        if value.text().is_some_and(|text| text.contains('\0')) {
            self.problem(value.at, "a NUL character that text does not have".to_owned(), None);
        }
        match self.stack.last_mut() {
            None => self.root = Some(value),
            Some(Open::List { items, .. }) => items.push(value),
            Some(Open::Map { key: key @ None, .. }) if value.text().is_none() => {
                *key = Some(Pending { text: String::new(), at: value.at, range: value.range.clone(), keep: false });
                self.problem(value.at, format!("a key is text, not {}", value.describe()), None);
            }
            Some(Open::Map { key: pending @ None, seen, .. }) => {
                let text = value.text().unwrap_or_default().to_owned();
                let first = seen.get(&text).copied();
                seen.entry(text.clone()).or_insert(value.at);
                *pending =
                    Some(Pending { text: text.clone(), at: value.at, range: value.range, keep: first.is_none() });
                if let Some(first) = first {
                    self.problem(
                        value.at,
                        format!("the key `{text}` is here twice"),
                        Some(format!("first at {first}")),
                    );
                }
            }
            Some(Open::Map { entries, .. }) if entries.len() == MAX_ENTRIES => {
                self.problem(value.at, format!("a map has at most {MAX_ENTRIES} entries"), None);
                return false;
            }
            Some(Open::Map { key, entries, .. }) => {
                if let Some(key) = key.take()
                    && key.keep
                {
                    if value.data == Data::Null {
                        value.at = key.at;
                    }
                    entries.push(Entry { key: key.text, at: key.at, range: key.range, value });
                }
            }
        }
        true
    }

    fn problem(&mut self, at: Position, message: String, hint: Option<String>) {
        let mut path = String::new();
        for open in &self.stack {
            match open {
                Open::List { items, .. } => path.push_str(&format!("[{}]", items.len())),
                Open::Map { key: Some(key), .. } => path = join(&path, &key.text),
                Open::Map { .. } => {}
            }
        }
        self.problems.add(at, &path, message, hint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(source: &str) -> Vec<String> {
        let mut problems = Problems::default();
        let _ = read(source, &mut problems);
        problems.sorted().iter().map(|p| format!("{}|{}", p.path, p)).collect()
    }

    #[test]
    fn keys_and_values_know_their_place() {
        let mut problems = Problems::default();
        let tree = read("a: 1\nnodes:\n  wéb: { count: 2 }\n  db:\nlist:\n- x\n", &mut problems).expect("YAML");
        assert!(problems.is_empty());
        let web = tree.get("nodes").and_then(|n| n.get("wéb")).and_then(|w| w.get("count")).expect("there");
        assert_eq!((web.at, web.text()), (Position { line: 3, column: 17 }, Some("2")));
        let db = tree.get("nodes").and_then(|n| n.get("db")).expect("there");
        assert_eq!((db.at, &db.data), (Position { line: 4, column: 3 }, &Data::Null));
        assert_eq!(tree.get("list").map(|l| l.items().len()), Some(1));
    }

    #[test]
    fn json_is_read_the_same_way() {
        let mut problems = Problems::default();
        let tree = read(r#"{"a": {"b": ["x", 2, null]}, "c": "é\n"}"#, &mut problems).expect("JSON");
        assert!(problems.is_empty());
        assert_eq!(tree.get("c").and_then(Tree::text), Some("é\n"));
        assert_eq!(tree.get("a").and_then(|a| a.get("b")).map(|b| b.items().len()), Some(3));
    }

    #[test]
    fn what_is_left_out_of_yaml_is_named() {
        for (source, shown) in [
            ("", "|1:1: the file is empty"),
            ("# nothing\n", "|1:1: the file is empty"),
            ("a: 1\na: 2\n", "a|2:1: the key `a` is here twice (first at 1:1)"),
            ("n: { a: 1, a: 2 }\n", "n.a|1:12: the key `a` is here twice (first at 1:6)"),
            ("a: &x 1\n", "a|1:7: anchors (`&name`) are not read: write the value again"),
            ("a: !!str 1\n", "a|1:10: tags (`!name`) are not read: the key says what its value is"),
            ("a: 1\n---\nb: 2\n", "|2:1: a second document begins here; a file is one module"),
            ("[a]: 1\n", "|1:1: a key is text, not a list"),
            ("a: \"x\\0y\"\n", "a|1:4: a NUL character that text does not have"),
            ("a: x\u{1}y\n", "|1:5: a control character that text does not have"),
        ] {
            assert_eq!(errors(source).first().map(String::as_str), Some(shown), "{source}");
        }
        assert_eq!(errors("a: &x 1\nb: *x\n").len(), 2);
        assert!(errors("a: &x 1\nb: *x\n")[1].contains("aliases (`*name`) are not read: write the value again"));
    }

    #[test]
    fn broken_yaml_is_reported_where_it_breaks() {
        let found = errors("a: 1\nb: [1, 2\nc: 3\n");
        assert!(found[0].contains("this is not YAML: "), "{found:?}");
        let found = errors("a:\n  b: 1\n\tc: 2\n");
        assert!(found[0].contains("indent with spaces, not tabs"), "{found:?}");
    }

    #[test]
    fn size_depth_and_number_are_limited() {
        let deep = "[".repeat(MAX_DEPTH + 1);
        assert!(errors(&deep)[0].contains("nested deeper than 32 levels"));
        let deep: String = (0..40).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        assert!(errors(&deep)[0].contains("nested deeper than 32 levels"));
        let many = format!("a: [{}]", "1,".repeat(MAX_VALUES + 1));
        assert!(errors(&many)[0].contains("more than 50000 values"));
        let many: String = (0..=MAX_ENTRIES).map(|i| format!("  a{i}: x\n")).collect();
        assert_eq!(errors(&format!("a:\n{many}")), ["a.a1000|1002:10: a map has at most 1000 entries"]);
        let large = "#".repeat(MAX_SOURCE + 1);
        assert_eq!(errors(&large), ["|1:1: the file has 1032193 bytes, the limit is 1032192"]);
    }
}
