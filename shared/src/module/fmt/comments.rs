//! The comments of a module file, which the tree knows nothing of.

use std::ops::Range;

use crate::module::tree::{Data, Tree};

/// A comment, from its `#` to the end of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comment {
    /// With its `#`, without spaces behind it.
    pub(super) text: String,
    /// Where it begins, in characters.
    pub(super) start: usize,
    /// Nothing stands before it on its line.
    pub(super) alone: bool,
}

/// All comments, in their order. Outside of texts and keys a `#` begins one.
pub(super) fn find(source: &str, tree: &Tree) -> Vec<Comment> {
    let mut texts = Vec::new();
    ranges(tree, &mut texts);
    texts.sort_by_key(|range| range.start);
    let chars: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut texts) = (0, texts.into_iter().peekable());
    while at < chars.len() {
        if let Some(text) = texts.next_if(|text| text.start <= at) {
            at = at.max(text.end);
        } else if chars[at] == '#' && (at == 0 || chars[at - 1].is_whitespace()) {
            let end = chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length);
            let before = chars[..at].iter().rev().take_while(|c| **c != '\n');
            let text: String = chars[at..end].iter().collect();
            let alone = before.into_iter().all(|c| c.is_whitespace());
            found.push(Comment { text: text.trim_end().to_owned(), start: at, alone });
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

/// The characters that keys and texts take.
fn ranges(tree: &Tree, all: &mut Vec<Range<usize>>) {
    match &tree.data {
        Data::Null | Data::Text(_) => all.push(tree.range.clone()),
        Data::List(items) => items.iter().for_each(|item| ranges(item, all)),
        Data::Map(entries) => {
            for entry in entries {
                all.push(entry.range.clone());
                ranges(&entry.value, all);
            }
        }
    }
}
