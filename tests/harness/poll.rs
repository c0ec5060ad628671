//! Waiting for conditions instead of sleeping.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use slipstream_shared::{
    client::{EventStream, Update},
    event::Record,
};

/// Asks until there is an answer, for at most a minute.
///
/// # Panics
/// There was none; `what` is named.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl FnMut() -> F) -> T {
    eventually_within(Duration::from_secs(60), what, ask).await
}

/// The same with another limit.
///
/// # Panics
/// There was no answer; `what` is named.
pub async fn eventually_within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < limit, "after {} s still not: {what}", limit.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The next event of a run, across restarts of the coordinator.
///
/// # Panics
/// The stream ends.
pub async fn next_record(events: &mut EventStream) -> Record {
    loop {
        match events.next().await.expect("the stream goes on") {
            Update::Record(record) => return *record,
            Update::Lost { .. } => {}
        }
    }
}
