//! The output of one step as a stream that survives broken connections.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::{Client, ClientError, jitter, of};
use crate::{backoff::Backoff, http::Body, id::InstanceId};

/// How often a broken connection is made again before its error is told.
const TRIES: u32 = 30;

/// The output of a step from its beginning to its end, as it comes.
#[derive(Debug)]
pub struct LogStream {
    client: Client,
    run: String,
    instance: InstanceId,
    index: u32,
    offset: u64,
    body: Option<Body>,
    backoff: Backoff,
    retry_at: Option<Instant>,
    failures: u32,
}

impl LogStream {
    pub(super) fn new(client: Client, run: &str, instance: &InstanceId, index: u32) -> Self {
        LogStream {
            client,
            run: run.to_owned(),
            instance: instance.clone(),
            index,
            offset: 0,
            body: None,
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(10)),
            retry_at: None,
            failures: 0,
        }
    }

    /// The next bytes; none when the step has ended and all of its output was told. Nothing is lost
    /// when the future is dropped.
    ///
    /// # Errors
    /// The coordinator refuses, or was away for too long.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.step().await {
                Ok(Some(bytes)) => {
                    self.offset += bytes.len() as u64;
                    self.failures = 0;
                    self.backoff.reset();
                    return Ok(Some(bytes));
                }
                Ok(None) => {
                    // A coordinator that stops ends its streams properly too: ask before believing.
                    self.body = None;
                    if self.has_ended().await.unwrap_or(false) {
                        return Ok(None);
                    }
                }
                // A step may write nothing for long; asking again shows whether it still runs.
                Err(ClientError::Http(error)) if error.is_silence() => {
                    self.body = None;
                    self.retry_at = None;
                    continue;
                }
                Err(error) if !error.is_passing() || self.failures >= TRIES => return Err(error),
                Err(_) => self.body = None,
            }
            self.failures += 1;
            self.retry_at = Some(Instant::now() + self.backoff.next(jitter()));
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.body.is_none() {
            if let Some(at) = self.retry_at {
                sleep_until(at).await;
            }
            let place = format!("/logs/{}/{}?offset={}&follow=true", self.instance, self.index, self.offset);
            self.body = Some(self.client.body(&of(&self.run, &place)).await?);
        }
        match &mut self.body {
            Some(body) => Ok(body.chunk().await?),
            None => Ok(None),
        }
    }

    async fn has_ended(&self) -> Result<bool, ClientError> {
        let logs = self.client.logs(&self.run, &self.instance).await?;
        Ok(logs.iter().any(|log| log.index == self.index && log.ended && log.size <= self.offset))
    }
}
