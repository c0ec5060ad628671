//! Machines of this host, powered off and on again. A file in the folder of a machine says that its end was
//! wanted: without it, one whose processes have ended has failed.

use std::{fs, time::Duration};

use slipstream_shared::id::RunId;

use super::{Host, Machine, blocking, failed};
use crate::cloud::CloudError;

const STOPPED: &str = "stopped";

impl Machine {
    /// True where somebody has powered it off.
    pub(in crate::cloud) fn is_stopped(&self) -> bool {
        self.dir.join(STOPPED).exists()
    }
}

impl Host {
    /// Ends the processes of a machine and keeps its folder.
    pub(in crate::cloud) async fn power_off(&self, run: RunId, name: &str, grace: Duration) -> Result<(), CloudError> {
        let machine = self.there(run, name).await?;
        blocking(move || fs::write(machine.dir.join(STOPPED), "").map_err(|e| failed("write to", &machine.dir, &e)))
            .await?;
        self.processes.end(&self.marker(run, name), grace).await
    }

    /// Has the processes of a machine started by `start`, which gives the number of the main one, unless they run.
    pub(in crate::cloud) async fn power_on<F>(
        &self,
        run: RunId,
        name: &str,
        start: impl FnOnce(Machine) -> F + Send,
    ) -> Result<(), CloudError>
    where
        F: Future<Output = Result<i32, CloudError>> + Send,
    {
        let machine = self.there(run, name).await?;
        let (dir, stopped) = (machine.dir.clone(), machine.dir.join(STOPPED));
        if self.processes.oldest(&self.marker(run, name)).await?.is_none() {
            let pid = start(machine).await?;
            super::host::note_start(&dir, pid)?;
        }
        match fs::remove_file(&stopped) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", &stopped, &e)),
            _ => Ok(()),
        }
    }

    async fn there(&self, run: RunId, name: &str) -> Result<Machine, CloudError> {
        let found = self.get(run, name).await?.filter(|machine| !machine.is_terminating());
        found.ok_or_else(|| CloudError::Permanent(format!("there is no machine {name}")))
    }
}
