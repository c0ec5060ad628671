//! What a run could do nothing about yet is recorded once, not each time it is tried again.

use super::Run;
use crate::seam::Millis;

/// A trouble that goes on is recorded again after so long.
const TROUBLE_AGAIN: Millis = 3600 * 1000;

/// So many different ones are remembered.
const TROUBLES: usize = 16;

impl Run {
    /// Whether a trouble is to be recorded: it is new, or was not recorded for an hour.
    #[must_use]
    pub fn is_news(&self, trouble: &str, now: Millis) -> bool {
        self.lately.get(trouble).is_none_or(|(_, last)| now >= last + TROUBLE_AGAIN)
    }

    /// Folds a trouble. One that was not recorded for two hours was over meanwhile.
    pub(super) fn remember_trouble(&mut self, message: &str, at: Millis) {
        self.lately.retain(|_, (_, last)| at < *last + 2 * TROUBLE_AGAIN);
        if self.lately.len() >= TROUBLES
            && let Some(oldest) = self.lately.iter().min_by_key(|(_, (_, last))| *last).map(|(text, _)| text.clone())
        {
            self.lately.remove(&oldest);
        }
        self.lately.entry(message.to_owned()).or_insert((at, at)).1 = at;
    }
}
