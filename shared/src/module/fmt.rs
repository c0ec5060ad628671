//! Module files in one form: keys in the order of the table, two spaces, comments kept.
//!
//! What people have put on one line (`{ tcp: 80 }`) stays on one line while it fits; names they chose keep
//! their order. Whatever comes out is read again: it has to say the same and to have all comments, or the
//! file is left alone. YAML and JSON; TOML is not written.

mod comments;
mod print;

use super::{
    build::table_of,
    fields::Kind,
    problem::{Problem, Problems},
    schema,
    shape::fits,
    toml::is_toml,
    tree::{self, BYTE_ORDER_MARK, Data, Tree},
};

/// Why a file was not formatted. It stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFormatted {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(Vec<Problem>),
    /// It is written in a way that cannot be kept.
    #[error("{0}")]
    Unusual(&'static str),
}

/// The file in its one form. Doing it again changes nothing.
///
/// # Errors
/// [`NotFormatted`].
pub fn format(source: &str) -> Result<String, NotFormatted> {
    let source = source.strip_prefix(BYTE_ORDER_MARK).unwrap_or(source).replace("\r\n", "\n");
    if is_toml(&source) {
        return Err(NotFormatted::Unusual("it is TOML, and only YAML and JSON are formatted"));
    }
    let old = read(&source)?;
    let mut text = printed(&source, &old)?;
    // Odd blank lines may need a second time until nothing moves any more.
    for _ in 0..ROUNDS {
        let tree = read(&text).map_err(|_| UNUSUAL)?;
        let again = printed(&text, &tree)?;
        if again == text {
            let all = |source: &str, tree: &Tree| {
                let mut all: Vec<String> = comments::find(source, tree).into_iter().map(|c| c.text).collect();
                all.sort();
                all
            };
            return if old.same(&tree) && all(&source, &old) == all(&text, &tree) { Ok(text) } else { Err(UNUSUAL) };
        }
        text = again;
    }
    Err(UNUSUAL)
}

fn printed(source: &str, tree: &Tree) -> Result<String, NotFormatted> {
    let kind = Kind::Fields(table_of(tree));
    match serde_json::from_str::<serde_json::Value>(source) {
        Ok(_) => Ok(serde_json::to_string_pretty(&schema::json(&sorted(tree, kind))).map_err(|_| UNUSUAL)? + "\n"),
        Err(_) => Ok(print::document(source, tree, kind)),
    }
}

/// How often a text is printed until it stays as it is.
const ROUNDS: u32 = 4;
const UNUSUAL: NotFormatted =
    NotFormatted::Unusual("it is written in a way that this cannot put into order without a change of what it says");

fn read(source: &str) -> Result<Tree, NotFormatted> {
    let mut problems = Problems::default();
    match tree::read(source, &mut problems) {
        Some(tree) if problems.is_empty() => Ok(tree),
        _ => Err(NotFormatted::Unreadable(problems.sorted())),
    }
}

/// The kind of a value, where several are possible the one that fits.
fn one(kind: Kind, tree: &Tree) -> Kind {
    match kind {
        Kind::OneOf(kinds) => *kinds.iter().find(|kind| fits(**kind, &tree.data)).unwrap_or(&Kind::Unread),
        kind => kind,
    }
}

/// The kind of the value of a key, and its place among the others; names that people choose have none.
fn of_key(kind: Kind, key: &str) -> (Kind, usize) {
    match kind {
        Kind::Fields(table) => match table.fields().position(|field| field.key == key) {
            Some(place) => (table.field(key).map_or(Kind::Unread, |field| field.kind), place),
            None => (Kind::Unread, usize::MAX),
        },
        Kind::Map(_, item) => (*item, 0),
        _ => (Kind::Unread, 0),
    }
}

/// The tree with its keys in the order of the table.
fn sorted(tree: &Tree, kind: Kind) -> Tree {
    let kind = one(kind, tree);
    let data = match &tree.data {
        Data::Map(entries) => {
            let mut entries = entries.clone();
            entries.sort_by_key(|entry| of_key(kind, &entry.key).1);
            for entry in &mut entries {
                entry.value = sorted(&entry.value, of_key(kind, &entry.key).0);
            }
            Data::Map(entries)
        }
        Data::List(items) => {
            let item = if let Kind::List(item) = kind { *item } else { Kind::Unread };
            Data::List(items.iter().map(|tree| sorted(tree, item)).collect())
        }
        data => data.clone(),
    };
    Tree { data, ..tree.clone() }
}

#[cfg(test)]
mod tests;
