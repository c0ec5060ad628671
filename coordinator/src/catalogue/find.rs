//! Lists, folders, versions, search. What is not looked through is not read: each page costs what it shows,
//! however many modules there are.

use slipstream_shared::{
    api::{ModuleInfo, Page},
    module::Draft,
};

use super::{
    Catalogue, CatalogueError,
    head::{self, Head, Heading, tag_word, words},
};
use crate::store::layout;

/// Entries read from the store at once.
const SCAN: usize = 200;
/// The most entries that are looked at for one page: a page may be shorter than asked for, and go on.
const MOST_LOOKED_AT: usize = 5000;
/// Comes after all characters that paths have.
const LAST: char = '~';

/// What is listed.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only paths that begin so.
    pub prefix: String,
    /// Only what is found by all of these words, in path, title, description and tags; each may be the beginning
    /// of one.
    pub search: String,
    /// Only what has this tag.
    pub tag: Option<String>,
    /// What was deleted or moved, instead of what is there.
    pub gone: bool,
    /// Behind this: the `next` of the page before.
    pub after: Option<String>,
    /// The most there may be on a page.
    pub limit: usize,
}

impl Catalogue {
    /// A page of modules by path; of a search, by the word that was found.
    ///
    /// # Errors
    /// The store failed, or holds what is no module.
    pub async fn page(&self, wanted: &Wanted) -> Result<Page<ModuleInfo>, CatalogueError> {
        let mut asked: Vec<String> = words(&wanted.search).collect();
        // The longest is probably the rarest; a tag as a whole is rarer than words.
        asked.sort_by_key(|word| std::cmp::Reverse(word.len()));
        asked.splice(0..0, wanted.tag.iter().map(|tag| tag_word(tag)));
        match asked.first() {
            Some(first) => self.search(first, &asked, wanted).await,
            None => self.listed(wanted).await,
        }
    }

    async fn listed(&self, wanted: &Wanted) -> Result<Page<ModuleInfo>, CatalogueError> {
        let prefix = layout::module_heads_from(&wanted.prefix);
        let mut after = wanted.after.as_deref().map(layout::module_head);
        let mut items: Vec<ModuleInfo> = Vec::new();
        let mut looked_at = 0;
        loop {
            let found = self.backend.scan(&prefix, after.as_deref(), SCAN).await?;
            for (key, value) in &found {
                let Some(path) = layout::parse_module_head(key) else { continue };
                if items.len() == wanted.limit || looked_at == MOST_LOOKED_AT {
                    let last = after.as_deref().and_then(layout::parse_module_head).map(str::to_owned);
                    return Ok(Page { items, next: last });
                }
                looked_at += 1;
                let head = head::read(path, value)?;
                if head.gone.is_some() == wanted.gone {
                    items.push(head.info(path));
                }
                after = Some(key.clone());
            }
            if found.len() < SCAN {
                return Ok(Page { items, next: None });
            }
        }
    }

    /// Goes through what is found by `first` and looks whether it is found by `all`.
    async fn search(&self, first: &str, all: &[String], wanted: &Wanted) -> Result<Page<ModuleInfo>, CatalogueError> {
        let prefix = layout::module_words(first);
        let cursor = wanted.after.as_deref().and_then(|after| after.split_once(' '));
        let mut after = cursor.map(|(word, path)| layout::module_word(word, path));
        let mut items: Vec<ModuleInfo> = Vec::new();
        let mut looked_at = 0;
        loop {
            let found = self.backend.scan(&prefix, after.as_deref(), SCAN).await?;
            for (key, _) in &found {
                let Some((word, path)) = layout::parse_module_word(key) else { continue };
                if items.len() == wanted.limit || looked_at == MOST_LOOKED_AT {
                    let last = after.as_deref().and_then(layout::parse_module_word);
                    return Ok(Page { items, next: last.map(|(word, path)| format!("{word} {path}")) });
                }
                looked_at += 1;
                after = Some(key.clone());
                if !path.starts_with(&wanted.prefix) {
                    continue;
                }
                let Some((_, head)) = self.head(path).await? else { continue };
                let has = head.words(path);
                // A tag is meant as a whole; of several words that begin so, the first one finds the module.
                let found = |asked: &String| match asked.starts_with('#') {
                    true => has.contains(asked),
                    false => has.range(asked.clone()..).next().is_some_and(|word| word.starts_with(asked.as_str())),
                };
                let by = if first.starts_with('#') { Some(first) } else { beginning(&has, first) };
                if by == Some(word) && all.iter().all(found) {
                    items.push(head.info(path));
                }
            }
            if found.len() < SCAN {
                return Ok(Page { items, next: None });
            }
        }
    }

    /// What is directly in a folder, the root being the empty one: modules, and folders in it. A folder that nobody
    /// has described is a project of the version 0.
    ///
    /// # Errors
    /// The store failed, or holds what is no module.
    pub async fn folder(
        &self,
        folder: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ModuleInfo>, CatalogueError> {
        let inside = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let prefix = layout::module_heads_from(&inside);
        let mut after = after.map(str::to_owned);
        let mut items: Vec<ModuleInfo> = Vec::new();
        let mut looked_at = 0;
        loop {
            if items.len() == limit || looked_at >= MOST_LOOKED_AT {
                return Ok(Page { items, next: after });
            }
            let cursor = after.as_deref().map(layout::module_head);
            let found = self.backend.scan(&prefix, cursor.as_deref(), SCAN).await?;
            let whole = found.len() < SCAN;
            let mut jumped = false;
            for (key, value) in &found {
                let Some(path) = layout::parse_module_head(key) else { continue };
                if items.len() == limit {
                    return Ok(Page { items, next: after });
                }
                looked_at += 1;
                let head = head::read(path, value)?;
                after = Some(path.to_owned());
                if head.gone.is_some() {
                    continue;
                }
                match path[inside.len()..].split_once('/') {
                    None => items.push(head.info(path)),
                    Some((name, _)) => {
                        let folder = format!("{inside}{name}");
                        if self.head(&folder).await?.is_none_or(|(_, head)| head.gone.is_some()) {
                            items.push(undescribed(&folder));
                        }
                        after = Some(format!("{folder}/{LAST}"));
                        jumped = true;
                        break;
                    }
                }
            }
            if whole && !jumped {
                return Ok(Page { items, next: None });
            }
        }
    }

    /// A page of the versions of a module, the newest first, below the version `before`.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`], or the store failed.
    pub async fn versions(
        &self,
        path: &str,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<ModuleInfo>, CatalogueError> {
        slipstream_shared::module::path::check(path)?;
        let head = self.there(path).await?;
        let mut next = before.map_or(head.heading.version, |before| before.saturating_sub(1)).min(head.heading.version);
        let mut items = Vec::new();
        while next > 0 && items.len() < limit {
            items.push(ModuleInfo { published: head.published, ..self.version(path, next).await?.heading.info(path) });
            next -= 1;
        }
        Ok(Page { items, next: (next > 0).then(|| (next + 1).to_string()) })
    }

    /// Makes modules that the first coordinators have saved found by their words. Once for a store.
    ///
    /// # Errors
    /// The store failed, or holds what is no module.
    pub async fn index(&self) -> Result<(), CatalogueError> {
        if self.backend.get(layout::WORDS).await?.is_some() {
            return Ok(());
        }
        let mut after: Option<Vec<u8>> = None;
        loop {
            let found = self.backend.scan(&layout::module_heads_from(""), after.as_deref(), SCAN).await?;
            for (key, _) in &found {
                let Some(path) = layout::parse_module_head(key) else { continue };
                let Some((bytes, head)) = self.head(path).await? else { continue };
                let source = self.version(path, head.heading.version).await?.source;
                // One that cannot be read any more is found by what its head says.
                let described = match Draft::read(&source) {
                    Ok(draft) => Head::of(head.heading.clone(), &draft.module),
                    Err(_) => head.clone(),
                };
                let new = Head { published: head.published, gone: head.gone.clone(), ..described };
                let mut batch = head::change(path, None, &new);
                batch.expect = vec![(layout::module_head(path), Some(bytes))];
                self.backend.append(batch).await?;
            }
            match found.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => break,
            }
        }
        let done = crate::store::Batch { expect: vec![], writes: vec![(layout::WORDS.to_vec(), Some(Vec::new()))] };
        Ok(self.backend.append(done).await?)
    }
}

/// The first of the words that begin so.
fn beginning<'w>(words: &'w std::collections::BTreeSet<String>, asked: &str) -> Option<&'w str> {
    words.range(asked.to_owned()..).next().map(String::as_str).filter(|word| word.starts_with(asked))
}

fn undescribed(path: &str) -> ModuleInfo {
    let (kind, author, comment) = ("project".to_owned(), String::new(), String::new());
    Heading { version: 0, kind, title: None, author, comment, at: 0 }.info(path)
}
