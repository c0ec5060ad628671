//! Runs whose records are damaged. Nobody drives them: what they were about to do is not known. They are listed and
//! shown as far as they can be read, until a backup is restored or somebody gives them up.

use std::sync::{Arc, MutexGuard, PoisonError};

use slipstream_shared::{
    api::{RunDetail, RunSummary},
    event::{Author, Event, Record},
    id::RunId,
    state::{Outcome, RunState},
};

use super::{RunError, Runs, journal::Journal};
use crate::{
    run::{change::Refused, view::timestamp},
    store::{Batch, StoreError, layout},
};

/// The damaged runs that were met, as lists show them.
pub(super) type Damaged = std::collections::BTreeMap<RunId, RunSummary>;

impl Runs {
    /// A run, whether it is whole or not.
    ///
    /// # Errors
    /// There is none, or nothing of it can be read.
    pub async fn detail(&self, id: RunId) -> Result<RunDetail, RunError> {
        match self.open(id).await {
            Ok(Some(run)) => run.detail().await,
            Ok(None) => Err(RunError::NotFound(id.to_string())),
            Err(StoreError::Lost { reason, .. }) => self.remains(id, reason).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Gives up on the machines of a run that cannot be removed, or on a damaged run: it ends, and says what it leaves.
    ///
    /// # Errors
    /// Its end was not asked for, or it has ended.
    pub async fn abandon(&self, id: RunId, by: Author) -> Result<RunDetail, RunError> {
        match self.open(id).await {
            Ok(Some(run)) => {
                run.abandon(by).await?;
                run.detail().await
            }
            Ok(None) => Err(RunError::NotFound(id.to_string())),
            Err(StoreError::Lost { reason, .. }) => {
                self.end_damaged(id, by).await?;
                self.remains(id, reason).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What can be read of a damaged run.
    async fn remains(&self, id: RunId, reason: String) -> Result<RunDetail, RunError> {
        let rest = Journal::new(Arc::clone(&self.world.backend), id).rest().await?;
        let Some(run) = rest.run else {
            return Err(RunError::Store(Arc::new(StoreError::Lost { what: format!("run {}", id.short()), reason })));
        };
        let mut detail = run.detail(|_| false);
        detail.summary.damaged = Some(reason);
        Ok(detail)
    }

    async fn end_damaged(&self, id: RunId, by: Author) -> Result<(), RunError> {
        let journal = Journal::new(Arc::clone(&self.world.backend), id);
        let rest = journal.rest().await?;
        let ended = |state: RunState| {
            let reason = format!("run {} has ended ({state}): there is nothing to abandon", id.short());
            RunError::Refused(Refused::Gone(reason))
        };
        let mut summary = self.damaged().get(&id).cloned().unwrap_or_else(|| unknown(id));
        if summary.state.is_final() {
            return Err(ended(summary.state));
        }
        let Some(mut run) = rest.run else {
            // Not even what it was is known: the list alone can say that it is over.
            summary.state = RunState::Aborted;
            let writes = vec![(layout::summary(id), Some(json(&summary)))];
            self.world.backend.append(Batch { expect: vec![], writes }).await?;
            self.damaged().insert(id, summary);
            return Ok(());
        };
        let at = timestamp(self.world.seam.now());
        let events = [Event::Abandoned { left: run.left_behind() }, Event::StateChanged { state: RunState::Aborted }];
        let mut records = Vec::new();
        for (seq, event) in (rest.last + 1..).zip(events) {
            let record = Record { seq, at, by: by.clone(), op: None, event };
            run.apply(&record);
            records.push(record);
        }
        let summary = RunSummary { damaged: summary.damaged, ..run.summary() };
        journal.append(&records, Some(&summary)).await?;
        self.damaged().insert(id, summary);
        Ok(())
    }

    /// Takes up what is known of the runs in the store: drives those that are whole and have not ended, remembers
    /// those that are damaged, and writes lost summaries again.
    pub(super) async fn take_up(&self) -> Result<(), StoreError> {
        let backend = &self.world.backend;
        let mut after = Some(layout::RUNS.to_vec());
        let mut with_records = std::collections::BTreeSet::new();
        // One look for each run, not one for each of its records.
        while let Some((key, _)) = backend.scan(layout::RUNS, after.as_deref(), 1).await?.pop() {
            let run = layout::key_of_run(&key);
            with_records.extend(run);
            after = Some(run.map_or(key, layout::behind_run));
        }
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = backend.scan(layout::SUMMARIES, after.as_deref(), 500).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, bytes) in page {
                let Some(id) = layout::parse_summary(&key) else { continue };
                let Ok(summary) = serde_json::from_slice::<RunSummary>(&bytes) else {
                    with_records.insert(id);
                    continue;
                };
                with_records.remove(&id);
                if !summary.state.is_final() || summary.damaged.is_some() {
                    self.take_up_one(id).await?;
                }
            }
        }
        for id in with_records {
            self.make_summary(id).await?;
            self.take_up_one(id).await?;
        }
        Ok(())
    }

    async fn take_up_one(&self, id: RunId) -> Result<(), StoreError> {
        match self.open(id).await {
            Ok(_) | Err(StoreError::Lost { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the summary of a run again, of its events.
    async fn make_summary(&self, id: RunId) -> Result<(), StoreError> {
        let rest = Journal::new(Arc::clone(&self.world.backend), id).rest().await?;
        let Some(run) = rest.run else { return Ok(()) };
        tracing::warn!(run = %id, "the summary of a run was lost; it is made again");
        let writes = vec![(layout::summary(id), Some(json(&run.summary())))];
        self.world.backend.append(Batch { expect: vec![], writes }).await
    }

    /// Has lists show that a run is damaged.
    pub(super) fn remember(&self, id: RunId, summary: Option<RunSummary>, reason: String) {
        let mut damaged = self.damaged();
        if damaged.contains_key(&id) {
            return;
        }
        tracing::error!(
            run = %id,
            "run {0} is damaged: {reason}. It is shown as far as it can be read, and nobody drives it \
             (restore a backup, or end it with: slipstream run abandon {0})",
            id.short()
        );
        damaged.insert(id, RunSummary { damaged: Some(reason), ..summary.unwrap_or_else(|| unknown(id)) });
    }

    pub(super) fn damaged(&self) -> MutexGuard<'_, Damaged> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lists show of a run of which nothing can be read.
fn unknown(id: RunId) -> RunSummary {
    let created = timestamp(id.millis().unwrap_or_default());
    RunSummary {
        id,
        module: "(unreadable)".to_owned(),
        title: String::new(),
        owner: String::new(),
        state: RunState::Initializing,
        outcome: Outcome::Failed,
        abort: None,
        failure: None,
        ready: 0,
        instances: 0,
        health: String::new(),
        url: None,
        tags: vec![],
        created,
        changed: created,
        damaged: None,
        grants: slipstream_shared::sharing::Grants::default(),
    }
}

fn json(summary: &RunSummary) -> Vec<u8> {
    serde_json::to_vec(summary).expect("a summary is plain data")
}
