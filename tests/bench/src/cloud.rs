//! A cloud whose machines exist only as contexts: whoever reads them plays the machines.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use slipstream_coordinator::cloud::{CloudError, Connector, LaunchRequest, MachineState, Observed};
use slipstream_shared::{
    id::{AttemptKey, RunId},
    plan::Size,
};

/// Its name in the modules that are launched.
pub(crate) const NAME: &str = "bench";

/// The machines of each run by name: whose they are, and the how manieth of the run.
type Machines = HashMap<RunId, BTreeMap<String, (AttemptKey, u32)>>;

/// Writes each context to standard output, one JSON object per line.
#[derive(Debug, Default)]
pub(crate) struct PlayedCloud {
    runs: Mutex<Machines>,
}

impl PlayedCloud {
    fn runs(&self) -> MutexGuard<'_, Machines> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Connector for PlayedCloud {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn launches_machines(&self) -> bool {
        false
    }

    fn coordinator_hosts(&self) -> Vec<String> {
        vec!["127.0.0.1".to_owned()]
    }

    async fn validate(&self, _image: Option<&str>) -> Result<(), CloudError> {
        Ok(())
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<String, CloudError> {
        let machine = (request.key.clone(), request.ordinal);
        if self.runs().entry(request.key.run).or_default().insert(request.name.clone(), machine).is_some() {
            return Ok(request.name.clone());
        }
        let mut line = serde_json::to_vec(&request.user_data.0).map_err(|e| CloudError::Permanent(e.to_string()))?;
        line.push(b'\n');
        std::io::stdout().write_all(&line).map_err(|e| CloudError::Permanent(e.to_string()))?;
        Ok(request.name.clone())
    }

    async fn find(&self, run: RunId) -> Result<Vec<Observed>, CloudError> {
        let runs = self.runs();
        let machines = runs.get(&run).into_iter().flatten();
        Ok(machines.map(|(name, (key, ordinal))| observed(name, key, *ordinal)).collect())
    }

    async fn terminate(&self, run: RunId, machine: &str) -> Result<(), CloudError> {
        self.runs().entry(run).and_modify(|machines| drop(machines.remove(machine)));
        Ok(())
    }

    async fn release(&self, run: RunId) -> Result<(), CloudError> {
        self.runs().remove(&run);
        Ok(())
    }

    async fn console(&self, _run: RunId, _machine: &str) -> Result<Option<String>, CloudError> {
        Ok(None)
    }
}

fn observed(name: &str, key: &AttemptKey, ordinal: u32) -> Observed {
    let [_, _, high, low] = ordinal.to_be_bytes();
    let address = Some(format!("10.78.{high}.{low}"));
    Observed {
        machine: name.to_owned(),
        key: key.clone(),
        state: MachineState::Running,
        public: address.clone(),
        private: address,
        ssh: None,
        size: Size::default(),
        disks: BTreeSet::new(),
    }
}
