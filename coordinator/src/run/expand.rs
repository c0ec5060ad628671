//! Values that are made of others: what a text with references comes to.
//!
//! An evaluation does a bounded amount of work, however its references are nested, and makes no text that
//! is longer than a value may be. What would be beyond either is [`Leaf::Broken`]: nothing is ever cut, and
//! whoever reads such a value is told why there is none. The rest of the run goes on.

use std::cell::Cell;

use slipstream_shared::{
    id::InstanceId,
    parameter::{Key, MAX_VALUE, Scope},
    predefined::{self, Level},
    template::{Owner, Part, Reference, Template, Which},
};

use super::{
    Run,
    value::{Evaluated, Leaf},
};

/// References may lead to references; longer chains than this are a cycle.
const MAX_DEPTH: usize = 32;

/// The most values that one evaluation looks at. 300 instances whose values are made of 300 each are more.
const MOST_VALUES: usize = 20_000;

/// So many bytes of a value count as another one.
const BYTES: usize = 256;

/// One look at what something is worth now.
pub(super) struct Evaluation<'a> {
    run: &'a Run,
    /// What is asked for, for messages.
    what: String,
    /// Values that may still be looked at.
    left: Cell<usize>,
    /// Secrets are part of what is made.
    clear: bool,
}

impl<'a> Evaluation<'a> {
    /// An evaluation of `what`, of which secrets are no part.
    pub(super) fn of(run: &'a Run, what: String) -> Self {
        Evaluation { run, what, left: Cell::new(MOST_VALUES), clear: false }
    }

    /// An evaluation of a parameter, in clear if that is a secret.
    pub(super) fn of_key(run: &'a Run, key: &Key) -> Self {
        Evaluation { clear: run.is_secret(key), ..Evaluation::of(run, format!("`{key}`")) }
    }

    /// The value of a parameter, or what it waits for.
    pub(super) fn value(&self, key: &Key, depth: usize) -> Evaluated<String> {
        self.spend(1)?;
        let unset = || vec![Leaf::Value(key.clone())];
        if depth > MAX_DEPTH {
            return Err(broken(format!("`{key}` is made of itself, or of a chain of more than {MAX_DEPTH} values")));
        }
        let run = self.run;
        if let Some(computed) = run.computed(key) {
            return self.worth(computed.ok_or_else(unset)?);
        }
        // The module was checked for this; a value is not shown because that check has a hole.
        if !self.clear && run.is_secret(key) {
            return Err(broken(format!("{} may not be made of `{key}`: that is a secret", self.what)));
        }
        if let Some(value) = run.written(key) {
            return self.worth(value.map_err(|e| broken(format!("`{key}`: {e}")))?);
        }
        let Some(template) = run.template(key) else { return Err(unset()) };
        let reader = match &key.scope {
            Scope::Instance(id) => Some(id),
            Scope::Run | Scope::Node(_) => None,
        };
        // A write to the key itself would end the wait as well.
        let text = self.text(&format!("`{key}`"), template, reader, depth + 1).map_err(|mut leaves| {
            leaves.push(Leaf::Value(key.clone()));
            leaves
        })?;
        if let (Some(declared), None) = (run.declared(key), template.as_literal()) {
            let wrong = |e| broken(format!("`{key}` cannot be made of `{template}`: {e}"));
            declared.limits.check(&declared.kind, &text).map_err(wrong)?;
        }
        Ok(text)
    }

    /// Text with all its references replaced, as `reader` sees it.
    pub(super) fn text(
        &self,
        what: &str,
        template: &Template,
        reader: Option<&InstanceId>,
        depth: usize,
    ) -> Evaluated<String> {
        let mut text = String::new();
        let mut size = 0;
        let mut missing = Vec::new();
        for part in template.parts() {
            let part = match part {
                Part::Text(part) => part.clone(),
                Part::Reference(reference) => match self.refer(reference, reader, depth) {
                    Ok(value) => value,
                    Err(leaves) if is_broken(&leaves) => return Err(leaves),
                    Err(mut leaves) => {
                        missing.append(&mut leaves);
                        continue;
                    }
                },
            };
            size += part.len();
            if size <= MAX_VALUE {
                text.push_str(&part);
            }
        }
        match size {
            // Shorter than it will be, and too long already.
            _ if size > MAX_VALUE => {
                let reason = format!("{what} would have {size} bytes, made of the values it refers to");
                Err(broken(format!("{reason}; the limit is {MAX_VALUE}")))
            }
            _ if missing.is_empty() => Ok(text),
            _ => Err(missing),
        }
    }

    /// Counts what a value is worth.
    fn worth(&self, value: String) -> Evaluated<String> {
        self.spend(value.len() / BYTES)?;
        Ok(value)
    }

    fn spend(&self, work: usize) -> Result<(), Vec<Leaf>> {
        let left = self.left.get().checked_sub(work);
        self.left.set(left.unwrap_or_default());
        left.map(drop).ok_or_else(|| broken(format!("{} is made of too many values", self.what)))
    }

    fn refer(&self, reference: &Reference, reader: Option<&InstanceId>, depth: usize) -> Evaluated<String> {
        let name = &reference.name;
        match (&reference.owner, reader) {
            (Owner::Own, Some(id)) => self.value(&Key::instance(id, name), depth),
            (Owner::Own, None) | (Owner::Run, _) => self.value(&Key::run(name), depth),
            (Owner::Node(target), _) if predefined::find(Level::Node, name).is_some() => {
                self.value(&Key::node(&target.node, name), depth)
            }
            (Owner::Node(target), _) => {
                let keys: Vec<Key> = self.run.targets(target).iter().map(|id| Key::instance(id, name)).collect();
                let found = match target.which {
                    Which::Any => match self.run.any(target, name) {
                        Some(id) => self.value(&Key::instance(id, name), depth),
                        None => self.first(&keys, depth),
                    },
                    Which::Lowest | Which::Index(_) | Which::All => self.all(&keys, depth),
                };
                // One of them may go before it has a value, or another one come.
                found.map_err(|mut leaves| {
                    leaves.push(Leaf::Members(target.node.clone()));
                    leaves
                })
            }
        }
    }

    fn all(&self, keys: &[Key], depth: usize) -> Evaluated<String> {
        let mut values = Vec::new();
        let mut missing = Vec::new();
        for key in keys {
            match self.value(key, depth) {
                Ok(value) => values.push(value),
                Err(leaves) if is_broken(&leaves) => return Err(leaves),
                Err(mut leaves) => missing.append(&mut leaves),
            }
        }
        if missing.is_empty() { Ok(values.join(",")) } else { Err(missing) }
    }

    fn first(&self, keys: &[Key], depth: usize) -> Evaluated<String> {
        let mut missing = Vec::new();
        for key in keys {
            match self.value(key, depth) {
                Ok(value) => return Ok(value),
                Err(mut leaves) => missing.append(&mut leaves),
            }
        }
        Err(missing)
    }
}

fn broken(reason: String) -> Vec<Leaf> {
    vec![Leaf::Broken(reason)]
}

fn is_broken(leaves: &[Leaf]) -> bool {
    leaves.iter().any(|leaf| matches!(leaf, Leaf::Broken(_)))
}

/// Why there will be no value, however long somebody waits for it.
#[must_use]
pub fn reason(leaves: &[Leaf]) -> Option<&str> {
    leaves.iter().find_map(|leaf| match leaf {
        Leaf::Broken(reason) => Some(reason.as_str()),
        _ => None,
    })
}
