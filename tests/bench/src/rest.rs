//! As much of the REST API as is measured: set and wait, over the same HTTP/2 as etcd's, with TLS. The typed
//! client does more with each answer than the load generator does for etcd.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Request;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde::Deserialize;
use slipstream_shared::parameter::Key;
use tokio::net::TcpStream;

use crate::{
    connection::{Connection, Pending, whole},
    serve::Greeting,
};

/// A connection to the API.
#[derive(Clone)]
pub(crate) struct Rest {
    connection: Arc<Connection>,
    base: String,
    bearer: String,
}

/// What of the answer to a wait counts.
#[derive(Deserialize)]
struct Met {
    seq: u64,
}

impl Rest {
    pub(crate) async fn connect(greeting: &Greeting) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(greeting.authority.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let address = greeting.api.strip_prefix("https://").context("an address")?;
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let host = address.rsplit_once(':').context("a port")?.0;
        let name = ServerName::try_from(host.to_owned())?;
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(Rest {
            connection: Arc::new(Connection::over(stream).await?),
            base: format!("{}/api/v1/runs", greeting.api),
            bearer: format!("Bearer {}", greeting.token),
        })
    }

    async fn send(&self, method: &str, path: &str, body: String) -> anyhow::Result<Pending> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/{path}", self.base))
            .header("authorization", &self.bearer)
            .header("content-type", "application/json")
            .body(whole(body))?;
        self.connection.send(request).await
    }

    /// Sets a parameter; it is then durable.
    pub(crate) async fn set(&self, run: &str, key: &Key, value: &str) -> anyhow::Result<()> {
        let body = format!("{{\"value\":{}}}", serde_json::to_string(value)?);
        answer(self.send("PUT", &format!("{run}/parameters/{key}"), body).await?).await.map(drop)
    }

    /// Begins to wait until a parameter is written after event `seen`; see [`written`].
    pub(crate) async fn newer(&self, run: &str, key: &Key, seen: u64) -> anyhow::Result<Pending> {
        let body = format!("{{\"conditions\":[\"{key}@{seen}\"],\"timeout\":300}}");
        self.send("POST", &format!("{run}/wait"), body).await
    }
}

/// The event that has written what was waited for.
pub(crate) async fn written(wait: Pending) -> anyhow::Result<u64> {
    let met: Met = serde_json::from_slice(&answer(wait).await?)?;
    Ok(met.seq)
}

async fn answer(request: Pending) -> anyhow::Result<Bytes> {
    let response = request.await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "status {status}: {}", String::from_utf8_lossy(&body));
    Ok(body)
}
