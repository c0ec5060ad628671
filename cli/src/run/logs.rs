//! `slipstream run logs`: the output of scripts, of one step or of a whole run at once.

use std::{collections::BTreeSet, io, time::Duration};

use slipstream_shared::{
    client::{Client, ClientError, Update},
    event::Event,
    id::InstanceId,
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    context::Context,
    exit::Exit,
    output::{Screen, Tone},
};

/// Which output to print.
pub(super) struct Choice {
    pub(super) instance: Option<InstanceId>,
    pub(super) step: Option<String>,
    /// Of which launch of the instance; the last one unless said.
    pub(super) attempt: Option<u32>,
}

impl Choice {
    fn has(&self, instance: &InstanceId, step: &str) -> bool {
        self.instance.as_ref().is_none_or(|i| i == instance) && self.step.as_ref().is_none_or(|s| s == step)
    }

    /// What stands before each line: only what was not asked for by name.
    fn prefix(&self, instance: &InstanceId, step: &str) -> String {
        match (&self.instance, &self.step) {
            (Some(_), Some(_)) => String::new(),
            (Some(_), None) => format!("{step:<8} | "),
            (None, Some(_)) => format!("{:<12} | ", instance.to_string()),
            (None, None) => format!("{:<12}  {step:<8} | ", instance.to_string()),
        }
    }
}

pub(super) async fn run(
    context: &Context,
    client: Client,
    run: &str,
    choice: &Choice,
    follow: bool,
) -> anyhow::Result<Exit> {
    let detail = client.run(run).await?;
    let id = detail.summary.id.to_string();
    context.come_back_with(format!("slipstream run logs {} -f", detail.summary.id.short()));
    if follow {
        return Followers::new(context, client, id, choice).run(detail.seq).await;
    }
    let mut found = false;
    let chosen: Vec<InstanceId> = match &choice.instance {
        Some(instance) => vec![instance.clone()],
        None => detail.nodes.iter().map(|n| n.instance.clone()).collect(),
    };
    for instance in &chosen {
        let logs = match choice.attempt {
            Some(attempt) => client.logs_of(&id, instance, attempt).await?,
            None => client.logs(&id, instance).await?,
        };
        for log in logs.iter().filter(|log| choice.has(instance, &log.step)) {
            found = true;
            let mut lines = Lines::new(&context.screen, choice.prefix(instance, &log.step));
            let mut body = match choice.attempt {
                Some(attempt) => client.log_of(&id, instance, log.index, attempt).await?,
                None => client.log(&id, instance, log.index, 0).await?,
            };
            while let Some(chunk) = body.chunk().await? {
                lines.write(&chunk)?;
            }
            lines.finish()?;
        }
    }
    if !found {
        context.screen.message("No output yet.");
    }
    Ok(Exit::Done)
}

/// Follows each chosen step from the moment it starts.
struct Followers<'a> {
    context: &'a Context,
    client: Client,
    id: String,
    choice: &'a Choice,
    active: BTreeSet<(InstanceId, u32)>,
    outputs: std::collections::BTreeMap<(InstanceId, u32), Lines<'a>>,
    tasks: JoinSet<(InstanceId, u32, Result<(), ClientError>)>,
}

type Piece = (InstanceId, u32, Vec<u8>);

impl<'a> Followers<'a> {
    fn new(context: &'a Context, client: Client, id: String, choice: &'a Choice) -> Self {
        Followers {
            context,
            client,
            id,
            choice,
            active: BTreeSet::new(),
            outputs: std::collections::BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    async fn run(&mut self, caught_up: u64) -> anyhow::Result<Exit> {
        let (pieces, mut arrived) = mpsc::channel::<Piece>(64);
        let mut events = self.client.events(&self.id, 0);
        let mut ended = false;
        loop {
            if ended && events.position() >= caught_up && self.active.is_empty() {
                return Ok(Exit::Done);
            }
            tokio::select! {
                // Output first: a step that has ended is only done when all of it is printed.
                biased;
                Some((instance, index, bytes)) = arrived.recv() => {
                    if let Some(lines) = self.outputs.get_mut(&(instance, index)) {
                        lines.write(&bytes)?;
                    }
                }
                Some(done) = self.tasks.join_next() => {
                    let (instance, index, result) = done?;
                    self.active.remove(&(instance.clone(), index));
                    if let Some(mut lines) = self.outputs.remove(&(instance, index)) {
                        lines.finish()?;
                    }
                    result?;
                }
                update = events.next(), if !ended => match update? {
                    Update::Record(record) => match record.event {
                        Event::StepStarted { instance, index, step } => self.start(instance, index, &step, &pieces),
                        Event::StateChanged { state } => ended = state.is_final(),
                        _ => {}
                    },
                    Update::Lost { why } => {
                        self.context.screen.message(&format!("No connection to the coordinator ({why}); trying again."));
                    }
                }
            }
        }
    }

    fn start(&mut self, instance: InstanceId, index: u32, step: &str, pieces: &mpsc::Sender<Piece>) {
        if !self.choice.has(&instance, step) || !self.active.insert((instance.clone(), index)) {
            return;
        }
        let lines = Lines::new(&self.context.screen, self.choice.prefix(&instance, step));
        self.outputs.insert((instance.clone(), index), lines);
        let (client, id, pieces) = (self.client.clone(), self.id.clone(), pieces.clone());
        self.tasks.spawn(async move {
            let result = follow(&client, &id, &instance, index, &pieces).await;
            (instance, index, result)
        });
    }
}

async fn follow(
    client: &Client,
    id: &str,
    instance: &InstanceId,
    index: u32,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), ClientError> {
    let mut log = client.follow_log(id, instance, index);
    let mut tries = 0;
    loop {
        match log.chunk().await {
            Ok(Some(bytes)) => {
                if pieces.send((instance.clone(), index, bytes.to_vec())).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            // The first output of a step may come some time after the news that it has started.
            Err(ClientError::Problem(problem)) if problem.status == 404 => {
                tries += 1;
                if tries > 20 {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Prints bytes as whole lines, each with a prefix; without one, unchanged.
struct Lines<'a> {
    screen: &'a Screen,
    prefix: String,
    rest: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn new(screen: &'a Screen, prefix: String) -> Self {
        Lines { screen, prefix: screen.out.tone(Tone::Dim, &prefix), rest: Vec::new() }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.prefix.is_empty() {
            return self.screen.raw(bytes);
        }
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|b| *b == b'\n') else { return Ok(()) };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        self.screen.raw(&prefixed(&self.prefix, &whole))
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let mut last = std::mem::take(&mut self.rest);
        last.push(b'\n');
        self.screen.raw(&prefixed(&self.prefix, &last))
    }
}

fn prefixed(prefix: &str, whole: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(whole.len() + prefix.len() * 4);
    for line in whole.split_inclusive(|b| *b == b'\n') {
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_get_a_prefix_unless_one_step_was_asked_for() {
        let web: InstanceId = "web.1".parse().expect("valid");
        let all = Choice { instance: None, step: None, attempt: None };
        let text = prefixed(&all.prefix(&web, "deploy"), b"a\nb\n");
        assert_eq!(String::from_utf8_lossy(&text), "web.1         deploy   | a\nweb.1         deploy   | b\n");
        let one = Choice { instance: Some(web.clone()), step: Some("deploy".into()), attempt: None };
        assert_eq!(one.prefix(&web, "deploy"), "");
        assert!(!one.has(&web, "install"));
    }
}
