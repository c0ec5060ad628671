//! Brings a coordinator up: folder, authority, store, clouds, runs, ports; in that order, so that
//! nobody is let in before everything is there.

use std::{collections::BTreeMap, io, net::SocketAddr, path::Path, sync::Arc};

use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;

use crate::{
    access::{Access, AccessError},
    agents, api,
    app::{App, Shared},
    backup::ADDRESS,
    catalogue::{Catalogue, CatalogueError},
    cloud::{self, CloudEnv, CloudError, Connector},
    config::{Config, StoreKind},
    drive::{LaunchSecret, Runs, Trust, World},
    files::{self, PUBLIC},
    logs::{Logs, Reports},
    pki::{self, AGENT_SERVER_NAME, Authority, PkiError},
    seam::Seam,
    server::{self, Port, ServerError},
    shutdown,
    store::{Backend, MemoryBackend, SledBackend, StoreError},
    tls::{Tls, TlsError},
};

/// How many launches may be under way at once.
const LAUNCHING: usize = 16;

/// How many requests one connection to the API may have under way.
const API_STREAMS: u32 = 256;

/// The same for an agent: its link, and now and then a report.
const AGENT_STREAMS: u32 = 16;

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error("cannot use the data folder {path}; it must be a folder that this user may write")]
    Data {
        /// Which folder.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The authority cannot be opened.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A cloud is configured wrongly.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The administrator's token cannot be kept.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The modules cannot be read.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A port cannot be opened.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// A coordinator that takes requests. Dropping it stops nothing: call [`RunningCoordinator::stop`].
#[derive(Debug)]
pub struct RunningCoordinator {
    /// Where the API is.
    pub api_addr: SocketAddr,
    /// Where agents go.
    pub agent_addr: SocketAddr,
    /// The token of the administrator.
    pub admin_token: String,
    app: Shared,
}

impl RunningCoordinator {
    /// The certificate that clients pin, PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.app.authority.pem()
    }

    /// Its parts, for tests and benchmarks.
    #[must_use]
    pub fn app(&self) -> &Shared {
        &self.app
    }

    /// Stops in the order of [`shutdown`]. False when something did not end in time.
    pub async fn stop(self) -> bool {
        shutdown::stop(&self.app.seam, &*self.app.store).await
    }
}

/// Starts a coordinator with the clouds of its configuration.
///
/// # Errors
/// See [`StartError`].
pub async fn start(config: Config, seam: Seam) -> Result<RunningCoordinator, StartError> {
    start_with(config, seam, BTreeMap::new()).await
}

/// The same, with further clouds that are there already.
///
/// # Errors
/// See [`StartError`].
pub async fn start_with(
    config: Config,
    seam: Seam,
    mut clouds: BTreeMap<String, Arc<dyn Connector>>,
) -> Result<RunningCoordinator, StartError> {
    let data = |source| StartError::Data { path: config.data.display().to_string(), source };
    files::private_folder(&config.data).map_err(data)?;
    let authority = Authority::open(&config.data, &seam)?;
    let tls = Tls::new(&authority, &config.names, &seam)?;
    // Before the store: a port that is taken is the likelier mistake, and leaves nothing to close.
    let (api_listener, api_addr) = server::bind(config.listen, "server.listen").await?;
    let (agent_listener, agent_addr) = server::bind(config.agent_listen, "server.agent_listen").await?;
    clouds.append(&mut open_clouds(&config, &authority, &seam)?);
    let store = open_store(&config).await?;
    let access = Access::open(Arc::clone(&store), seam.clone()).await?;
    let admin_token = access.admin(&config.data).await?;
    let world = World {
        backend: Arc::clone(&store),
        seam: seam.clone(),
        clouds: clouds.clone(),
        trust: trust(&config, &authority, agent_addr),
        launching: Semaphore::new(LAUNCHING),
    };
    let catalogue = Catalogue::new(Arc::clone(&store));
    catalogue.index().await?;
    let app = Arc::new(App {
        catalogue,
        runs: Runs::start(world).await?,
        launches: LaunchSecret::new(authority.secret()),
        logs: Logs::new(&config.data),
        reports: Reports::new(&config.data),
        seam: seam.clone(),
        store,
        access,
        authority,
        clouds,
    });
    files::write_atomic(&config.data.join(ADDRESS), format!("{api_addr}\n").as_bytes(), PUBLIC).map_err(data)?;
    let port = |name, tls, router, streams| Port { name, tls, router, streams };
    server::serve(&seam, api_listener, port("api", tls.api, api::router(&app), API_STREAMS));
    server::serve(&seam, agent_listener, port("agents", tls.agents, agents::router(&app), AGENT_STREAMS));
    Ok(RunningCoordinator { api_addr, agent_addr, admin_token, app })
}

fn open_clouds(
    config: &Config,
    authority: &Authority,
    seam: &Seam,
) -> Result<BTreeMap<String, Arc<dyn Connector>>, CloudError> {
    let id = digest(&SHA256, authority.pin().as_bytes());
    let coordinator_id = pki::hex(&id.as_ref()[..8]);
    let open = |(name, cloud): (&String, &crate::config::CloudConfig)| {
        let data = config.data.join("clouds").join(name);
        let env = CloudEnv { data, seam: seam.clone(), coordinator_id: coordinator_id.clone() };
        Ok((name.clone(), cloud::open(name, &cloud.kind, &cloud.settings, &env)?))
    };
    config.clouds.iter().map(open).collect()
}

async fn open_store(config: &Config) -> Result<Arc<dyn Backend>, StoreError> {
    match config.store {
        StoreKind::Memory => Ok(Arc::new(MemoryBackend::new())),
        StoreKind::Sled => {
            let path = config.data.join("store");
            let opened = tokio::task::spawn_blocking(move || SledBackend::open(&path)).await;
            let panicked = |_| StoreError::Damaged {
                path: config.data.join("store").display().to_string(),
                reason: "opening it failed".to_owned(),
            };
            Ok(Arc::new(opened.map_err(panicked)??))
        }
    }
}

fn trust(config: &Config, authority: &Authority, agents: SocketAddr) -> Trust {
    let mut hosts = config.names.clone();
    if !agents.ip().is_unspecified() && !agents.ip().is_loopback() {
        hosts.push(agents.ip().to_string());
    }
    Trust {
        secret: LaunchSecret::new(authority.secret()),
        pin: authority.pin(),
        server_name: AGENT_SERVER_NAME.to_owned(),
        port: agents.port(),
        hosts,
    }
}

/// Says whether the clouds of a configuration could be opened. Changes nothing.
///
/// # Errors
/// One is configured wrongly.
pub fn check(config: &Config, seam: &Seam) -> Result<(), CloudError> {
    for (name, cloud) in &config.clouds {
        let data = Path::new("/nonexistent").to_owned();
        let env = CloudEnv { data, seam: seam.clone(), coordinator_id: String::new() };
        cloud::open(name, &cloud.kind, &cloud.settings, &env)?;
    }
    Ok(())
}
