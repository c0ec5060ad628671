//! Modules of SlipStream (by SixSq) as its server gave them out: XML, one document for each module.
//!
//! [`import`] makes module files of them, with a list of what cannot be carried over; [`export`] the other way
//! round. Documents come from strangers: no document types, so no entities of their own, bounded in size and depth.

mod export;
mod import;
mod xml;

pub use self::{
    export::export,
    import::{Imported, import},
};

/// Why a document was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

#[cfg(test)]
mod tests;
