//! Barriers and leads.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::Author,
    meeting::{Leader, MeetingName, Parties},
};

/// Arrives at a barrier, or only waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BarrierRequest {
    /// Counts as one of so many arrivals; the same user arrives once. Without it, the barrier is only waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// For how many seconds at most, at most 300; then `wait_timeout`.
    pub timeout: u64,
    /// Go on waiting when the run is aborted.
    #[serde(default)]
    pub ignore_abort: bool,
}

/// A barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BarrierInfo {
    /// Its name.
    pub name: MeetingName,
    /// Whose arrivals open it.
    pub parties: Parties,
    /// Who has arrived and not left; empty once it is open.
    pub arrived: Vec<Author>,
    /// Since when it is open, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub open: Option<Timestamp>,
}

/// Asks for a lead, or to keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeadRequest {
    /// Which program asks; the same one asks again to keep the lead. Two that are not to lead together have
    /// different names.
    pub program: MeetingName,
    /// For how many seconds, from 1 to 3600, unless it is asked for again: nothing else tells that a program is
    /// still there.
    pub seconds: u64,
    /// How many seconds to wait for it at most, at most 300; then `wait_timeout`.
    pub timeout: u64,
    /// Go on waiting when the run is aborted.
    #[serde(default)]
    pub ignore_abort: bool,
}

/// Something that one instance leads, or one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeadInfo {
    /// Its name.
    pub name: MeetingName,
    /// The leader's number; of the last one, if nobody leads.
    pub number: u64,
    /// Who leads, if somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Leader>,
    /// True while nothing is heard of the leader: the lead goes to the next one that asks.
    pub silent: bool,
    /// Until when a program leads, unless it asks again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// Since when that is so.
    #[schemars(with = "String")]
    pub since: Timestamp,
}
