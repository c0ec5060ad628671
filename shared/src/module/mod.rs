//! Module files: what a person writes to say which machines there are and what they do.
//!
//! In reading order: [`tree`] (text to values that know their place), [`fields`] (the table of keys),
//! `shape` (tree against table), [`model`] and `build` (tree to types), [`layers`] (a component with all it
//! builds on), `refs` and `waits` (do references lead somewhere, and does nobody wait for himself),
//! [`files`] (scripts kept beside the module file).
//!
//! ```
//! let source = "slipstream: 1\nkind: project\nnaem: apps\n";
//! let problems = slipstream_shared::module::parse(source).unwrap_err();
//! assert_eq!(problems[1].to_string(), "3:1: `naem` is not a key of a project (did you mean `name`?)");
//! ```

mod build;
mod declare;
pub mod diff;
pub mod explain;
pub mod fields;
pub mod files;
pub mod fmt;
pub mod layers;
pub mod model;
pub mod near;
pub mod original;
pub mod params;
pub mod path;
pub mod problem;
#[cfg(test)]
mod reference;
mod refs;
pub mod rewrite;
pub mod schema;
mod shape;
mod toml;
pub mod tree;
pub mod units;
mod waits;

use std::{collections::BTreeMap, sync::Arc};

pub use build::keep_running;
pub use layers::{Layer, Layers};
pub use model::{Application, Body, Component, Module, Node, Spanned};
pub use path::{ModuleRef, Version};
pub use problem::{Position, Problem, Problems};

/// A module that others build on, with where it was found: `images/debian-12@3`.
#[derive(Debug, Clone)]
pub struct Found {
    /// Path and version.
    pub origin: String,
    /// What it says.
    pub module: Arc<Module>,
}

/// Modules a file refers to, by the reference as written: each with what it builds on, itself last.
pub type Used = BTreeMap<String, Vec<Found>>;

/// A module file that was read, with what is wrong with it so far.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it says; incomplete where something is wrong.
    pub module: Module,
    /// What is wrong.
    pub problems: Problems,
}

impl Draft {
    /// Reads a file and checks all that can be checked by looking at it alone.
    ///
    /// # Errors
    /// The file is not YAML, or not a map: there is nothing to go on with.
    pub fn read(source: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let root = tree::read(source, &mut problems);
        let root = match root {
            Some(root) if matches!(root.data, tree::Data::Map(_)) => root,
            Some(other) => {
                let message = format!("a module file is a map of keys, not {}", other.describe());
                problems.add(other.at, "", message, Some("it begins with `slipstream: 1`".to_owned()));
                return Err(problems.sorted());
            }
            None => return Err(problems.sorted()),
        };
        shape::table(&root, build::table_of(&root), "", &mut problems);
        let module = build::module(&root, &mut problems);
        Ok(Draft { module, problems })
    }

    /// Checks references and waits. Modules missing in `used` are taken to declare whatever is asked.
    ///
    /// # Errors
    /// All that is wrong with the file, in its order.
    pub fn check(mut self, used: &Used) -> Result<Module, Vec<Problem>> {
        refs::check(&self.module, used, &mut self.problems);
        waits::check(&self.module, used, &mut self.problems);
        if self.problems.is_empty() { Ok(self.module) } else { Err(self.problems.sorted()) }
    }
}

/// Reads and checks a file without looking at the modules it refers to.
///
/// # Errors
/// All that is wrong with the file, in its order.
pub fn parse(source: &str) -> Result<Module, Vec<Problem>> {
    Draft::read(source)?.check(&Used::new())
}

#[cfg(test)]
mod tests;
