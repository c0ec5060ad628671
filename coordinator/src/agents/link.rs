//! The link: one request per machine whose two bodies are endless streams of lines.
//!
//! ```text
//!  request body ─▶ reader ─┬─ log ──▶ files ──▶ LogAck ─┐
//!                          └─ others ──▶ run            ├─▶ response body
//!                  run ──▶ writer (and heartbeats) ─────┘
//! ```
//!
//! A link ends when either side leaves, when the agent is silent or does not read, when it breaks the
//! protocol, or when the coordinator stops. All of these but the first say `Goodbye`.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use slipstream_shared::link::{Down, HEARTBEAT_SECONDS, Up};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    Agent,
    enrol::agree,
    line::{self, Line, Lines},
    output::Output,
};
use crate::{
    app::{App, Shared},
    drive::{AgentLink, AgentUp, Lines as DownLines, RunError, SILENT_AFTER},
    pki::Peer,
};

/// An agent that says nothing for so long is silent; it has to connect again.
const SILENCE: Duration = Duration::from_millis(SILENT_AFTER);

/// How long an agent has for its first line.
const FIRST_LINE: Duration = Duration::from_secs(10);

/// How long a line may wait for an agent that does not read.
const SLOW: Duration = Duration::from_secs(20);

/// How many lines wait between the writer and the connection.
const UNDER_WAY: usize = 32;

/// Bytes of lines that are sent at once, if there are so many; the last of them may go beyond.
const AT_ONCE: usize = 16 * 1024;

/// Why a link has ended.
#[derive(Debug)]
enum End {
    /// The agent has left, or was told already.
    Left,
    /// It is to be told this.
    Goodbye { reason: String, retry: bool },
}

impl End {
    fn retry(reason: impl Into<String>) -> Self {
        End::Goodbye { reason: reason.into(), retry: true }
    }

    fn never(reason: impl Into<String>) -> Self {
        End::Goodbye { reason: reason.into(), retry: false }
    }
}

/// `POST /agent/v1/link`
pub(super) async fn link(State(app): State<Shared>, Agent(peer): Agent, body: Body) -> Response {
    let (out, lines) = mpsc::channel(UNDER_WAY);
    let seam = app.seam.clone();
    seam.spawn(serve(app, peer, body.into_data_stream(), out));
    let stream = stream::unfold(lines, async |mut lines| Some((Ok::<Bytes, Infallible>(lines.recv().await?), lines)));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response()
}

async fn serve(app: Shared, peer: Arc<Peer>, body: BodyDataStream, out: mpsc::Sender<Bytes>) {
    let mut input = Input { body, lines: Lines::default() };
    let end = tokio::select! {
        biased;
        () = app.seam.stopping().cancelled() => End::retry("the coordinator is stopping"),
        end = talk(&app, &peer, &mut input, &out) => end,
    };
    tracing::debug!(run = %peer.key.run, instance = %peer.key.instance, ?end, "link ended");
    if let End::Goodbye { reason, retry } = end {
        let _ = timeout(SLOW, out.send(line::write(&Down::Goodbye { reason, retry }))).await;
    }
}

async fn talk(app: &App, peer: &Peer, input: &mut Input, out: &mpsc::Sender<Bytes>) -> End {
    let (link, protocol) = match attach(app, peer, input).await {
        Ok(attached) => attached,
        Err(end) => return end,
    };
    let (down, up) = link.split();
    let (steps, names) = watch::channel(BTreeMap::new());
    let output = Output::new(&app.logs, &peer.key, names);
    tokio::select! {
        end = read(input, &up, output, out) => end,
        end = write(down, protocol, steps, out) => end,
    }
}

/// The link of a machine, and the version that both sides speak on it.
async fn attach(app: &App, peer: &Peer, input: &mut Input) -> Result<(AgentLink, u32), End> {
    let first = timeout(FIRST_LINE, input.next()).await.map_err(|_| End::retry("no first line"))??;
    let Line::Known(first) = line::read(&first) else { return Err(End::retry("the first line is no hello")) };
    let Up::Hello { protocol, oldest_protocol, agent, boot, addresses } = *first else {
        return Err(End::retry("the first line is no hello"));
    };
    let protocol = agree(protocol, oldest_protocol).map_err(End::never)?;
    let refused = |error: RunError| match &error {
        RunError::NotFound(_) | RunError::Refused(_) => End::never(error.to_string()),
        _ => End::retry(error.to_string()),
    };
    let run = app.runs.find(&peer.key.run.to_string()).await.map_err(refused)?;
    let link = run.attach(&peer.key.instance, peer.key.attempt, &peer.key_sha256).await.map_err(refused)?;
    tracing::debug!(run = %peer.key.run, instance = %peer.key.instance, agent, boot, ?addresses, "link is up");
    Ok((link, protocol))
}

/// Hands over what the agent says.
async fn read(input: &mut Input, up: &AgentUp, mut output: Output<'_>, out: &mpsc::Sender<Bytes>) -> End {
    loop {
        let text = match timeout(SILENCE, input.next()).await {
            Ok(Ok(text)) => text,
            Ok(Err(end)) => return end,
            Err(_) => return End::retry("nothing was heard of the agent"),
        };
        up.heard();
        let answer = match line::read(&text) {
            Line::Ignored => None,
            Line::Malformed(reason) => return End::retry(reason),
            Line::Known(said) => match *said {
                Up::Heartbeat => None,
                Up::Hello { .. } => return End::retry("a second hello"),
                Up::Log { index, offset, data, .. } => match output.log(index, offset, &data).await {
                    Ok(answer) => answer,
                    Err(reason) => return End::retry(reason),
                },
                said => {
                    output.hear(&said).await;
                    if let Err(error) = up.send(said).await {
                        return End::retry(error.to_string());
                    }
                    None
                }
            },
        };
        if let Some(answer) = answer
            && let Err(end) = send(out, line::write(&answer)).await
        {
            return end;
        }
    }
}

/// Tells the agent what the run has for it.
async fn write(
    mut down: DownLines,
    protocol: u32,
    steps: watch::Sender<BTreeMap<u32, String>>,
    out: &mpsc::Sender<Bytes>,
) -> End {
    loop {
        let line = match timeout(Duration::from_secs(HEARTBEAT_SECONDS), down.recv()).await {
            Err(_) => Down::Heartbeat,
            Ok(Some(line)) => line,
            // A newer link of the same machine, or too much to say to an agent that does not read.
            Ok(None) => return End::retry("this link was given up"),
        };
        let (mut text, mut last, mut next) = (Vec::new(), false, Some(line));
        while let Some(line) = next {
            if let Down::Plan(plan) = &line {
                let names = (0..).zip(plan.steps.iter().map(|step| step.step.clone())).chain(plan.names.clone());
                steps.send_replace(names.collect());
            }
            last = matches!(line, Down::Goodbye { .. });
            line::write_in(&mut text, line, protocol);
            // What is there already goes along: a frame for each line would cost more than the lines.
            next = if last || text.len() > AT_ONCE { None } else { down.try_recv() };
        }
        if let Err(end) = send(out, text.into()).await {
            return end;
        }
        if last {
            return End::Left;
        }
    }
}

async fn send(out: &mpsc::Sender<Bytes>, text: Bytes) -> Result<(), End> {
    match timeout(SLOW, out.send(text)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Left),
        // There is no use in a goodbye to somebody who does not read.
        Err(_) => Err(End::Left),
    }
}

/// What comes from the agent.
struct Input {
    body: BodyDataStream,
    lines: Lines,
}

impl Input {
    /// The next line. Cancel-safe: what has arrived is kept.
    async fn next(&mut self) -> Result<Bytes, End> {
        loop {
            match self.lines.next() {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => (),
                Err(line::TooLong) => return Err(End::retry("a line is longer than any may be")),
            }
            match self.body.next().await {
                Some(Ok(chunk)) => self.lines.push(&chunk),
                Some(Err(_)) | None => return Err(End::Left),
            }
        }
    }
}
