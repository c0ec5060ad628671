//! What is known of modules without reading their text: `modules/<path>` in the store, and the words they are
//! found by.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use slipstream_shared::{
    api::{ModuleGone, ModuleInfo},
    brief::bounded,
    module::Module,
};

use super::{CatalogueError, Seen};
use crate::{
    seam::Millis,
    store::{Batch, layout},
};

/// The most bytes of a description that lists show, and that is searched.
const DESCRIPTION: usize = 2000;
/// The most tags and the most words of a module that it is found by, and the most bytes of each.
const TAGS: usize = 50;
const WORDS: usize = 200;
const WORD: usize = 60;

/// What is known of a version without reading its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heading {
    /// Counts the versions of a path, from 1.
    pub version: u32,
    /// `project`, `image`, `component` or `application`.
    pub kind: String,
    /// Its title, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Who saved it.
    pub author: String,
    /// Why, in the author's words; often empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// When.
    pub at: Millis,
}

/// What is known of a module: its newest version, and what was done to the module as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its newest version.
    #[serde(flatten)]
    pub heading: Heading,
    /// The version that `@published` means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<u32>,
    /// Its end, where it was deleted or moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<ModuleGone>,
    /// What it is for; a long text is cut.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Address of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo: Option<String>,
}

impl Heading {
    /// That of a version of a module.
    pub(super) fn of(module: &Module, version: u32, author: &str, comment: &str, at: Millis) -> Self {
        let (kind, title) = (module.kind().to_owned(), module.title.clone());
        Heading { version, kind, title, author: author.to_owned(), comment: comment.to_owned(), at }
    }

    /// As the API shows it in lists.
    #[must_use]
    pub fn info(&self, path: &str) -> ModuleInfo {
        ModuleInfo {
            path: path.to_owned(),
            version: self.version,
            kind: self.kind.clone(),
            title: self.title.clone(),
            author: self.author.clone(),
            at: time(self.at),
            comment: self.comment.clone(),
            published: None,
            description: String::new(),
            tags: Vec::new(),
            logo: None,
            gone: None,
            source: None,
        }
    }
}

impl Head {
    /// That of a module whose newest version has this heading.
    pub(super) fn of(heading: Heading, module: &Module) -> Self {
        let tags = module.tags.iter().take(TAGS).map(|tag| bounded(tag, WORD)).collect();
        let description = bounded(module.description.as_deref().unwrap_or_default(), DESCRIPTION);
        let logo = module.logo.as_deref().map(|logo| bounded(logo, DESCRIPTION));
        Head { heading, published: None, gone: None, description, tags, logo }
    }

    /// As the API shows it in lists.
    #[must_use]
    pub fn info(&self, path: &str) -> ModuleInfo {
        ModuleInfo {
            published: self.published,
            description: self.description.clone(),
            tags: self.tags.clone(),
            logo: self.logo.clone(),
            gone: self.gone.clone(),
            ..self.heading.info(path)
        }
    }

    /// The words it is found by: none where it is gone. A tag as a whole begins with `#`.
    pub(super) fn words(&self, path: &str) -> BTreeSet<String> {
        if self.gone.is_some() {
            return BTreeSet::new();
        }
        let texts = [path, self.heading.title.as_deref().unwrap_or_default(), &self.description];
        let tags = self.tags.iter().map(|tag| tag_word(tag));
        let text = texts.into_iter().chain(self.tags.iter().map(String::as_str)).flat_map(words);
        tags.chain(text).take(WORDS).collect()
    }
}

/// The words of a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(|word| cut(&word.to_lowercase()))
}

/// The word for a tag as a whole.
pub(super) fn tag_word(tag: &str) -> String {
    cut(&format!("#{}", tag.to_lowercase().replace('\0', "")))
}

/// The beginning of a word, short enough for a key.
fn cut(word: &str) -> String {
    let mut end = word.len().min(WORD);
    while !word.is_char_boundary(end) {
        end -= 1;
    }
    word[..end].to_owned()
}

/// A time as the API shows it.
pub(super) fn time(at: Millis) -> Timestamp {
    i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok()).unwrap_or_default()
}

/// What the store has of a module.
pub(super) fn read(path: &str, bytes: &[u8]) -> Result<Head, CatalogueError> {
    serde_json::from_slice(bytes).map_err(|_| CatalogueError::Damaged { module: path.to_owned() })
}

/// What writes a head in the place of the one that was seen, with the words it is found by.
pub(super) fn change(path: &str, seen: Seen, head: &Head) -> Batch {
    let (old, new) = (seen.as_ref().map(|(_, old)| old.words(path)).unwrap_or_default(), head.words(path));
    let key = layout::module_head(path);
    let bytes = serde_json::to_vec(head).expect("a head has text keys only");
    let gone = old.difference(&new).map(|word| (layout::module_word(word, path), None));
    let come = new.difference(&old).map(|word| (layout::module_word(word, path), Some(Vec::new())));
    Batch {
        expect: vec![(key.clone(), seen.map(|(bytes, _)| bytes))],
        writes: gone.chain(come).chain([(key, Some(bytes))]).collect(),
    }
}
