//! One connection: greet, say again what was not answered, then carry lines both ways until it ends.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context as Task, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use slipstream_shared::{
    error_chain::Chain,
    link::{Boot, Down, HEARTBEAT_SECONDS, LINK_PATH, MAX_LINE, OLDEST_PROTOCOL, PROTOCOL, Refusal, Up},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{interval, timeout},
};

use super::{Link, Phase, Sender};
use crate::{
    connect::{ConnectError, Connection, whole},
    system,
    trouble::say,
};

/// A connection on which nothing has come for so long is dead.
const SILENCE: Duration = Duration::from_secs(30);

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It broke.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Nothing came for [`SILENCE`].
    #[error("the coordinator has been silent for {} s", SILENCE.as_secs())]
    Silent,
    /// The coordinator closed it.
    #[error("the coordinator closed the connection")]
    Closed,
    /// It said farewell.
    #[error("the coordinator says goodbye: {reason}")]
    Goodbye {
        /// Its reason.
        reason: String,
        /// False when coming back is pointless.
        retry: bool,
    },
    /// It does not take the link.
    #[error("the coordinator refuses the link ({}): {}", .0.code, .0.message)]
    Refused(Refusal),
    /// It answered with something else.
    #[error("the coordinator answered with status {0}")]
    Status(u16),
    /// What it says is not this protocol.
    #[error("the coordinator does not speak this protocol: {0}")]
    Protocol(String),
}

/// Carries lines until the connection ends, and says why it did. `boot` names this boot.
pub async fn run(link: &Link, connection: &Connection, boot: &Boot) -> SessionError {
    let ended = match carry(link, connection, boot).await {
        Err(e) => e,
        Ok(never) => match never {},
    };
    link.disconnected(Phase::Away(ended.to_string()));
    ended
}

async fn carry(link: &Link, connection: &Connection, boot: &Boot) -> Result<Infallible, SessionError> {
    let (out, queue) = unbounded_channel();
    let _ = out.send(Up::Hello {
        protocol: PROTOCOL,
        oldest_protocol: OLDEST_PROTOCOL,
        agent: crate::VERSION.to_owned(),
        boot: boot.clone(),
        addresses: system::addresses().iter().map(ToString::to_string).collect(),
    });
    let request = connection
        .request("POST", LINK_PATH)
        .header("content-type", "application/x-ndjson")
        .body(Lines(queue).boxed())
        .expect("the URL was parsed before");
    let failed = |e: hyper::Error| ConnectError::Http { what: "the link broke", why: Chain(&e).to_string() };
    let mut send = connection.send.clone();
    let response = timeout(SILENCE, async {
        send.ready().await?;
        send.send_request(request).await
    });
    let response = response.await.map_err(|_| SessionError::Silent)?.map_err(failed)?;
    let status = response.status().as_u16();
    if status != 200 {
        let answer = whole(response.into_body()).await.unwrap_or_default();
        return Err(match serde_json::from_slice(&answer) {
            Ok(refusal) => SessionError::Refused(refusal),
            Err(_) => SessionError::Status(status),
        });
    }
    let mut reader = Reader { body: response.into_body(), buffer: Vec::new(), scanned: 0 };
    let (last_op, refused) = match reader.next().await? {
        Down::Hello { last_op, refused, protocol: OLDEST_PROTOCOL..=PROTOCOL, .. } => (last_op, refused),
        Down::Hello { protocol, .. } => {
            return Err(SessionError::Protocol(format!("it chose version {protocol}")));
        }
        Down::Goodbye { reason, retry } => return Err(SessionError::Goodbye { reason, retry }),
        _ => return Err(SessionError::Protocol("its first line is no hello".to_owned())),
    };
    link.connected(out.clone(), last_op, &refused);
    tokio::select! {
        ended = receive(link, &mut reader) => ended,
        never = heartbeats(&out) => never,
    }
}

async fn receive(link: &Link, reader: &mut Reader) -> Result<Infallible, SessionError> {
    loop {
        match reader.next().await? {
            Down::Goodbye { reason, retry } => return Err(SessionError::Goodbye { reason, retry }),
            down => link.receive(down),
        }
    }
}

async fn heartbeats(out: &Sender) -> Result<Infallible, SessionError> {
    let mut every = interval(Duration::from_secs(HEARTBEAT_SECONDS));
    loop {
        every.tick().await;
        if out.send(Up::Heartbeat).is_err() {
            return Err(SessionError::Closed);
        }
    }
}

/// Cuts the coordinator's stream into lines.
struct Reader {
    body: Incoming,
    buffer: Vec<u8>,
    scanned: usize,
}

impl Reader {
    /// The next line this agent understands.
    async fn next(&mut self) -> Result<Down, SessionError> {
        loop {
            if let Some(at) = self.buffer[self.scanned..].iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.scanned + at).collect();
                self.scanned = 0;
                match serde_json::from_slice(&line) {
                    Ok(down) => return Ok(down),
                    // A newer coordinator may say more than this agent knows.
                    Err(e) => say(format_args!("a line of the coordinator was not understood and ignored: {e}")),
                }
                continue;
            }
            self.scanned = self.buffer.len();
            if self.scanned > MAX_LINE {
                return Err(SessionError::Protocol(format!("a line has more than {MAX_LINE} bytes")));
            }
            let frame = timeout(SILENCE, self.body.frame()).await.map_err(|_| SessionError::Silent)?;
            let frame = frame.ok_or(SessionError::Closed)?.map_err(|e| {
                SessionError::Connect(ConnectError::Http { what: "the link broke", why: Chain(&e).to_string() })
            })?;
            if let Some(data) = frame.data_ref() {
                self.buffer.extend_from_slice(data);
            }
        }
    }
}

/// The body of the agent's request: lines as they come.
struct Lines(UnboundedReceiver<Up>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(first) = std::task::ready!(self.0.poll_recv(task)) else { return Poll::Ready(None) };
        let mut bytes = line(&first);
        // What is there already goes into the same frame.
        while bytes.len() < 64 * 1024
            && let Ok(next) = self.0.try_recv()
        {
            bytes.extend(line(&next));
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(bytes)))))
    }
}

fn line(up: &Up) -> Vec<u8> {
    let mut line = serde_json::to_vec(up).expect("plain data serializes");
    line.push(b'\n');
    line
}
