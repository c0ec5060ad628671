//! What every handler of both ports can use.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    access::Access,
    catalogue::Catalogue,
    cloud::Connector,
    drive::{LaunchSecret, Runs},
    logs::{Logs, Reports},
    pki::Authority,
    seam::Seam,
    store::Backend,
};

/// The parts of a running coordinator.
pub struct App {
    /// Clock, randomness, tasks, and whether to stop.
    pub seam: Seam,
    /// Durable bytes, for what has no room of its own: idempotency keys.
    pub store: Arc<dyn Backend>,
    /// Users, groups and tokens.
    pub access: Access,
    /// Certificates.
    pub authority: Authority,
    /// Knows the tokens of launches.
    pub launches: LaunchSecret,
    /// Modules.
    pub catalogue: Catalogue,
    /// Runs.
    pub runs: Runs,
    /// Output of steps.
    pub logs: Logs,
    /// Reports of machines.
    pub reports: Reports,
    /// The configured clouds, by name. Only their consoles are read here; `drive/` does the rest.
    pub clouds: BTreeMap<String, Arc<dyn Connector>>,
}

/// As handlers get it.
pub type Shared = Arc<App>;

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("clouds", &self.clouds.keys()).finish_non_exhaustive()
    }
}
