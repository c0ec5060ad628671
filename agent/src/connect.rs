//! One HTTP/2 connection to the coordinator, at any of the URLs of the context.
//!
//! Names are resolved without the C library (a static binary has no NSS); proxies are never used.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    Request, Uri,
    body::{Body as _, Incoming},
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, pki_types::ServerName};
use slipstream_shared::{context::Context, error_chain::Chain};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use crate::resolve::Resolver;

/// What requests carry.
pub type Body = BoxBody<Bytes, Infallible>;

/// A body that is there already.
#[must_use]
pub fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).boxed()
}

/// How long one address may take to accept a connection, and then to finish the handshake.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of an answer that is no stream.
const MAX_ANSWER: usize = 256 * 1024;

/// Why there is no connection. The text of the last URL tried; the others failed as well.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not `https://host:port`.
    #[error("`{0}` is not an https URL")]
    Url(String),
    /// No address for the name.
    #[error("cannot find the address of {host}: {why}")]
    Name {
        /// Which one.
        host: String,
        /// The resolver's reason.
        why: String,
    },
    /// Nobody accepts there.
    #[error("cannot connect to {address}: {why}")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        why: String,
    },
    /// Somebody is there, but not our coordinator, or it does not want us.
    #[error("no trust in {address}: {why}")]
    Tls {
        /// Where.
        address: SocketAddr,
        /// What is wrong.
        why: String,
    },
    /// Whoever is there hung up before it was clear who it is: a coordinator that is just going, a proxy
    /// without one behind it.
    #[error("{address} hung up before it showed a certificate")]
    HungUp {
        /// Where.
        address: SocketAddr,
    },
    /// It broke off.
    #[error("{what}: {why}")]
    Http {
        /// What was tried.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// An open connection. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    /// Makes requests; clones share the connection.
    pub send: SendRequest<Body>,
    /// Where it leads.
    pub url: String,
    _driver: JoinSet<()>,
}

/// Knows where the coordinator may be and where it was last found.
#[derive(Debug)]
pub struct Dialer {
    urls: Vec<String>,
    server_name: String,
    found: AtomicUsize,
}

impl Dialer {
    /// For the coordinator of a context.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Dialer { urls: context.urls.clone(), server_name: context.server_name.clone(), found: AtomicUsize::new(0) }
    }

    /// Tries every URL in turn, first the one that worked last.
    ///
    /// # Errors
    /// None worked; says why the last one did not.
    pub async fn open(&self, tls: Arc<ClientConfig>) -> Result<Connection, ConnectError> {
        let first = self.found.load(Ordering::Relaxed);
        let mut last = ConnectError::Url("the context has no URL".to_owned());
        for n in 0..self.urls.len() {
            let n = (first + n) % self.urls.len();
            match open_one(&self.urls[n], &self.server_name, Arc::clone(&tls)).await {
                Ok(connection) => {
                    self.found.store(n, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// The next [`Dialer::open`] begins with the next URL: the one in use accepts but does not serve.
    pub fn avoid_current(&self) {
        let next = self.found.load(Ordering::Relaxed) + 1;
        self.found.store(next % self.urls.len().max(1), Ordering::Relaxed);
    }
}

async fn open_one(url: &str, server_name: &str, tls: Arc<ClientConfig>) -> Result<Connection, ConnectError> {
    let bad = || ConnectError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(bad)?;
    let name = ServerName::try_from(server_name.to_owned()).map_err(|_| bad())?;
    let (stream, address) = connect(host, uri.port_u16().unwrap_or(443)).await?;
    let trouble = |why: String| ConnectError::Tls { address, why };
    let stream = timeout(PATIENCE, tokio_rustls::TlsConnector::from(tls).connect(name, stream))
        .await
        .map_err(|_| trouble("no answer".to_owned()))?
        .map_err(|e| if is_cut(&e) { ConnectError::HungUp { address } } else { trouble(Chain(&e).to_string()) })?;
    let (send, driver) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(20))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| ConnectError::Http { what: "cannot speak HTTP/2", why: Chain(&e).to_string() })?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // Its end shows in every request.
        let _ = driver.await;
    });
    Ok(Connection { send, url: url.to_owned(), _driver: tasks })
}

/// True for a connection that ended, in whichever of the ways in which that shows.
fn is_cut(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// Connects to the first address of a host that accepts.
pub(crate) async fn connect(host: &str, port: u16) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let mut last = ConnectError::Name { host: host.to_owned(), why: "it has none".to_owned() };
    for ip in addresses(host).await? {
        let address = SocketAddr::new(ip, port);
        last = match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok((stream, address));
            }
            Ok(Err(e)) => ConnectError::Tcp { address, why: e.to_string() },
            Err(_) => ConnectError::Tcp { address, why: "no answer".to_owned() },
        };
    }
    Err(last)
}

/// The addresses of a host.
pub(crate) async fn addresses(host: &str) -> Result<Vec<IpAddr>, ConnectError> {
    let found = Resolver::system().lookup(host).await;
    found.map_err(|e| ConnectError::Name { host: host.to_owned(), why: e.to_string() })
}

impl Connection {
    /// Makes one request and reads its whole answer, within a time.
    ///
    /// # Errors
    /// The connection broke, or the answer is late or too long.
    pub async fn call(&self, request: Request<Body>, within: Duration) -> Result<(u16, Vec<u8>), ConnectError> {
        let failed = |why: String| ConnectError::Http { what: "the request failed", why };
        let mut send = self.send.clone();
        let answer = async {
            send.ready().await.map_err(|e| failed(Chain(&e).to_string()))?;
            let response = send.send_request(request).await.map_err(|e| failed(Chain(&e).to_string()))?;
            let status = response.status().as_u16();
            Ok((status, whole(response.into_body()).await?))
        };
        timeout(within, answer)
            .await
            .unwrap_or_else(|_| Err(failed(format!("no answer within {} s", within.as_secs()))))
    }

    /// The start of a request to a path of the coordinator.
    pub fn request(&self, method: &str, path: &str) -> hyper::http::request::Builder {
        Request::builder().method(method).uri(format!("{}{path}", self.url.trim_end_matches('/')))
    }
}

/// Reads an answer that is no stream.
///
/// # Errors
/// The connection broke, or the answer is too long.
pub async fn whole(mut body: Incoming) -> Result<Vec<u8>, ConnectError> {
    let failed = |why: String| ConnectError::Http { what: "cannot read the answer", why };
    let mut bytes = Vec::new();
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|e| failed(Chain(&e).to_string()))?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
        if bytes.len() > MAX_ANSWER {
            return Err(failed(format!("it has more than {MAX_ANSWER} bytes")));
        }
    }
    Ok(bytes)
}
