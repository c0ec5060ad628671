//! Why the catalogue did not do what it was asked.

use slipstream_shared::{id::InvalidId, module::Problem, sharing::Right};

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
    /// The asker may read it, but not do that with it.
    #[error("you may not {right} `{path}`; ask its owner for that")]
    Denied {
        /// The module.
        path: String,
        /// What was asked for.
        right: Right,
    },
    /// Says the same whether there is such a module or not.
    #[error(
        "you may not save a module at `{path}`: ask the owner of its project for the right to edit it, or save below `{author}/`"
    )]
    MayNotSave {
        /// Where.
        path: String,
        /// Who.
        author: String,
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
    #[error("the record of `{module}` is damaged (save the module anew, or ask for a backup to be restored)")]
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
