//! Watches a run: shows its progress line by line until it is where it should be.

use slipstream_shared::{
    api::RunDetail,
    client::{Client, EventStream, Update},
    id::InstanceId,
    state::RunState,
};

use crate::{
    context::Context,
    exit::Exit,
    output::Tone,
    progress::{Line, Progress},
};

/// How much of a failed step's output is shown.
const TAIL_LINES: usize = 10;
const TAIL_BYTES: u64 = 4096;

/// What to watch for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Ready, or ended before.
    Ready,
    /// Ended, and everything is gone.
    Gone,
    /// An operation is over, and the run Ready again or ended.
    Operation(u32),
}

/// A run that is being watched.
pub(crate) struct Watch<'a> {
    context: &'a Context,
    client: Client,
    id: String,
    short: String,
    events: EventStream,
    pub(crate) progress: Progress,
    /// What happened up to this event is history: no reason to stop watching.
    caught_up: u64,
    lost: bool,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(context: &'a Context, client: Client, run: &RunDetail) -> Self {
        let id = run.summary.id.to_string();
        Watch {
            context,
            events: client.events(&id, 0),
            client,
            short: run.summary.id.short(),
            id,
            progress: Progress::default(),
            caught_up: run.seq,
            lost: false,
        }
    }

    /// Shows what happens until the run is there; [`Exit::RunFailed`] if it has failed. Can be
    /// dropped and called again.
    pub(crate) async fn until(&mut self, until: Until) -> anyhow::Result<Exit> {
        loop {
            if self.progress.seq() >= self.caught_up.max(1) {
                let state = self.progress.state();
                if let Until::Operation(number) = until
                    && let Some(succeeded) = self.progress.operation(number)
                    && (state.is_final() || state == RunState::Ready)
                {
                    return Ok(if succeeded { Exit::Done } else { Exit::RunFailed });
                }
                let there = state.is_final() || (until == Until::Ready && state == RunState::Ready);
                if there {
                    return Ok(if self.progress.has_failed() { Exit::RunFailed } else { Exit::Done });
                }
            }
            self.next().await?;
        }
    }

    /// Shows the next thing that happens.
    async fn next(&mut self) -> anyhow::Result<()> {
        let paint = self.context.screen.err;
        match self.events.next().await? {
            Update::Record(record) => {
                if std::mem::take(&mut self.lost) {
                    self.context.screen.message(&paint.tone(Tone::Dim, "Connected again."));
                }
                for line in self.progress.apply(&record) {
                    self.show(&line).await;
                }
            }
            Update::Lost { why } => {
                if !std::mem::replace(&mut self.lost, true) {
                    let text =
                        format!("No connection to the coordinator ({why}); trying again. The run is not affected.");
                    self.context.screen.message(&paint.tone(Tone::Warn, &text));
                }
            }
        }
        Ok(())
    }

    async fn show(&self, line: &Line) {
        let screen = &self.context.screen;
        screen.message(&self.progress.render(line, screen.err));
        let Some((instance, index)) = &line.tail else { return };
        // Only an illustration: without it the line above still says what failed.
        let tail = self.tail(instance, *index).await.unwrap_or_default();
        for text in tail.lines().rev().take(TAIL_LINES).collect::<Vec<_>>().into_iter().rev() {
            screen.message(&self.progress.below(text, screen.err));
        }
        let more = format!("all of it: slipstream run logs {} {instance}", self.short);
        screen.message(&self.progress.below(&more, screen.err));
    }

    async fn tail(&self, instance: &InstanceId, index: u32) -> anyhow::Result<String> {
        let logs = self.client.logs(&self.id, instance).await?;
        let size = logs.iter().find(|log| log.index == index).map_or(0, |log| log.size);
        let offset = size.saturating_sub(TAIL_BYTES);
        let bytes = self.client.log(&self.id, instance, index, offset).await?.bytes().await?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // The first line is cut.
        Ok(if offset > 0 { text.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or(text) } else { text })
    }
}
