//! Writes a tree, each key and item with the comments that belong to it.

use std::collections::BTreeMap;

use super::{
    comments::{self, Comment},
    of_key, one,
};
use crate::module::{
    fields::Kind,
    rewrite::{as_block, fits_block},
    tree::{Data, Entry, Tree},
};

/// What is on one line in the source stays so up to this width.
const WIDTH: usize = 120;
/// How far each level stands in.
const INDENT: usize = 2;

/// The whole file.
pub(super) fn document(source: &str, root: &Tree, kind: Kind) -> String {
    let printer = Printer::of(source, root);
    let mut out = String::new();
    for line in &printer.head {
        out += line;
        out.push('\n');
    }
    if !printer.head.is_empty() {
        out.push('\n');
    }
    printer.map(root.entries(), one(kind, root), 0, &mut out);
    for line in &printer.tail {
        out += line;
        out.push('\n');
    }
    out
}

/// Where an entry or an item of a list begins, and whether it is an item: one that is a map begins where its
/// first entry does, and comes first.
type Place = (usize, u8);
const ITEM: u8 = 0;
const ENTRY: u8 = 1;

/// What is written around an entry or an item.
#[derive(Debug, Default)]
struct Around {
    line: usize,
    column: usize,
    /// An empty line before it.
    blank: bool,
    /// Comments before it; an empty one is an empty line.
    lead: Vec<String>,
    /// The comment behind it, on its line.
    trail: Option<String>,
    /// Comments after it that are not about what follows.
    foot: Vec<String>,
}

struct Printer {
    chars: Vec<char>,
    around: BTreeMap<Place, Around>,
    /// Comments at the beginning of the file, apart from what follows.
    head: Vec<String>,
    /// Comments at its end.
    tail: Vec<String>,
}

impl Printer {
    fn of(source: &str, root: &Tree) -> Self {
        let chars: Vec<char> = source.chars().collect();
        let mut lines = vec![0];
        lines.extend(chars.iter().enumerate().filter(|(_, c)| **c == '\n').map(|(i, _)| i + 1));
        let mut printer = Printer { chars, around: BTreeMap::new(), head: Vec::new(), tail: Vec::new() };
        printer.places(root, &lines);
        for comment in comments::find(source, root) {
            printer.attach(comment, &lines);
        }
        printer.blanks(source, &lines);
        printer
    }

    /// Notes where all entries and items begin.
    fn places(&mut self, tree: &Tree, lines: &[usize]) {
        for entry in tree.entries() {
            self.place(entry.range.start, ENTRY, lines);
            self.places(&entry.value, lines);
        }
        for item in tree.items() {
            self.place(item.range.start, ITEM, lines);
            self.places(item, lines);
        }
    }

    fn place(&mut self, start: usize, what: u8, lines: &[usize]) {
        let line = line_of(start, lines);
        let dash = self.chars[lines[line]..start].iter().rposition(|c| *c == '-').filter(|_| what == ITEM);
        let column = dash.unwrap_or(start - lines[line]);
        self.around.insert((start, what), Around { line, column, ..Around::default() });
    }

    fn attach(&mut self, comment: Comment, lines: &[usize]) {
        let line = line_of(comment.start, lines);
        let column = comment.start - lines[line];
        let here = (comment.start, ITEM);
        if !comment.alone {
            let on_line = self.around.range(..here).find(|(_, around)| around.line == line).map(|(place, _)| *place);
            let place = on_line.or(self.around.range(..here).next_back().map(|(place, _)| *place));
            // `- key: value # why`: that is about the key.
            let entry = place.map(|(start, _)| (start, ENTRY)).filter(|entry| self.around.contains_key(entry));
            match entry.or(place).and_then(|place| self.around.get_mut(&place)) {
                Some(around) if around.trail.is_none() => around.trail = Some(comment.text),
                Some(around) => around.foot.push(comment.text),
                None => self.head.push(comment.text),
            }
            return;
        }
        match self.around.range_mut(here..).next() {
            Some((_, next)) if column <= next.column => {
                next.lead.push(comment.text);
                // An empty line behind it stays one: a comment may be about all that follows.
                let below = self.chars.get(lines.get(line + 1).copied().unwrap_or(self.chars.len())..);
                let mut below = below.unwrap_or_default().iter().take_while(|c| c.is_whitespace());
                if below.any(|c| *c == '\n') {
                    next.lead.push(String::new());
                }
            }
            None if column == 0 => self.tail.push(comment.text),
            _ => match self.around.range_mut(..here).rev().find(|(_, around)| around.column <= column) {
                Some((_, around)) => around.foot.push(comment.text),
                None => self.tail.push(comment.text),
            },
        }
    }

    /// Finds the empty lines, and what stands apart at the beginning.
    fn blanks(&mut self, source: &str, lines: &[usize]) {
        let texts: Vec<&str> = source.split('\n').collect();
        let comment = |line: usize| texts[line].trim_start().starts_with('#');
        for around in self.around.values_mut() {
            let mut first = around.line;
            let alone = self.chars[lines[first]..].iter().take(around.column).all(|c| *c == ' ');
            while alone
                && first > 0
                && !around.lead.is_empty()
                && (comment(first - 1) || texts[first - 1].trim().is_empty())
            {
                first -= 1;
            }
            // With comments the walk has gone over the empty line before the first of them.
            let before = if around.lead.is_empty() { first.checked_sub(1) } else { Some(first) };
            around.blank = alone && before.is_some_and(|line| texts[line].trim().is_empty());
        }
        if let Some(first) = self.around.values_mut().next()
            && let Some(end) = first.lead.iter().rposition(String::is_empty)
        {
            let rest = first.lead.split_off(end + 1);
            self.head.extend(std::mem::replace(&mut first.lead, rest));
            self.head.pop();
        }
    }

    fn of_entry(&self, entry: &Entry) -> &Around {
        &self.around[&(entry.range.start, ENTRY)]
    }

    fn of_item(&self, item: &Tree) -> &Around {
        &self.around[&(item.range.start, ITEM)]
    }

    /// Entries below each other.
    fn map(&self, entries: &[Entry], kind: Kind, indent: usize, out: &mut String) {
        let mut sorted: Vec<&Entry> = entries.iter().collect();
        sorted.sort_by_key(|entry| of_key(kind, &entry.key).1);
        for (i, entry) in sorted.into_iter().enumerate() {
            let around = self.of_entry(entry);
            before(around, i == 0, indent, out);
            let key = self.slice(&entry.range);
            let begin = format!("{:indent$}{key}:", "");
            *out += &begin;
            self.value(&entry.value, of_key(kind, &entry.key).0, around, indent, begin.chars().count(), out);
            after(around, indent, out);
        }
    }

    /// Items below each other.
    fn list(&self, items: &[Tree], kind: Kind, indent: usize, out: &mut String) {
        let item_kind = if let Kind::List(item) = kind { *item } else { Kind::Unread };
        for (i, item) in items.iter().enumerate() {
            let around = self.of_item(item);
            before(around, i == 0, indent, out);
            let entries = item.entries();
            let inline = self.inline(item, one(item_kind, item), indent + INDENT);
            if entries.is_empty() || inline.is_some() {
                *out += &format!("{:indent$}-", "");
                self.value(item, item_kind, around, indent, indent + 1, out);
            } else {
                let mut map = String::new();
                self.map(entries, one(item_kind, item), indent + INDENT, &mut map);
                match &around.trail {
                    None if !map.trim_start().starts_with('#') => {
                        *out += &format!("{:indent$}- {}", "", map.trim_start());
                    }
                    trail => *out += &format!("{:indent$}-{}\n{map}", "", behind(trail.as_ref())),
                }
            }
            after(around, indent, out);
        }
    }

    /// What stands behind a key or a dash that ends at `column`, and the rest of its lines.
    fn value(&self, tree: &Tree, kind: Kind, around: &Around, indent: usize, column: usize, out: &mut String) {
        let kind = one(kind, tree);
        let trail = behind(around.trail.as_ref());
        if let Some(line) = self.inline(tree, kind, column) {
            let space = if line.is_empty() { "" } else { " " };
            *out += &format!("{space}{line}{trail}\n");
            return;
        }
        match &tree.data {
            Data::Map(entries) => {
                *out += &format!("{trail}\n");
                self.map(entries, kind, indent + INDENT, out);
            }
            Data::List(items) => {
                *out += &format!("{trail}\n");
                self.list(items, kind, indent + INDENT, out);
            }
            Data::Null | Data::Text(_) => {
                let block = self.block(tree, indent + INDENT);
                let (sign, body) = block.split_once('\n').unwrap_or((&block, ""));
                *out += &format!(" {sign}{trail}\n{body}");
            }
        }
    }

    /// A value on one line, where it is one and fits behind what takes `column` characters.
    fn inline(&self, tree: &Tree, kind: Kind, column: usize) -> Option<String> {
        let line = match &tree.data {
            Data::Map(entries) if entries.is_empty() => "{}".to_owned(),
            Data::List(items) if items.is_empty() => "[]".to_owned(),
            Data::Null | Data::Text(_) => return self.scalar(tree),
            Data::Map(_) | Data::List(_) => {
                let flow = matches!(self.chars.get(tree.range.start), Some('{' | '['));
                flow.then(|| self.flow(tree, kind)).flatten()?
            }
        };
        (column + 1 + line.chars().count() <= WIDTH).then_some(line)
    }

    fn flow(&self, tree: &Tree, kind: Kind) -> Option<String> {
        let kind = one(kind, tree);
        let bare = |around: &Around| around.lead.is_empty() && around.trail.is_none() && around.foot.is_empty();
        let of = |tree: &Tree, kind| {
            if tree.entries().is_empty() && tree.items().is_empty() {
                self.inline(tree, kind, 0)
            } else {
                self.flow(tree, kind)
            }
        };
        match &tree.data {
            Data::Map(entries) => {
                let mut sorted: Vec<&Entry> = entries.iter().collect();
                sorted.sort_by_key(|entry| of_key(kind, &entry.key).1);
                let entries = sorted.into_iter().map(|entry| {
                    let value = of(&entry.value, of_key(kind, &entry.key).0)?;
                    bare(self.of_entry(entry)).then(|| format!("{}: {value}", self.slice(&entry.range)))
                });
                Some(format!("{{ {} }}", entries.collect::<Option<Vec<_>>>()?.join(", ")))
            }
            Data::List(items) => {
                let item_kind = if let Kind::List(item) = kind { *item } else { Kind::Unread };
                let items = items.iter().map(|item| of(item, item_kind).filter(|_| bare(self.of_item(item))));
                Some(format!("[ {} ]", items.collect::<Option<Vec<_>>>()?.join(", ")))
            }
            Data::Null | Data::Text(_) => self.scalar(tree),
        }
    }

    /// A text as it is written, where that is on one line.
    fn scalar(&self, tree: &Tree) -> Option<String> {
        if self.sign(tree).is_some() {
            return None;
        }
        // The parser counts spaces behind quotes too.
        let written = self.slice(&tree.range).trim_end().to_owned();
        match tree.text() {
            Some(text) if written.contains('\n') => {
                let plain = !written.starts_with(['"', '\'']);
                let one_line = || if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() };
                (!text.contains('\n')).then(one_line)
            }
            _ => Some(written),
        }
    }

    /// A text of several lines: its sign, and its lines at `indent`.
    fn block(&self, tree: &Tree, indent: usize) -> String {
        let text = tree.text().unwrap_or_default();
        let sign = self.sign(tree);
        if !sign.as_ref().is_some_and(|sign| sign.starts_with('>')) && fits_block(text) {
            return as_block(text, indent);
        }
        let Some(sign) = sign else { return serde_json::Value::from(text).to_string() };
        let start = tree.range.start;
        let line = start - self.chars[..start].iter().rev().take_while(|c| **c != '\n').count();
        let written: String = self.chars[line..tree.range.end].iter().collect();
        let lines: Vec<&str> = written.trim_end().split('\n').collect();
        let inner = |text: &str| text.len() - text.trim_start_matches(' ').len();
        let least = lines.iter().filter(|l| !l.trim().is_empty()).map(|l| inner(l)).min().unwrap_or_default();
        let lines = lines.iter().map(|l| match l.get(least..).map(str::trim_end) {
            None | Some("") => "\n".to_owned(),
            Some(rest) => format!("{:indent$}{rest}\n", ""),
        });
        format!("{sign}\n{}", lines.collect::<String>())
    }

    /// The sign of a block, such as `>-`; none for other texts.
    fn sign(&self, tree: &Tree) -> Option<String> {
        let start = tree.range.start;
        let above = self.chars[..start].iter().rposition(|c| *c == '\n')?;
        if !self.chars[above..start].iter().all(|c| c.is_whitespace()) {
            return None;
        }
        let head = self.chars[..above].iter().rposition(|c| *c == '\n').map_or(0, |i| i + 1);
        let mut head: String = self.chars[head..above].iter().collect();
        if let Some(comment) = head.find(" #") {
            head.truncate(comment);
        }
        let head = head.trim_end();
        let at = head.rfind(['|', '>'])?;
        let tail = &head[at + 1..];
        (tail.len() <= 2
            && tail.chars().all(|c| matches!(c, '+' | '-' | '1'..='9'))
            && head[..at].ends_with([' ', '\t']))
        .then(|| head[at..].chars().filter(|c| !c.is_ascii_digit()).collect())
    }

    fn slice(&self, range: &std::ops::Range<usize>) -> String {
        self.chars[range.clone()].iter().collect()
    }
}

fn line_of(start: usize, lines: &[usize]) -> usize {
    lines.partition_point(|line| *line <= start) - 1
}

fn before(around: &Around, first: bool, indent: usize, out: &mut String) {
    if around.blank && !first {
        out.push('\n');
    }
    comments(&around.lead, indent, out);
}

fn after(around: &Around, indent: usize, out: &mut String) {
    comments(&around.foot, indent, out);
}

fn comments(lines: &[String], indent: usize, out: &mut String) {
    for line in lines {
        *out += &if line.is_empty() { "\n".to_owned() } else { format!("{:indent$}{line}\n", "") };
    }
}

fn behind(trail: Option<&String>) -> String {
    trail.map(|trail| format!(" {trail}")).unwrap_or_default()
}
