//! Modules and their versions.
//!
//! A version is its source text, with who saved it and when; it is read again whenever it is needed, so
//! there is one way from text to meaning. Versions never change. `modules/<path>` names the newest: a save
//! expects it as it was read, so of two that save at once the second looks again.
//!
//! This file keeps and finds versions, `head` is what is known of a module without reading it, `find` lists and
//! searches, `change` publishes, deletes, copies and moves, `check` only looks, `used` follows `use` and `image`, `plan` makes of a module what a
//! run is going to do, `launch` checks what a person chooses for it, `error` says what may go wrong.

mod change;
mod check;
mod error;
mod find;
mod head;
mod launch;
mod plan;
mod used;

use std::{fmt, sync::Arc};

use slipstream_shared::{
    api::ModuleInfo,
    module::{Draft, ModuleRef, Version, diff, near::nearest},
};

use self::error::invalid;
pub use self::{
    error::CatalogueError,
    find::Wanted,
    head::{Head, Heading},
    launch::LaunchOptions,
    plan::Prepared,
};
use crate::{
    seam::Millis,
    store::{Backend, StoreError, layout},
};

/// How often a save is tried when others save the same module.
const ATTEMPTS: u32 = 5;
/// How many paths are looked through for one that was mistyped.
const NEAR: usize = 1000;
/// The longest comment, in bytes. With it and its author a module of the largest size still fits a record.
const MAX_COMMENT: usize = 4096;

/// The modules of a coordinator.
#[derive(Debug, Clone)]
pub struct Catalogue {
    backend: Arc<dyn Backend>,
}

/// One version of a module. Shown as `path@version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the catalogue.
    pub path: String,
    /// Counts the versions of a path, from 1.
    pub version: u32,
    /// What is known of it without reading it.
    pub heading: Heading,
    /// Its text.
    pub source: String,
    /// The version that is published, if one is.
    pub published: Option<u32>,
    /// True when this save has made it; false when the newest version says the same already.
    pub created: bool,
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.path, self.version)
    }
}

impl Stored {
    /// As the API shows it, with its text.
    #[must_use]
    pub fn info(&self) -> ModuleInfo {
        ModuleInfo { source: Some(self.source.clone()), published: self.published, ..self.heading.info(&self.path) }
    }
}

impl Catalogue {
    /// The catalogue kept in `backend`.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Catalogue { backend }
    }

    /// Saves a module. Where the newest version has the same text, that one is the answer.
    ///
    /// # Errors
    /// As [`Catalogue::save`].
    pub async fn put(&self, source: &str, author: &str, comment: &str, now: Millis) -> Result<Stored, CatalogueError> {
        self.save(source, author, comment, None, now).await
    }

    /// Saves a module that its author has made from the version `base`, or from nothing (0).
    ///
    /// # Errors
    /// [`CatalogueError::Invalid`] with all that is wrong with the text, the modules it uses included;
    /// [`CatalogueError::Changed`] when the newest is not `base` any more; [`CatalogueError::Busy`] when others
    /// save the same module all the time.
    pub async fn save(
        &self,
        source: &str,
        author: &str,
        comment: &str,
        base: Option<u32>,
        now: Millis,
    ) -> Result<Stored, CatalogueError> {
        if comment.len() > MAX_COMMENT {
            return Err(CatalogueError::LongComment { size: comment.len() });
        }
        let mut draft = Draft::read(source).map_err(|problems| invalid("", problems))?;
        let used = self.used(&mut draft).await?;
        let name = draft.module.name.clone();
        let module = draft.check(&used).map_err(|problems| invalid(&name, problems))?;
        for _ in 0..ATTEMPTS {
            let seen = self.head(&name).await?;
            let newest = seen.as_ref().map_or(0, |(_, head)| head.heading.version);
            if let Some((_, head)) = &seen {
                let stored = self.version(&name, newest).await?;
                if stored.source == source && head.gone.is_none() {
                    return Ok(Stored { published: head.published, ..stored });
                }
            }
            if let Some(base) = base.filter(|base| *base != newest) {
                return Err(self.changed(&name, base, newest).await);
            }
            let heading = Heading::of(&module, newest + 1, author, comment, now);
            let published = seen.as_ref().and_then(|(_, head)| head.published);
            let head = Head { published, ..Head::of(heading.clone(), &module) };
            match self.append(&name, seen, &head, source).await {
                Ok(()) => {
                    let (path, version, source) = (name, heading.version, source.to_owned());
                    return Ok(Stored { path, version, heading, source, published, created: true });
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CatalogueError::Busy { path: name })
    }

    /// Writes a version and makes it the newest, if the newest is still the one that was seen. That also says that
    /// nobody has written this version: both are one batch.
    async fn append(&self, path: &str, seen: Seen, head: &Head, source: &str) -> Result<(), StoreError> {
        let version = layout::module_version(path, head.heading.version);
        let mut batch = head::change(path, seen, head);
        batch.writes.push((version, Some(record(&head.heading, source))));
        self.backend.append(batch).await
    }

    /// What to tell whoever began with another version than the newest.
    async fn changed(&self, path: &str, base: u32, newest: u32) -> CatalogueError {
        let texts = (self.version(path, base).await, self.version(path, newest).await);
        let (by, changes) = match texts {
            (Ok(old), Ok(new)) => {
                let changes = diff::changes(&old.source, &new.source).unwrap_or_default();
                (new.heading.author, changes.into_iter().map(|change| change.path).collect())
            }
            (_, Ok(new)) => (new.heading.author, Vec::new()),
            _ => (String::new(), Vec::new()),
        };
        CatalogueError::Changed { path: path.to_owned(), base, newest, by, changes }
    }

    /// A version of a module: `path@version`, or `path` for the newest.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`] or [`CatalogueError::NoVersion`].
    pub async fn get(&self, reference: &str) -> Result<Stored, CatalogueError> {
        self.find(&reference.parse()?).await
    }

    async fn find(&self, reference: &ModuleRef) -> Result<Stored, CatalogueError> {
        let path = &reference.path;
        let head = self.there(path).await?;
        let newest = head.heading.version;
        let version = match reference.version {
            Version::Newest => newest,
            Version::Published => {
                head.published.ok_or_else(|| CatalogueError::NotPublished { path: path.clone(), newest })?
            }
            Version::Number(version) if version > newest => {
                return Err(CatalogueError::NoVersion { path: path.clone(), version, newest });
            }
            Version::Number(version) => version,
        };
        Ok(Stored { published: head.published, ..self.version(path, version).await? })
    }

    /// What is known of a module, and the bytes that say so; none where there never was one.
    async fn head(&self, path: &str) -> Result<Seen, CatalogueError> {
        let bytes = self.backend.get(&layout::module_head(path)).await?;
        bytes.map(|bytes| Ok((bytes.clone(), head::read(path, &bytes)?))).transpose()
    }

    /// What is known of a module that is there.
    async fn there(&self, path: &str) -> Result<Head, CatalogueError> {
        match self.head(path).await? {
            Some((_, Head { gone: Some(gone), .. })) => Err(CatalogueError::Gone { path: path.to_owned(), gone }),
            Some((_, head)) => Ok(head),
            None => Err(CatalogueError::NotFound { path: path.to_owned(), near: self.near(path).await? }),
        }
    }

    async fn version(&self, path: &str, version: u32) -> Result<Stored, CatalogueError> {
        let record = self.backend.get(&layout::module_version(path, version)).await?;
        let damaged = || CatalogueError::Damaged { module: format!("{path}@{version}") };
        stored(path, &record.ok_or_else(damaged)?)
    }

    /// The path that was probably meant.
    async fn near(&self, path: &str) -> Result<Option<String>, CatalogueError> {
        let found = self.backend.scan(&layout::module_heads_from(""), None, NEAR).await?;
        let paths = found.iter().filter_map(|(key, _)| layout::parse_module_head(key));
        Ok(nearest(path, paths).map(str::to_owned))
    }
}

/// What is known of a module, with the bytes in the store.
type Seen = Option<(Vec<u8>, Head)>;

/// A version as the store has it: its heading in one line, then the text.
fn record(heading: &Heading, source: &str) -> Vec<u8> {
    let head = serde_json::to_vec(heading).expect("a heading has text keys only");
    [head.as_slice(), b"\n", source.as_bytes()].concat()
}

/// Takes a record apart: its heading in one line, then the text.
fn stored(path: &str, record: &[u8]) -> Result<Stored, CatalogueError> {
    let damaged = || CatalogueError::Damaged { module: path.to_owned() };
    let end = record.iter().position(|b| *b == b'\n').ok_or_else(damaged)?;
    let heading: Heading = serde_json::from_slice(&record[..end]).map_err(|_| damaged())?;
    let source = String::from_utf8(record[end + 1..].to_vec()).map_err(|_| damaged())?;
    Ok(Stored { path: path.to_owned(), version: heading.version, heading, source, published: None, created: false })
}

#[cfg(test)]
mod tests;
