//! The idempotency keys of launches: which run each of them has started. A key is known for a day from then on; used
//! again later it is a new one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipstream_shared::{error_chain::Chain, id::RunId};

use super::error::{ApiError, Code};
use crate::{
    app::Shared,
    seam::Millis,
    store::{Backend, Batch, StoreError, layout},
};

/// How long a key is known, in milliseconds.
const LIFE: Millis = 24 * 60 * 60 * 1000;

/// How often old ones are removed.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Keys looked at in one go.
const PAGE: usize = 500;

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Reserved {
    /// Its id says since when the key is known.
    pub(super) run: RunId,
    /// Recognises the request it was first used for, which may hold secrets.
    pub(super) request: String,
}

impl Reserved {
    fn is_old(&self, now: Millis) -> bool {
        self.run.millis().is_some_and(|since| now.saturating_sub(since) > LIFE)
    }
}

/// Keeps what a key stands for, durably; gives what it stands for, which is something else if it was used before.
pub(super) async fn reserve(
    store: &dyn Backend,
    user: &str,
    key: &str,
    wanted: &Reserved,
    now: Millis,
) -> Result<Reserved, ApiError> {
    let place = layout::idempotency(user, key);
    let value = serde_json::to_vec(wanted).map_err(|error| damaged(&error))?;
    let mut before = None;
    loop {
        let batch = Batch { expect: vec![(place.clone(), before)], writes: vec![(place.clone(), Some(value.clone()))] };
        match store.append(batch).await {
            Ok(()) => return Ok(wanted.clone()),
            Err(StoreError::Conflict { .. }) => (),
            Err(error) => return Err(error.into()),
        }
        before = store.get(&place).await?;
        let Some(bytes) = &before else { continue };
        let known: Reserved = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
        if !known.is_old(now) {
            return Ok(known);
        }
    }
}

/// Removes old keys, now and then every hour, until the coordinator stops.
pub async fn forget_old(app: Shared) {
    loop {
        if let Err(error) = forget(&*app.store, app.seam.now()).await {
            tracing::warn!(error = %Chain(&error), "cannot remove old idempotency keys; trying again in an hour");
        }
        tokio::select! {
            biased;
            () = app.seam.stopping().cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn forget(store: &dyn Backend, now: Millis) -> Result<(), StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = store.scan(layout::IDEMPOTENCY, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (place, value) in page {
            if !serde_json::from_slice::<Reserved>(&value).is_ok_and(|known| known.is_old(now)) {
                continue;
            }
            let batch = Batch { expect: vec![(place.clone(), Some(value))], writes: vec![(place, None)] };
            match store.append(batch).await {
                // It was used again in the meantime.
                Ok(()) | Err(StoreError::Conflict { .. }) => (),
                Err(error) => return Err(error),
            }
        }
    }
}

fn damaged(error: &serde_json::Error) -> ApiError {
    tracing::error!("the record of an idempotency key is damaged: {error}");
    ApiError::new(Code::Internal, "the coordinator failed; its log says why")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryBackend;

    fn reserved(at: Millis, request: &str) -> Reserved {
        Reserved { run: RunId::new(at, [7; 10]), request: request.to_owned() }
    }

    #[tokio::test]
    async fn a_key_stands_for_its_first_request_for_a_day() {
        let store = MemoryBackend::new();
        let began = 1_700_000_000_000;
        let ask =
            async |key: &str, wanted: Reserved, now| reserve(&store, "ann", key, &wanted, now).await.expect("kept");
        let (first, second) = (reserved(began, "a"), reserved(began + LIFE, "b"));
        assert_eq!(ask("k", first.clone(), began).await, first);
        assert_eq!(ask("k", second.clone(), began + LIFE).await, first, "it is known");
        let later = reserved(began + LIFE + 1, "b");
        assert_eq!(ask("k", later.clone(), began + LIFE + 1).await, later, "it is new again");
        assert_eq!(ask("k", second, began + LIFE + 2).await, later);
    }

    #[tokio::test]
    async fn old_keys_are_removed_and_no_others() {
        let store = MemoryBackend::new();
        let began = 1_700_000_000_000;
        for (n, at) in [began, began + 1, began + LIFE].into_iter().enumerate() {
            reserve(&store, "ann", &format!("k{n}"), &reserved(at, "a"), at).await.expect("kept");
        }
        forget(&store, began + LIFE + 1).await.expect("removed");
        let left = store.scan(layout::IDEMPOTENCY, None, 10).await.expect("scans");
        let left: Vec<_> = left.into_iter().map(|(key, _)| key).collect();
        assert_eq!(left, ["k1", "k2"].map(|key| layout::idempotency("ann", key)));
    }
}
