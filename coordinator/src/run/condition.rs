//! Whether conditions hold, and what they depend on while they do not.
//!
//! A condition that does not hold is filed under everything its value is made of ([`Run::sources`]),
//! whether those have values or not: also a value that is there may become another one.

use std::{
    collections::BTreeSet,
    hash::{Hash, Hasher},
};

use regex_lite::{Regex, RegexBuilder};
use slipstream_shared::{
    api::Parameter,
    condition::{Condition, Count, MAX_CONDITIONS, Subject, Test},
    event::Author,
    id::{InstanceId, NodeName},
    parameter::{Key, Scope},
    predefined::{self, Level},
    template::{Owner, Template},
};

use super::{Run, change::Refused, value::Leaf};

/// The most memory a compiled pattern may take. Matching takes at most the product of this and the size
/// of the value: a tenth of a second for 64 KiB.
const PATTERN_BYTES: usize = 4 * 1024;

/// A condition that the run understands.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// As it was asked for.
    pub condition: Condition,
    pattern: Option<Regex>,
}

impl PartialEq for Wanted {
    fn eq(&self, other: &Self) -> bool {
        // The pattern follows from it.
        self.condition == other.condition
    }
}

impl Eq for Wanted {}

impl Hash for Wanted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}

impl Run {
    /// Checks conditions before they are waited for.
    ///
    /// # Errors
    /// There are none or too many; a key does not exist or has no revisions; a pattern is not one.
    pub fn wanted(&self, conditions: Vec<Condition>) -> Result<Vec<Wanted>, Refused> {
        if conditions.is_empty() || conditions.len() > MAX_CONDITIONS {
            let reason = format!("a wait has 1 to {MAX_CONDITIONS} conditions, not {}", conditions.len());
            return Err(Refused::Unreasonable(reason));
        }
        conditions.into_iter().map(|condition| self.want(condition)).collect()
    }

    fn want(&self, condition: Condition) -> Result<Wanted, Refused> {
        let unreasonable = |reason: String| Refused::Unreasonable(format!("cannot wait for `{condition}`: {reason}"));
        let key = match &condition.subject {
            Subject::Key(key) => key.clone(),
            // Any instance stands for all, also for those to come.
            Subject::Instances { node, name, .. } => Key::instance(&self.some_instance(node), name),
        };
        if self.kind_of(&key).is_none() {
            return Err(self.unknown(&key));
        }
        if self.is_secret(&key) && matches!(condition.test, Test::Equals(_) | Test::Matches(_)) {
            // Not shown as it was asked for: it may hold the secret.
            let reason = format!(
                "cannot compare `{}`: it is a secret (wait for its value or for a change of it)",
                condition.subject
            );
            return Err(Refused::Unreasonable(reason));
        }
        let pattern = match &condition.test {
            Test::Matches(pattern) => {
                let compiled = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
                Some(compiled.map_err(|e| unreasonable(format!("the pattern is wrong: {e}")))?)
            }
            Test::Newer(_) if self.is_computed(&key) => {
                return Err(unreasonable("the coordinator computes that value, it has no revisions".to_owned()));
            }
            Test::Set | Test::Equals(_) | Test::Newer(_) => None,
        };
        Ok(Wanted { condition, pattern })
    }

    fn some_instance(&self, node: &NodeName) -> InstanceId {
        let known = self.instances.keys().find(|id| id.node == *node);
        known.cloned().unwrap_or_else(|| InstanceId::new(node.clone(), 1))
    }

    /// Whether somebody may wait for that.
    ///
    /// # Errors
    /// One of the parameters is not for them.
    pub fn may_wait(&self, by: &Author, wanted: &[Wanted]) -> Result<(), Refused> {
        let keys = wanted.iter().flat_map(|one| match &one.condition.subject {
            Subject::Key(key) => vec![key.clone()],
            Subject::Instances { node, name, .. } => {
                let all = self.instances.keys().filter(|id| id.node == *node);
                all.map(|id| Key::instance(id, name)).collect()
            }
        });
        keys.into_iter().try_for_each(|key| self.may_touch(by, &key))
    }

    /// True when all hold; otherwise what those that do not hold depend on.
    pub fn hold(&self, wanted: &[Wanted]) -> Result<(), Vec<Leaf>> {
        let mut leaves = BTreeSet::new();
        for one in self.failing(wanted) {
            if let Subject::Instances { node, .. } = &one.condition.subject {
                leaves.insert(Leaf::Members(node.clone()));
            }
            for key in self.meant(&one.condition.subject) {
                if !self.passes(&key, one) {
                    leaves.extend(self.hopeless(&key, one));
                    self.sources(key, &mut leaves);
                }
            }
        }
        if leaves.is_empty() { Ok(()) } else { Err(leaves.into_iter().collect()) }
    }

    /// Why a wait for the value of a key is over. Of several instances, another may do.
    fn hopeless(&self, key: &Key, wanted: &Wanted) -> Option<Leaf> {
        let condition = &wanted.condition;
        let others = matches!(condition.subject, Subject::Instances { count: Count::AtLeast(_), .. });
        if others || matches!(condition.test, Test::Newer(_)) {
            return None;
        }
        self.value(key).err()?.into_iter().find(|leaf| matches!(leaf, Leaf::Broken(_)))
    }

    /// The conditions that do not hold.
    pub fn failing<'a>(&'a self, wanted: &'a [Wanted]) -> impl Iterator<Item = &'a Wanted> {
        wanted.iter().filter(|one| {
            let keys = self.meant(&one.condition.subject);
            let passing = keys.iter().filter(|key| self.passes(key, one));
            match &one.condition.subject {
                Subject::Instances { count: Count::AtLeast(k), .. } => passing.take(*k as usize).count() < *k as usize,
                Subject::Instances { count: Count::All, .. } | Subject::Key(_) => {
                    keys.is_empty() || passing.count() < keys.len()
                }
            }
        })
    }

    /// The parameters that conditions are about, as they are now.
    #[must_use]
    pub fn parameters_of(&self, wanted: &[Wanted]) -> Vec<Parameter> {
        let keys: BTreeSet<Key> = wanted.iter().flat_map(|one| self.meant(&one.condition.subject)).collect();
        keys.iter().filter_map(|key| self.parameter(key)).collect()
    }

    fn meant(&self, subject: &Subject) -> Vec<Key> {
        match subject {
            Subject::Key(key) => vec![key.clone()],
            Subject::Instances { node, name, .. } => {
                let live = self.instances.iter().filter(|(id, i)| id.node == *node && i.is_live());
                live.map(|(id, _)| Key::instance(id, name)).collect()
            }
        }
    }

    fn passes(&self, key: &Key, wanted: &Wanted) -> bool {
        let value = || self.value(key).ok();
        match (&wanted.condition.test, &wanted.pattern) {
            (Test::Set, _) => value().is_some(),
            (Test::Equals(text), _) => value().is_some_and(|value| value == *text),
            (Test::Matches(_), pattern) => {
                value().is_some_and(|value| pattern.as_ref().is_some_and(|pattern| pattern.is_match(&value)))
            }
            (Test::Newer(revision), _) => self.stored(key).is_some_and(|stored| stored.revision > *revision),
        }
    }

    /// Everything whose change may change the value of a key, itself included.
    fn sources(&self, key: Key, found: &mut BTreeSet<Leaf>) {
        let mut open = vec![key];
        while let Some(key) = open.pop() {
            let reader = match &key.scope {
                Scope::Instance(id) => Some(id.clone()),
                Scope::Run | Scope::Node(_) => None,
            };
            let template = self.template_of(&key);
            if !found.insert(Leaf::Value(key)) {
                continue;
            }
            if let Some(template) = template {
                self.named(template, reader.as_ref(), &mut open, found);
            }
        }
    }

    /// The same for a text, as `reader` sees it.
    pub(super) fn sources_of(&self, text: &Template, reader: Option<&InstanceId>, found: &mut BTreeSet<Leaf>) {
        let mut open = Vec::new();
        self.named(text, reader, &mut open, found);
        open.into_iter().for_each(|key| self.sources(key, found));
    }

    /// The parameters that a text names.
    fn named(&self, text: &Template, reader: Option<&InstanceId>, open: &mut Vec<Key>, found: &mut BTreeSet<Leaf>) {
        for reference in text.references() {
            let name = &reference.name;
            match (&reference.owner, reader) {
                (Owner::Own, Some(id)) => open.push(Key::instance(id, name)),
                (Owner::Own, None) | (Owner::Run, _) => open.push(Key::run(name)),
                (Owner::Node(target), _) if predefined::find(Level::Node, name).is_some() => {
                    open.push(Key::node(&target.node, name));
                }
                (Owner::Node(target), _) => {
                    found.insert(Leaf::Members(target.node.clone()));
                    open.extend(self.targets(target).iter().map(|id| Key::instance(id, name)));
                }
            }
        }
    }
}
