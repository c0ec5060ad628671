//! The events of a run as a stream that survives broken connections.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, header};
use tokio::time::{Instant, sleep_until};

use super::{Client, ClientError, jitter, of};
use crate::{backoff::Backoff, error_chain::Chain, event::Record, http::Body};

/// The longest event; a plan with all its scripts is one.
const MAX_EVENT: usize = 16 * 1024 * 1024;

/// What [`EventStream::next`] tells.
#[derive(Debug)]
pub enum Update {
    /// Something happened to the run.
    Record(Box<Record>),
    /// The connection is gone; the stream goes on from where it was. Told with each try.
    Lost {
        /// Why.
        why: String,
    },
}

/// The events of a run from a number on. Reconnects by itself and never repeats an event.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    run: String,
    after: u64,
    body: Option<Body>,
    parser: Parser,
    backoff: Backoff,
    retry_at: Option<Instant>,
    lost_since: Option<Instant>,
    patience: Duration,
}

impl EventStream {
    pub(super) fn new(client: Client, run: &str, after: u64) -> Self {
        EventStream {
            client,
            run: run.to_owned(),
            after,
            body: None,
            parser: Parser::default(),
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(10)),
            retry_at: None,
            lost_since: None,
            patience: Duration::from_secs(300),
        }
    }

    /// Gives up when the coordinator was away for this long (five minutes unless told).
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The number of the last event that was told.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.after
    }

    /// The next event, or the news that the connection broke. Nothing is lost when the future is
    /// dropped.
    ///
    /// # Errors
    /// The coordinator refuses, or was away for too long.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        loop {
            while let Some(message) = self.parser.next() {
                if let Some(record) = self.accept(&message) {
                    return Ok(Update::Record(record));
                }
            }
            let step = match &mut self.body {
                Some(body) => body.chunk().await.map_err(ClientError::from),
                None => match self.connect().await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            match step {
                Ok(Some(chunk)) if self.parser.push(&chunk) => {}
                Ok(Some(_)) => return Ok(self.lost("an event is larger than any may be".to_owned())),
                // Proxies end streams that work, once in a while: that alone is no news.
                Ok(None) if self.lost_since.is_none() => drop(self.lost(String::new())),
                Ok(None) => return Ok(self.lost("the coordinator ended the stream".to_owned())),
                // A run may be quiet for long; asking again shows whether the coordinator is there.
                Err(ClientError::Http(error)) if error.is_silence() => self.body = None,
                Err(error) if !error.is_passing() || self.is_out_of_patience() => return Err(error),
                Err(error) => return Ok(self.lost(Chain(&error).to_string())),
            }
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        if let Some(at) = self.retry_at {
            sleep_until(at).await;
        }
        let path = of(&self.run, &format!("/events?after={}", self.after));
        let mut request = self.client.request(Method::GET, &path, Bytes::new())?;
        request.headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let answer = self.client.send(request).await?;
        self.parser = Parser::default();
        self.body = Some(answer.body);
        Ok(())
    }

    fn lost(&mut self, why: String) -> Update {
        self.body = None;
        let now = Instant::now();
        self.lost_since.get_or_insert(now);
        self.retry_at = Some(now + self.backoff.next(jitter()));
        Update::Lost { why }
    }

    fn is_out_of_patience(&self) -> bool {
        self.lost_since.is_some_and(|since| since.elapsed() > self.patience)
    }

    fn accept(&mut self, message: &Message) -> Option<Box<Record>> {
        // Only an event proves that the stream works: a proxy may accept and end it at once.
        self.backoff.reset();
        self.retry_at = None;
        self.lost_since = None;
        let record = serde_json::from_str::<Record>(&message.data).ok();
        let seq = record.as_ref().map(|r| r.seq).or(message.id)?;
        if seq <= self.after {
            return None;
        }
        self.after = seq;
        // Without a record it is of a kind that a newer coordinator knows: nothing this program shows.
        record.map(Box::new)
    }
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    id: Option<u64>,
    data: String,
}

/// Cuts a byte stream into server-sent events.
#[derive(Debug, Default)]
struct Parser {
    buffer: BytesMut,
    current: Message,
}

impl Parser {
    /// False when the event that is being read is too long.
    fn push(&mut self, chunk: &[u8]) -> bool {
        self.buffer.extend_from_slice(chunk);
        self.buffer.len() + self.current.data.len() <= MAX_EVENT
    }

    fn next(&mut self) -> Option<Message> {
        while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
            let line = self.buffer.split_to(end + 1);
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let message = std::mem::take(&mut self.current);
                if !message.data.is_empty() {
                    return Some(message);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => self.current.id = value.parse().ok(),
                "data" => {
                    if !self.current.data.is_empty() {
                        self.current.data.push('\n');
                    }
                    self.current.data.push_str(value);
                }
                // Comments keep the connection alive; `event` and `retry` are not used.
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_wherever_the_stream_is_cut() {
        let text = ": hello\n\nid: 7\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nid:8\ndata:x\n\nid: 9\ndata: half";
        let expected = [Message { id: Some(7), data: "{\"a\":\n1}".into() }, Message { id: Some(8), data: "x".into() }];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                assert!(parser.push(piece));
                found.extend(std::iter::from_fn(|| parser.next()));
            }
            assert_eq!(found, expected, "pieces of {size}");
        }
    }
}
