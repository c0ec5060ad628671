//! Modules and their versions.
//!
//! A version is its source text, with who saved it and when; it is read again whenever it is needed, so
//! there is one way from text to meaning. Versions never change. `modules/<path>` names the newest: a save
//! expects it as it was read, so of two that save at once the second looks again.
//!
//! `modules/<path>` says as well who may do what with the module (`sharing`).
//!
//! This file keeps and finds versions, `used` follows `use` and `image`, `plan` makes of a module what a
//! run is going to do, `launch` checks what a person chooses for it, `error` says what may go wrong.

mod error;
mod launch;
mod plan;
mod sharing;
mod used;

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use slipstream_shared::{
    api::ModuleInfo,
    module::{Draft, ModuleRef, near::nearest, path},
    sharing::Right,
};

pub use self::{error::CatalogueError, launch::LaunchOptions, plan::Prepared, sharing::Guarded};
use self::{
    error::invalid,
    sharing::{Head, Sharing},
};
use crate::{
    access::User,
    seam::Millis,
    store::{Backend, Batch, StoreError, layout},
};

/// How often a save is tried when others save the same module.
const ATTEMPTS: u32 = 5;
/// Entries read from the store at once: versions may have a megabyte each.
const PAGE: usize = 50;
/// How many paths are looked through for one that was mistyped.
const NEAR: usize = 1000;
/// The longest comment, in bytes. With it and its author a module of the largest size still fits a record.
const MAX_COMMENT: usize = 4096;

/// The modules of a coordinator, as somebody sees them.
#[derive(Debug, Clone)]
pub struct Catalogue {
    backend: Arc<dyn Backend>,
    /// Who looks; none: the coordinator itself, which may do everything.
    viewer: Option<User>,
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
    /// True when this save has made it; false when the newest version says the same already.
    pub created: bool,
}

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

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.path, self.version)
    }
}

impl Stored {
    /// As the API shows it, with its text.
    #[must_use]
    pub fn info(&self) -> ModuleInfo {
        ModuleInfo { source: Some(self.source.clone()), ..self.heading.info(&self.path) }
    }
}

impl Heading {
    /// As the API shows it in lists.
    #[must_use]
    pub fn info(&self, path: &str) -> ModuleInfo {
        ModuleInfo {
            path: path.to_owned(),
            version: self.version,
            kind: self.kind.clone(),
            title: self.title.clone(),
            author: self.author.clone(),
            at: i64::try_from(self.at).ok().and_then(|at| Timestamp::from_millisecond(at).ok()).unwrap_or_default(),
            source: None,
        }
    }
}

impl Catalogue {
    /// The catalogue kept in `backend`, as the coordinator itself sees it; for people there is [`Guarded`].
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Catalogue { backend, viewer: None }
    }

    /// Saves a module. Where the newest version has the same text, that one is the answer.
    ///
    /// # Errors
    /// [`CatalogueError::Invalid`] with all that is wrong with the text, the modules it uses included;
    /// [`CatalogueError::Busy`] when others save the same module all the time.
    pub async fn put(&self, source: &str, author: &str, comment: &str, now: Millis) -> Result<Stored, CatalogueError> {
        if comment.len() > MAX_COMMENT {
            return Err(CatalogueError::LongComment { size: comment.len() });
        }
        let mut draft = Draft::read(source).map_err(|problems| invalid("", problems))?;
        // First: who may not save there is not told what they could build on.
        if path::check(&draft.module.name).is_ok() {
            let seen = self.backend.get(&layout::module_head(&draft.module.name)).await?;
            let before = seen.map(|bytes| head(&draft.module.name, &bytes)).transpose()?;
            self.may_save(&draft.module.name, before.as_ref(), author).await?;
        }
        let used = self.used(&mut draft).await?;
        let name = draft.module.name.clone();
        let module = draft.check(&used).map_err(|problems| invalid(&name, problems))?;
        for _ in 0..ATTEMPTS {
            let seen = self.backend.get(&layout::module_head(&name)).await?;
            let before = seen.as_deref().map(|bytes| head(&name, bytes)).transpose()?;
            let sharing = self.may_save(&name, before.as_ref(), author).await?;
            if let Some(before) = &before {
                let stored = self.version(&name, before.newest.version).await?;
                if stored.source == source {
                    return Ok(stored);
                }
            }
            let heading = Heading {
                version: before.map_or(1, |before| before.newest.version + 1),
                kind: module.kind().to_owned(),
                title: module.title.clone(),
                author: author.to_owned(),
                comment: comment.to_owned(),
                at: now,
            };
            match self.append(&name, seen, &heading, sharing, source).await {
                Ok(()) => {
                    let (path, version, source) = (name, heading.version, source.to_owned());
                    return Ok(Stored { path, version, heading, source, created: true });
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CatalogueError::Busy { path: name })
    }

    /// Writes a version and makes it the newest, if the newest is still the one that was seen.
    async fn append(
        &self,
        path: &str,
        seen: Option<Vec<u8>>,
        heading: &Heading,
        sharing: Sharing,
        source: &str,
    ) -> Result<(), StoreError> {
        let first = serde_json::to_vec(heading).expect("a heading has text keys only");
        let record = [first.as_slice(), b"\n", source.as_bytes()].concat();
        let head = Head::new(heading.clone(), sharing);
        let head = serde_json::to_vec(&head).expect("a head has text keys only");
        let (head_key, key) = (layout::module_head(path), layout::module_version(path, heading.version));
        let batch = Batch {
            expect: vec![(head_key.clone(), seen), (key.clone(), None)],
            writes: vec![(key, Some(record)), (head_key, Some(head))],
        };
        self.backend.append(batch).await
    }

    /// A version of a module: `path@version`, or `path` for the newest.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`] or [`CatalogueError::NoVersion`].
    pub async fn get(&self, reference: &str) -> Result<Stored, CatalogueError> {
        self.find(&reference.parse()?, Right::Read).await.map(|(stored, _)| stored)
    }

    /// A version of a module with which the viewer may do that.
    async fn find(&self, reference: &ModuleRef, right: Right) -> Result<(Stored, Sharing), CatalogueError> {
        let path = &reference.path;
        let (_, head) = self.allow(path, right).await?;
        let newest = head.newest.version;
        match reference.version {
            Some(version) if version > newest => Err(CatalogueError::NoVersion { path: path.clone(), version, newest }),
            version => Ok((self.version(path, version.unwrap_or(newest)).await?, head.sharing())),
        }
    }

    async fn version(&self, path: &str, version: u32) -> Result<Stored, CatalogueError> {
        let record = self.backend.get(&layout::module_version(path, version)).await?;
        let damaged = || CatalogueError::Damaged { module: format!("{path}@{version}") };
        stored(path, &record.ok_or_else(damaged)?)
    }

    /// The path that was probably meant.
    async fn near(&self, path: &str) -> Result<Option<String>, CatalogueError> {
        let found = self.backend.scan(&layout::module_heads(None), None, NEAR).await?;
        let paths = found.iter().filter_map(|(key, value)| {
            let path = layout::parse_module_head(key)?;
            self.rights(path, &head(path, value).ok()?.sharing()).has(Right::Read).then_some(path)
        });
        Ok(nearest(path, paths).map(str::to_owned))
    }

    /// The newest versions of the modules below a project that the viewer may read, at any depth, by path;
    /// without one, of all.
    ///
    /// # Errors
    /// The store failed, or holds what is no module.
    pub async fn list(&self, project: Option<&str>) -> Result<Vec<(String, Heading)>, CatalogueError> {
        let mut all = Vec::new();
        self.each(&layout::module_heads(project), |key, value| {
            if let Some(path) = layout::parse_module_head(key) {
                let head = head(path, value)?;
                if self.rights(path, &head.sharing()).has(Right::Read) {
                    all.push((path.to_owned(), head.newest));
                }
            }
            Ok(())
        })
        .await?;
        Ok(all)
    }

    /// All versions of a module, the newest first.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`], or the store failed.
    pub async fn versions(&self, path: &str) -> Result<Vec<Heading>, CatalogueError> {
        self.allow(path, Right::Read).await?;
        let mut all = Vec::new();
        self.each(&layout::module_versions(path), |_, value| {
            all.push(stored(path, value)?.heading);
            Ok(())
        })
        .await?;
        all.reverse();
        Ok(all)
    }

    /// Calls `take` with all entries of a prefix, in order.
    async fn each(
        &self,
        prefix: &[u8],
        mut take: impl FnMut(&[u8], &[u8]) -> Result<(), CatalogueError> + Send,
    ) -> Result<(), CatalogueError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.backend.scan(prefix, after.as_deref(), PAGE).await?;
            for (key, value) in &page {
                take(key, value)?;
            }
            match page.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => return Ok(()),
            }
        }
    }
}

fn head(path: &str, bytes: &[u8]) -> Result<Head, CatalogueError> {
    serde_json::from_slice(bytes).map_err(|_| CatalogueError::Damaged { module: path.to_owned() })
}

fn heading(path: &str, bytes: &[u8]) -> Result<Heading, CatalogueError> {
    serde_json::from_slice(bytes).map_err(|_| CatalogueError::Damaged { module: path.to_owned() })
}

/// Takes a record apart: its heading in one line, then the text.
fn stored(path: &str, record: &[u8]) -> Result<Stored, CatalogueError> {
    let damaged = || CatalogueError::Damaged { module: path.to_owned() };
    let end = record.iter().position(|b| *b == b'\n').ok_or_else(damaged)?;
    let heading = heading(path, &record[..end])?;
    let source = String::from_utf8(record[end + 1..].to_vec()).map_err(|_| damaged())?;
    Ok(Stored { path: path.to_owned(), version: heading.version, heading, source, created: false })
}

#[cfg(test)]
mod tests;
