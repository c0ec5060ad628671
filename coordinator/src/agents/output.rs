//! The output of steps, as it comes over a link.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use slipstream_shared::{
    id::AttemptKey,
    link::{Change, Down, Up},
};
use tokio::sync::watch;

use crate::logs::{Appended, Logs, StepKey, StepLog};

/// The outputs one agent has under way.
pub(super) struct Output<'a> {
    logs: &'a Logs,
    key: &'a AttemptKey,
    /// The names of the steps, as the plan on this link has them.
    names: watch::Receiver<BTreeMap<u32, String>>,
    open: HashMap<u32, Open>,
}

struct Open {
    log: Arc<StepLog>,
    /// A chunk has come over this link: the next one follows it.
    begun: bool,
}

impl<'a> Output<'a> {
    /// Nothing under way.
    #[must_use]
    pub(super) fn new(logs: &'a Logs, key: &'a AttemptKey, names: watch::Receiver<BTreeMap<u32, String>>) -> Self {
        Output { logs, key, names, open: HashMap::new() }
    }

    /// Keeps a chunk; what to answer, if anything.
    ///
    /// # Errors
    /// It cannot be kept; the agent keeps it and comes back.
    pub(super) async fn log(&mut self, index: u32, offset: u64, data: &str) -> Result<Option<Down>, String> {
        let data = STANDARD.decode(data).map_err(|_| "output is not base64".to_owned())?;
        let Some(open) = self.open(index) else {
            // No step of the plan: nobody will ever look for it, and the agent must not keep it for ever.
            return Ok(Some(Down::LogAck { index, offset: offset.saturating_add(data.len() as u64) }));
        };
        let failed = |error: std::io::Error| {
            tracing::error!("cannot keep the output of a step: {error}");
            "the output of a step cannot be kept now".to_owned()
        };
        let mut appended = open.log.append(offset, &data).await.map_err(failed)?;
        if matches!(appended, Appended::Gap(_)) {
            if open.begun {
                return Err("a part of the output of a step was left out".to_owned());
            }
            // An agent begins after the last acknowledgement, so it no longer has what is missing.
            open.log.bridge(offset).await.map_err(failed)?;
            appended = open.log.append(offset, &data).await.map_err(failed)?;
        }
        open.begun = true;
        let (Appended::To(offset) | Appended::Gap(offset)) = appended;
        Ok(Some(Down::LogAck { index, offset }))
    }

    /// Notices the end of a step.
    pub(super) async fn hear(&mut self, said: &Up) {
        let Up::Do { change: Change::StepFinished { index, .. }, .. } = said else { return };
        let Some(open) = self.open(*index) else { return };
        if let Err(error) = open.log.finish().await {
            tracing::error!("cannot sync the output of a step: {error}");
        }
        self.open.remove(index);
    }

    fn open(&mut self, index: u32) -> Option<&mut Open> {
        if !self.open.contains_key(&index) {
            let step = self.names.borrow().get(&index)?.clone();
            let AttemptKey { run, instance, attempt } = self.key.clone();
            let log = self.logs.step(&StepKey { run, instance, attempt, index, step });
            self.open.insert(index, Open { log, begun: false });
        }
        self.open.get_mut(&index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(offset: u64) -> Option<Down> {
        Some(Down::LogAck { index: 0, offset })
    }

    #[tokio::test]
    async fn what_was_lost_is_marked_but_nothing_may_be_left_out() {
        let data = tempfile::tempdir().expect("a folder");
        let logs = Logs::new(data.path());
        let run = "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a run");
        let key = AttemptKey { run, instance: "web.1".parse().expect("an instance"), attempt: 1 };
        let (_steps, names) = watch::channel(BTreeMap::from([(0, "deploy".to_owned())]));
        let chunk = STANDARD.encode("abc");
        let mut first = Output::new(&logs, &key, names.clone());
        assert_eq!(first.log(0, 0, &chunk).await, Ok(ack(3)));
        assert_eq!(first.log(0, 3, &chunk).await, Ok(ack(6)));
        assert!(first.log(0, 20, &chunk).await.is_err(), "left out");
        assert_eq!(first.log(1, 0, &chunk).await, Ok(Some(Down::LogAck { index: 1, offset: 3 })), "no such step");
        assert!(first.log(0, 6, "?").await.is_err());
        let mut second = Output::new(&logs, &key, names);
        assert_eq!(second.log(0, 20, &chunk).await, Ok(ack(23)), "lost");
        let instance = key.instance.clone();
        let log = logs.step(&StepKey { run, instance, attempt: 1, index: 0, step: "deploy".into() });
        assert_eq!(log.read(0, 100).await.expect("readable"), b"abcabc[output lost]\nabc");
    }
}
