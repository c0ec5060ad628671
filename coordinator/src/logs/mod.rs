//! What scripts print and machines report: bulk bytes, kept in files and never in the store.
//!
//! ```text
//! <data>/logs/<run>/<instance>/<attempt>-<index>-<step>.log
//! <data>/reports/<run>/<instance>.tar.gz
//! ```

pub mod reports;
pub mod steps;

pub use reports::Reports;
pub use steps::{Appended, Logs, StepKey, StepLog};
