//! Why the catalogue did not do what it was asked.

use slipstream_shared::{api::ModuleGone, id::InvalidId, module::Problem};

use super::MAX_COMMENT;
use crate::store::StoreError;

/// Why the catalogue did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// The text is not the path of a module.
    #[error(transparent)]
    BadReference(#[from] InvalidId),
    /// There is no module of that path.
    #[error("there is no module `{path}`{}", near.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default())]
    NotFound {
        /// What was asked for.
        path: String,
        /// What may have been meant.
        near: Option<String>,
    },
    /// The module has no such version.
    #[error("`{path}` has no version {version} (its newest is {newest})")]
    NoVersion {
        /// The module.
        path: String,
        /// What was asked for.
        version: u32,
        /// The newest there is.
        newest: u32,
    },
    /// The module was deleted or moved.
    #[error("there is no module `{path}`: {}", went(path, gone))]
    Gone {
        /// The module.
        path: String,
        /// Who, when, where to.
        gone: ModuleGone,
    },
    /// No version of it is published.
    #[error("no version of `{path}` is published (its newest is {newest}; `slipstream module publish {path}`)")]
    NotPublished {
        /// The module.
        path: String,
        /// The newest there is.
        newest: u32,
    },
    /// There is a module already.
    #[error("there is a module `{path}` already (choose another path, or save a new version of that one)")]
    Taken {
        /// The module.
        path: String,
    },
    /// Somebody has saved another version since this one was begun.
    #[error("{}", changed(path, *base, *newest, by, changes))]
    Changed {
        /// The module.
        path: String,
        /// What the author began with.
        base: u32,
        /// The newest there is.
        newest: u32,
        /// Who has saved that one.
        by: String,
        /// The keys that have another value in it.
        changes: Vec<String>,
    },
    /// The text cannot be given another name.
    #[error("cannot give `{module}` another path: {reason}")]
    Rename {
        /// Path and version.
        module: String,
        /// Why.
        reason: String,
    },
    /// Something is wrong with the text of a module.
    #[error("{} {}", subject(module), count(problems))]
    Invalid {
        /// The module, as far as it says so itself.
        module: String,
        /// All that is wrong, in the order of the text.
        problems: Vec<Problem>,
    },
    /// The module cannot be launched like this.
    #[error("cannot launch `{module}`: {}", reasons.join("; "))]
    Launch {
        /// Path and version.
        module: String,
        /// All reasons.
        reasons: Vec<String>,
    },
    /// The comment is too long.
    #[error("the comment has {size} bytes, the limit is {MAX_COMMENT}")]
    LongComment {
        /// Its size.
        size: usize,
    },
    /// Others keep saving the module.
    #[error("others are saving `{path}` at the same time (look at their version, then save again)")]
    Busy {
        /// The module.
        path: String,
    },
    /// What the store has is not a version of a module.
    #[error("cannot read `{module}` from the store")]
    Damaged {
        /// Path and version.
        module: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) fn invalid(module: &str, problems: Vec<Problem>) -> CatalogueError {
    CatalogueError::Invalid { module: module.to_owned(), problems }
}

fn subject(module: &str) -> String {
    if module.is_empty() { "the module file".to_owned() } else { format!("`{module}`") }
}

fn count(problems: &[Problem]) -> String {
    match problems {
        [one] => format!("has a problem at {one}"),
        many => format!("has {} problems", many.len()),
    }
}

fn went(path: &str, gone: &ModuleGone) -> String {
    let ModuleGone { by, at, to } = gone;
    match to {
        Some(to) => format!("{by} has moved it to `{to}`"),
        None => format!("{by} has deleted it at {at:.0} (`slipstream module undelete {path}` brings it back)"),
    }
}

/// The most keys that are named.
const MOST_KEYS: usize = 5;

fn changed(path: &str, base: u32, newest: u32, by: &str, changes: &[String]) -> String {
    if newest == 0 {
        return format!("there is no module `{path}` yet, and this is to be a change of its version {base}");
    }
    let named: Vec<String> = changes.iter().take(MOST_KEYS).map(|key| format!("`{key}`")).collect();
    let more = changes.len().saturating_sub(MOST_KEYS);
    let keys = match (named.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(", which changes {}", named.join(", ")),
        (false, more) => format!(", which changes {} and {more} more", named.join(", ")),
    };
    let look = match base {
        0 => format!("look at it: slipstream module show {path}"),
        base => format!("look: slipstream module diff {path}@{base} {path}@{newest}"),
    };
    format!(
        "`{path}` is not as it was: {by} has saved version {newest}{keys} ({look}; then save on top of version {newest})"
    )
}
