//! What can be waited for, and what comes of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use slipstream_shared::{
    api::WaitAnswer,
    id::InstanceId,
    meeting::{Leader, MeetingName},
    parameter::Key,
};

use super::meeting::{look_at_barrier, look_at_lead};
use crate::run::{Run, condition::Wanted, expand::reason, value::Leaf};

/// What is waited for.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// That a parameter has a value, for a script that may read it.
    Value(Key),
    /// That the environment of a step is complete.
    Env(InstanceId, u32),
    /// That conditions hold, all at the same time.
    Conditions(Vec<Wanted>),
    /// That a barrier opens.
    Barrier(MeetingName),
    /// That an instance leads.
    Lead(MeetingName, Leader, Option<u64>),
}

/// What came of a wait.
#[derive(Debug, Clone)]
pub(super) enum Come {
    /// With its revision.
    Value(String, u64),
    Env(BTreeMap<String, String>),
    /// With the parameters of the conditions, for who wants them.
    Met(Arc<Met>),
    /// With its number.
    Leads(u64),
    /// It never will, and why.
    Broken(String),
}

/// Conditions that hold: one answer for all who waited for them.
#[derive(Debug)]
pub struct Met {
    /// What was found.
    pub answer: WaitAnswer,
    json: OnceLock<Bytes>,
}

impl Met {
    pub(super) fn new(answer: WaitAnswer) -> Arc<Self> {
        Arc::new(Met { answer, json: OnceLock::new() })
    }

    /// The answer as JSON, made once for all.
    pub fn json(&self) -> Bytes {
        let json = || serde_json::to_vec(&self.answer).expect("an answer is plain data").into();
        self.json.get_or_init(json).clone()
    }
}

/// What was asked, by one or by many.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) target: Target,
    /// With the values it is about.
    pub(super) full: bool,
}

impl Asked {
    /// What it is worth now, or what it lacks.
    pub(super) fn look(&self, run: &Run) -> Result<Come, Vec<Leaf>> {
        self.found(run).or_else(|leaves| match reason(&leaves) {
            Some(reason) => Ok(Come::Broken(reason.to_owned())),
            None => Err(leaves),
        })
    }

    fn found(&self, run: &Run) -> Result<Come, Vec<Leaf>> {
        match &self.target {
            Target::Value(key) => {
                run.clear_value(key).map(|value| Come::Value(value, run.stored(key).map_or(0, |s| s.revision)))
            }
            Target::Env(instance, index) => run.agent_env(instance, *index).map(Come::Env),
            Target::Conditions(wanted) => run.hold(wanted).map(|()| {
                let parameters = if self.full { run.parameters_of(wanted) } else { vec![] };
                Come::Met(Met::new(WaitAnswer { seq: run.seq, parameters }))
            }),
            Target::Barrier(name) => look_at_barrier(run, name),
            Target::Lead(name, by, _) => look_at_lead(run, name, by),
        }
    }

    /// What it lacks, for people.
    pub(super) fn shown(&self, run: &Run, leaves: &[Leaf]) -> Vec<String> {
        match &self.target {
            Target::Value(_) | Target::Env(..) | Target::Barrier(_) | Target::Lead(..) => {
                leaves.iter().filter(|leaf| !run.is_indirect(leaf)).map(ToString::to_string).collect()
            }
            Target::Conditions(wanted) => run.failing(wanted).map(|one| one.condition.brief()).collect(),
        }
    }

    /// Whether many may share one answer. A lead is given to one after the other.
    pub(super) fn is_shared(&self) -> bool {
        !matches!(self.target, Target::Lead(..))
    }
}
