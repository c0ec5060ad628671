//! Requests of people and programs that are made once, however often they are sent.
//!
//! The idempotency key of a request becomes the `op` of its event, so that the log itself knows what was
//! made. The run remembers the last [`MOST`] of them.

use std::collections::VecDeque;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use slipstream_shared::{
    event::{Author, Event, Record},
    parameter::Key,
};

use super::{Run, change::Refused};

/// How many requests a run remembers.
const MOST: usize = 1000;

/// A request that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    by: Author,
    op: u64,
    /// Of what it asked for.
    digest: u64,
}

/// The `op` of a request with an idempotency key.
#[must_use]
pub fn number(key: &str) -> u64 {
    short(&[key.as_bytes()])
}

impl Run {
    /// True when a request was made before.
    ///
    /// # Errors
    /// Its number belongs to another request.
    pub fn was_made(&self, by: &Author, op: u64, key: &Key, value: Option<&str>) -> Result<bool, Refused> {
        let sealed =
            value.filter(|_| self.is_secret(key)).zip(self.vault.as_ref()).map(|(v, vault)| vault.seal(key, v));
        let value = sealed.as_deref().or(value);
        match self.requests.iter().find(|known| known.op == op && known.by == *by) {
            None => Ok(false),
            Some(known) if known.digest == of(key, value) => Ok(true),
            Some(_) => Err(Refused::Reused),
        }
    }
}

/// Remembers what a record made.
pub(super) fn remember(requests: &mut VecDeque<Requested>, record: &Record) {
    let (Author::User(_), Some(op)) = (&record.by, record.op) else { return };
    let digest = match &record.event {
        Event::ParameterSet { key, value } => of(key, Some(value)),
        Event::SecretSet { key, sealed } => of(key, sealed.as_deref()),
        Event::ParameterUnset { key } => of(key, None),
        _ => return,
    };
    requests.push_back(Requested { by: record.by.clone(), op, digest });
    if requests.len() > MOST {
        requests.pop_front();
    }
}

fn of(key: &Key, value: Option<&str>) -> u64 {
    short(&[key.to_string().as_bytes(), if value.is_some() { b"\0=" } else { b"\0" }, value.unwrap_or("").as_bytes()])
}

/// 53 bits of a SHA-256: as many as every reader of JSON keeps.
fn short(parts: &[&[u8]]) -> u64 {
    let hash = digest(&SHA256, &parts.concat());
    let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first) >> 11
}
