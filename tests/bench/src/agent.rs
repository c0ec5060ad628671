//! An agent as far as the coordinator can tell: own key, own TLS connection, the public protocol.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{Request, Uri, body::Incoming};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _};
use slipstream_agent::tls::{ClientIdentity, Trust, config};
use slipstream_shared::{
    context::Context,
    id::InstanceId,
    link::{
        Boot, Change, Down, ENROL_PATH, EnrolAnswer, EnrolRequest, HEARTBEAT_SECONDS, LINK_PATH, OLDEST_PROTOCOL,
        PROTOCOL, Refusal, Up,
    },
};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};

use crate::{
    connection::{Connection, pieces, whole},
    traffic::{Counted, Traffic},
};

/// A machine with an open link.
pub(crate) struct Agent {
    pub(crate) instance: InstanceId,
    say: mpsc::UnboundedSender<Bytes>,
    body: Incoming,
    buffer: BytesMut,
    op: u64,
    _beats: JoinSet<()>,
    _connection: Connection,
}

/// Why an attempt to enrol did not work, and whether it may later.
pub(crate) enum NotEnrolled {
    Later(String),
    Never(anyhow::Error),
}

/// Trades the token of a context for a certificate.
pub(crate) async fn enrol(context: &Context, traffic: &Traffic) -> Result<ClientIdentity, NotEnrolled> {
    let never = |error: anyhow::Error| NotEnrolled::Never(error);
    let key = KeyPair::generate().map_err(|e| never(e.into()))?;
    let later = |error: anyhow::Error| NotEnrolled::Later(format!("{error:#}"));
    let connection = connect(context, None, traffic).await.map_err(later)?;
    let request = request(context, &key).map_err(never)?;
    let response = connection.call(request).await.map_err(later)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|e| later(e.into()))?.to_bytes();
    if status != 200 {
        let refusal: Refusal = serde_json::from_slice(&body).map_err(|e| never(e.into()))?;
        let retry = refusal.retry;
        let text = format!("{} is refused ({}): {}", context.instance, refusal.code, refusal.message);
        return Err(if retry { NotEnrolled::Later(text) } else { never(anyhow::anyhow!(text)) });
    }
    identity(&body, &key).map_err(never)
}

fn request(context: &Context, key: &KeyPair) -> anyhow::Result<Request<crate::connection::Body>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, context.instance.to_string());
    let enrol = EnrolRequest {
        protocol: PROTOCOL,
        oldest_protocol: OLDEST_PROTOCOL,
        agent: "bench".to_owned(),
        run: context.run,
        instance: context.instance.clone(),
        attempt: context.attempt,
        token: context.token.clone(),
        csr: params.serialize_request(key)?.pem()?,
        boot: Boot::default(),
        platform: [("hostname".to_owned(), context.instance.to_string())].into(),
    };
    let url = format!("{}{ENROL_PATH}", context.urls.first().context("a context has a URL")?);
    let request = Request::post(url).header("content-type", "application/json");
    Ok(request.body(whole(serde_json::to_vec(&enrol)?))?)
}

fn identity(answer: &[u8], key: &KeyPair) -> anyhow::Result<ClientIdentity> {
    let answer: EnrolAnswer = serde_json::from_slice(answer)?;
    let chain = CertificateDer::pem_slice_iter(answer.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    Ok((chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))))
}

async fn connect(context: &Context, client: Option<ClientIdentity>, traffic: &Traffic) -> anyhow::Result<Connection> {
    let uri: Uri = context.urls.first().context("a context has a URL")?.parse()?;
    let (host, port) = (uri.host().context("it has a host")?, uri.port_u16().context("and a port")?);
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    let trust = Trust { pin: context.pin.clone(), issued: context.issued };
    let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config(&trust, client)?));
    let name = ServerName::try_from(context.server_name.clone())?;
    Connection::over(tls.connect(name, Counted { tcp, traffic: traffic.clone() }).await?).await
}

impl Agent {
    /// Enrols and opens the link, without trying twice.
    pub(crate) async fn start(context: &Context) -> anyhow::Result<Self> {
        let traffic = Traffic::default();
        match enrol(context, &traffic).await {
            Ok(client) => Agent::link(context, client, &traffic).await,
            Err(NotEnrolled::Later(why)) => bail!("{why}"),
            Err(NotEnrolled::Never(error)) => Err(error),
        }
    }

    /// Opens the link of an enrolled machine.
    pub(crate) async fn link(context: &Context, client: ClientIdentity, traffic: &Traffic) -> anyhow::Result<Self> {
        let connection = connect(context, Some(client), traffic).await?;
        let (say, body) = pieces();
        let url = format!("{}{LINK_PATH}", context.urls.first().context("a context has a URL")?);
        let request = Request::post(url).header("content-type", "application/x-ndjson").body(body)?;
        let hello = Up::Hello {
            protocol: PROTOCOL,
            oldest_protocol: OLDEST_PROTOCOL,
            agent: "bench".to_owned(),
            boot: Boot::default(),
            addresses: vec![],
        };
        let _ = say.send(line(&hello));
        let response = connection.call(request).await?;
        ensure!(response.status() == 200, "the link is refused with status {}", response.status());
        let (body, buffer) = (response.into_body(), BytesMut::new());
        let instance = context.instance.clone();
        let mut beats = JoinSet::new();
        beats.spawn(heartbeats(say.clone()));
        let mut agent = Agent { instance, say, body, buffer, op: 0, _beats: beats, _connection: connection };
        match agent.hear().await? {
            Down::Hello { last_op, .. } => agent.op = last_op,
            other => bail!("the first line is no hello: {other:?}"),
        }
        Ok(agent)
    }

    pub(crate) fn say(&self, up: &Up) {
        // A broken link shows when it is read.
        let _ = self.say.send(line(up));
    }

    /// Makes a change; gives its number.
    pub(crate) fn change(&mut self, change: Change) -> u64 {
        self.op += 1;
        self.say(&Up::Do { op: self.op, change });
        self.op
    }

    /// The next line from the coordinator.
    pub(crate) async fn hear(&mut self) -> anyhow::Result<Down> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Ok(serde_json::from_slice(&line)?);
            }
            let frame =
                self.body.frame().await.with_context(|| format!("the link of {} has ended", self.instance))??;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    /// Waits for what became of a change.
    pub(crate) async fn done(&mut self, number: u64) -> anyhow::Result<()> {
        loop {
            match self.hear().await? {
                Down::Done { op, refused: None } if op == number => return Ok(()),
                Down::Done { op, refused: Some(refused) } if op == number => bail!("refused: {}", refused.message),
                Down::Goodbye { reason, .. } => bail!("the coordinator says goodbye: {reason}"),
                _ => {}
            }
        }
    }
}

async fn heartbeats(say: mpsc::UnboundedSender<Bytes>) {
    let mut every = tokio::time::interval(Duration::from_secs(HEARTBEAT_SECONDS));
    loop {
        every.tick().await;
        if say.send(line(&Up::Heartbeat)).is_err() {
            return;
        }
    }
}

fn line(up: &Up) -> Bytes {
    let mut line = serde_json::to_vec(up).expect("plain data serializes");
    line.push(b'\n');
    line.into()
}
