//! Who wants to know of each change.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::Changes;

/// Those who follow a store. There is hardly ever one.
#[derive(Debug, Default)]
pub(super) struct Followers(Mutex<Vec<mpsc::UnboundedSender<Changes>>>);

impl Followers {
    /// Another one, told of all that comes from now on.
    pub(super) fn add(&self) -> mpsc::UnboundedReceiver<Changes> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    /// Tells all of them; `changes` is only called when there is one.
    pub(super) fn tell(&self, changes: impl FnOnce() -> Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|follower| !follower.is_closed());
        if all.is_empty() {
            return;
        }
        let changes = Arc::new(changes());
        for follower in &*all {
            // It may have gone just now.
            let _ = follower.send(Arc::clone(&changes));
        }
    }
}
