//! What tests of both ports use: a coordinator on free ports with a cloud in memory, and clients that
//! speak real TLS to it.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use slipstream_shared::{
    context::Context,
    link::{Boot, EnrolRequest, OLDEST_PROTOCOL, PROTOCOL},
    plan::Plan,
};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};

use crate::{
    RunningCoordinator,
    cloud::fake::{Started, World},
    config::{Config, StoreKind},
    drive::RunHandle,
    pki::AGENT_SERVER_NAME,
    seam::Seam,
    start_with,
};

/// A coordinator with its data.
pub(crate) struct Harness {
    pub(crate) coordinator: RunningCoordinator,
    pub(crate) data: tempfile::TempDir,
    machines: tokio::sync::Mutex<mpsc::UnboundedReceiver<Started>>,
    _world: World,
}

/// The run all tests use: one machine that runs one script.
pub(crate) fn plan() -> Plan {
    serde_json::from_value(json!({
        "module": "apps/test@1", "title": "Test", "category": "application",
        "nodes": { "web": {
            "component": "apps/test@1", "count": 1, "cloud": "fake", "image": "i", "login": "root",
            "params": { "port": { "type": "port" } },
            "steps": [{ "step": "deploy", "origin": "apps/test@1", "script": { "text": "true" } }],
        }},
    }))
    .expect("a plan")
}

pub(crate) fn config(data: PathBuf) -> Config {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        agent_certificate_life: crate::pki::AGENT_LIFE,
        listen: anywhere,
        agent_listen: anywhere,
        names: Vec::new(),
        data,
        store: StoreKind::Memory,
        clouds: BTreeMap::new(),
    }
}

impl Harness {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let seam = Seam::real();
        let world = World::new(seam.clone());
        let machines = world.starts();
        let clouds = BTreeMap::from([("fake".to_owned(), world.connector())]);
        let coordinator = start_with(config(data.path().to_owned()), seam, clouds).await.expect("starts");
        Harness { coordinator, data, machines: machines.into(), _world: world }
    }

    /// Starts a run and waits until its machine runs.
    pub(crate) async fn launch(&self) -> (RunHandle, Context) {
        let runs = &self.coordinator.app().runs;
        let id = runs
            .launch("admin", plan(), vec!["test".to_owned()], vec!["ssh-ed25519 A me".to_owned()])
            .await
            .expect("launches");
        let machine = self.machines.lock().await.recv().await.expect("a machine");
        let context = Context::from_user_data(machine.user_data.as_bytes()).expect("a context");
        assert_eq!(context.run, id);
        (runs.find(&id.to_string()).await.expect("there"), context)
    }

    /// A client of the API, as the administrator.
    pub(crate) async fn api(&self) -> Client {
        let mut client = self.open(self.coordinator.api_addr, "localhost", None).await.expect("connects");
        client.token = Some(self.coordinator.admin_token.clone());
        client
    }

    /// A client of the agent port, with its certificate if it has one.
    pub(crate) async fn agent(&self, identity: Option<(&KeyPair, &str)>) -> Result<Client, String> {
        self.open(self.coordinator.agent_addr, AGENT_SERVER_NAME, identity).await
    }

    async fn open(
        &self,
        address: SocketAddr,
        name: &'static str,
        identity: Option<(&KeyPair, &str)>,
    ) -> Result<Client, String> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.coordinator.authority().as_bytes()).expect("PEM");
        roots.add(authority).expect("an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some((key, pem)) => {
                let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                config.with_client_auth_cert(vec![certificate], key).expect("an identity")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
        let name = ServerName::try_from(name).expect("a name");
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = tls.connect(name, tcp).await.map_err(|e| e.to_string())?;
        let (send, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let mut driver = JoinSet::new();
        driver.spawn(async { drop(connection.await) });
        Ok(Client { send, token: None, _driver: driver })
    }
}

/// One connection.
pub(crate) struct Client {
    send: http2::SendRequest<UnsyncBoxBody<Bytes, std::convert::Infallible>>,
    pub(crate) token: Option<String>,
    _driver: JoinSet<()>,
}

impl Client {
    /// A request with headers and a body that may be endless.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: BoxStream<'static, Bytes>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let frames = body.map(|bytes| Ok(Frame::data(bytes)));
        let body = UnsyncBoxBody::new(StreamBody::new(frames));
        self.send.ready().await?;
        self.send.send_request(request.body(body).expect("a request")).await
    }

    /// A request with a short body; status and body of the answer.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (StatusCode, Bytes) {
        let body = body.into();
        let stream = futures_util::stream::iter((!body.is_empty()).then_some(body)).boxed();
        let response = self.send(method, path, headers, stream).await.expect("an answer");
        let status = response.status();
        (status, response.into_body().collect().await.expect("a body").to_bytes())
    }

    pub(crate) async fn get(&mut self, path: &str) -> (StatusCode, Value) {
        self.json(Method::GET, path, None).await
    }

    pub(crate) async fn json(&mut self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let (status, answer) = self.call(method, path, &[("content-type", "application/json")], body).await;
        (status, serde_json::from_slice(&answer).unwrap_or(Value::Null))
    }
}

/// A key and the request for its certificate.
pub(crate) fn key() -> (KeyPair, String) {
    let key = KeyPair::generate().expect("a key");
    let csr = CertificateParams::default().serialize_request(&key).and_then(|csr| csr.pem()).expect("a request");
    (key, csr)
}

/// The request by which the machine of a context enrols.
pub(crate) fn enrolment(context: &Context, csr: &str) -> EnrolRequest {
    EnrolRequest {
        protocol: PROTOCOL,
        oldest_protocol: OLDEST_PROTOCOL,
        agent: "0.0.0-test".to_owned(),
        run: context.run,
        instance: context.instance.clone(),
        attempt: context.attempt,
        token: context.token.clone(),
        csr: csr.to_owned(),
        platform: BTreeMap::new(),
        boot: Boot::default(),
    }
}
