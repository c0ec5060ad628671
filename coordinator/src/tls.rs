//! How the two ports speak TLS.
//!
//! Both show a certificate of the coordinator's own authority. The agent port also accepts client
//! certificates of that authority; it does not insist, since an agent that enrols has none yet.

use std::{fmt, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::UnixTime,
    server::{VerifierBuilderError, WebPkiClientVerifier},
    time_provider::TimeProvider,
};

use crate::{
    pki::{Authority, PkiError},
    seam::Seam,
};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server's certificate cannot be made.
    #[error("cannot make the server's certificate")]
    Certificate(#[from] PkiError),
    /// rustls refuses what it was given.
    #[error("cannot set up TLS")]
    Rustls(#[from] rustls::Error),
    /// Client certificates cannot be verified.
    #[error("cannot set up the verification of client certificates")]
    Verifier(#[from] VerifierBuilderError),
}

/// The configurations of the two ports.
pub struct Tls {
    /// For people and programs: HTTP/1.1 and HTTP/2, no client certificates.
    pub api: Arc<ServerConfig>,
    /// For agents: HTTP/2, client certificates.
    pub agents: Arc<ServerConfig>,
}

/// Certificates are judged by the clock of the seam.
struct Clock(Seam);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_millis(self.0.now())))
    }
}

impl Tls {
    /// Makes a server certificate for `names` and both configurations.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(authority: &Authority, names: &[String], seam: &Seam) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let (chain, key) = authority.server(names)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let mut api =
            builder(&provider, seam)?.with_no_client_auth().with_single_cert(chain.clone(), key.clone_key())?;
        api.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut agents = builder(&provider, seam)?.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
        agents.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Tls { api: Arc::new(api), agents: Arc::new(agents) })
    }
}

fn builder(
    provider: &Arc<CryptoProvider>,
    seam: &Seam,
) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_details(Arc::clone(provider), Arc::new(Clock(seam.clone())))
        .with_safe_default_protocol_versions()
}
