//! Changes of machines that were refused, so that their answers can be given again.
//!
//! An answer may be lost with its connection. That a change was applied is in the log; that one was refused
//! is put there too, or a later change that was applied would make it look applied as well. And a change that
//! was kept while the coordinator was away has nobody left to be told: the log tells the people.

use std::collections::VecDeque;

use slipstream_shared::{
    event::Event,
    id::InstanceId,
    link::{CHANGES_UNDER_WAY, Change, RefusedChange, RefusedCode, RefusedOp},
};

use super::{Run, change::Refused};

/// The longest message that is kept, in bytes.
const MOST: usize = 500;

impl Run {
    /// What puts a refusal on record, where that is needed: not of a comparison, because its machine sends
    /// nothing behind it, nor of a machine that is not to come back.
    #[must_use]
    pub fn refusal(&self, id: &InstanceId, change: &Change, refused: &Refused) -> Option<Event> {
        let answered_first = matches!(change, Change::SetIf { .. });
        let is_over = self.state.is_final() || !self.instances.contains_key(id);
        if answered_first || is_over || refused.code() == RefusedCode::Gone {
            return None;
        }
        let mut message = refused.to_string();
        message.truncate(message.floor_char_boundary(MOST));
        Some(Event::ChangeRefused { instance: id.clone(), code: refused.code(), message })
    }

    /// Why a change of a machine was refused, if it was.
    #[must_use]
    pub fn refused_op(&self, id: &InstanceId, op: u64) -> Option<&RefusedChange> {
        let known = &self.instances.get(id)?.refused_ops;
        known.iter().find(|known| known.op == op).map(|known| &known.refused)
    }
}

/// Remembers what a record says, and forgets what no machine can still ask for.
pub(super) fn remember(known: &mut VecDeque<RefusedOp>, op: Option<u64>, code: RefusedCode, message: &str) {
    let Some(op) = op else { return };
    known.push_back(RefusedOp { op, refused: RefusedChange { code, message: message.to_owned() } });
    if known.len() > CHANGES_UNDER_WAY {
        known.pop_front();
    }
}
