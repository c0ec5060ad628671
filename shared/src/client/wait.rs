//! Waits: as many requests as it takes, across stops of the coordinator.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Client, ClientError, jitter, json, of, parameter};
use crate::{
    api::{Parameter, WaitAnswer, WaitRequest},
    backoff::Backoff,
    condition::Condition,
    http::Cause,
    parameter::Key,
};

/// The longest one request waits for a value; longer waits ask again, so that a proxy between does
/// not end them.
const LONGEST_WAIT: Duration = Duration::from_secs(50);

/// What an answer may take longer than the wait itself.
const SPARE: Duration = Duration::from_secs(30);

/// The longest wait of all: a run has a deadline of its own.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Client {
    /// Waits for a parameter to have a value; the problem `wait_timeout` says that it has none yet.
    pub async fn wait_parameter(&self, run: &str, key: &Key, within: Duration) -> Result<Parameter, ClientError> {
        let path = parameter(run, key);
        self.held(within, Method::GET, &|seconds| (format!("{path}?wait={seconds}"), Bytes::new())).await
    }

    /// Waits until conditions hold, all at the same time; the problem `wait_timeout` says that they do
    /// not yet.
    pub async fn wait(
        &self,
        run: &str,
        conditions: &[Condition],
        ignore_abort: bool,
        within: Duration,
    ) -> Result<WaitAnswer, ClientError> {
        let ask = |timeout| {
            let request = WaitRequest { conditions: conditions.to_vec(), timeout, ignore_abort };
            (of(run, "/wait"), json(&request))
        };
        self.held(within, Method::POST, &ask).await
    }

    /// Makes requests that the coordinator holds for so many seconds, until one has another answer than
    /// `wait_timeout` or the time is over. A coordinator that stops or breaks off is asked again when it is
    /// back; one that was never there is an error at once.
    pub(super) async fn held<T: DeserializeOwned>(
        &self,
        within: Duration,
        method: Method,
        ask: &(dyn Fn(u64) -> (String, Bytes) + Sync),
    ) -> Result<T, ClientError> {
        let deadline = Instant::now() + within.min(LONGEST);
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut reached = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.min(LONGEST_WAIT);
            let (path, body) = ask(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
            let mut request = self.request(method.clone(), &path, body)?;
            request.patience = Some(wait + SPARE);
            let result = match self.send(request).await {
                Ok(answer) => self.read(answer, method.clone(), &path).await,
                Err(error) => Err(error),
            };
            let Err(error) = &result else { return result };
            let timed_out = error.code() == Some("wait_timeout");
            reached |= !is_unreached(error);
            if left.is_zero() || !(timed_out || reached && is_away(error)) {
                return result;
            }
            if timed_out {
                if left <= wait {
                    return result;
                }
                backoff.reset();
            } else {
                tokio::time::sleep(backoff.next(jitter()).min(left)).await;
            }
        }
    }
}

/// True when nobody was there.
fn is_unreached(error: &ClientError) -> bool {
    match error {
        ClientError::Setup { .. } => true,
        ClientError::Http(error) => match &error.cause {
            Cause::Timeout { .. } => !error.is_silence(),
            cause => matches!(cause, Cause::Url | Cause::Authority(_) | Cause::Connect { .. } | Cause::Tls { .. }),
        },
        ClientError::Problem(_) | ClientError::Answer { .. } => false,
    }
}

/// True when it stops, or is not there just now.
fn is_away(error: &ClientError) -> bool {
    match error {
        ClientError::Http(_) => error.is_passing(),
        ClientError::Problem(problem) => matches!(problem.status, 429 | 502..=504),
        ClientError::Answer { status, .. } => matches!(status, 429 | 502..=504),
        ClientError::Setup { .. } => false,
    }
}
