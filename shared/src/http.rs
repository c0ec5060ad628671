//! The one HTTP client: hyper and rustls, HTTP/2 or HTTP/1.1 as the server chooses.
//!
//! Only `https`, and only servers whose certificate descends from the given authority: nothing here
//! can send a credential in the clear or to a stranger. Errors name the method and the URL without
//! its query; headers and bodies are never part of them.

mod pool;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use self::pool::{Pool, Sender};

/// How long things may take and how large they may be.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For name, connection and TLS together.
    pub connect: Duration,
    /// From the request to the head of the answer.
    pub answer: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
    /// Bytes of a body that is read as a whole.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            body: 32 * 1024 * 1024,
        }
    }
}

/// What to send.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// `https://host[:port]/path?query`.
    pub url: Uri,
    /// Headers besides `host` and `content-length`.
    pub headers: HeaderMap,
    /// The body, empty for none.
    pub body: Bytes,
    /// Longer than [`Limits::answer`], for a request that the server holds.
    pub patience: Option<Duration>,
}

/// What came back. The body is still on its way.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

/// A request without an answer, or with one that was cut off.
#[derive(Debug, thiserror::Error)]
#[error("cannot {method} {url}")]
pub struct HttpError {
    /// What was asked.
    pub method: Method,
    /// Of whom, without the query.
    pub url: String,
    /// Why it failed.
    #[source]
    pub cause: Cause,
}

impl HttpError {
    /// True when an answer had begun and then nothing came for [`Limits::idle`].
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self.cause, Cause::Timeout { what: MORE, .. })
    }
}

const MORE: &str = "more of the answer";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// Not a URL this client speaks to.
    #[error("it is not an https:// URL with a host")]
    Url,
    /// No authority, or not one.
    #[error("the certificate of the authority is not usable: {0}")]
    Authority(String),
    /// Nobody there.
    #[error("no connection to {host}: {source}")]
    Connect {
        /// Host and port.
        host: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody there, but not whom we trust.
    #[error("no trusted connection to {host}: {source}")]
    Tls {
        /// Host and port.
        host: String,
        /// What TLS said.
        source: std::io::Error,
    },
    /// Too slow.
    #[error("no {what} within {} s", .after.as_secs_f64())]
    Timeout {
        /// `connection`, `answer`, or `more of the answer`.
        what: &'static str,
        /// The limit.
        after: Duration,
    },
    /// Too large.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// Cut off, or not HTTP.
    #[error("the connection broke: {0}")]
    Broken(#[source] hyper::Error),
}

/// The client. A clone shares its connections.
#[derive(Clone)]
pub struct Http {
    pool: Arc<Pool>,
}

impl Http {
    /// A client that trusts the certificates of `authority` (PEM, one or several) and no others.
    ///
    /// # Errors
    /// There is no certificate in it.
    pub fn new(authority: &str, limits: Limits) -> Result<Self, Cause> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            let certificate = certificate.map_err(|e| Cause::Authority(e.to_string()))?;
            roots.add(certificate).map_err(|e| Cause::Authority(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(Cause::Authority("it holds no PEM certificate".to_owned()));
        }
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|e| Cause::Authority(e.to_string()))?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Http { pool: Arc::new(Pool { tls, limits, connections: Mutex::default() }) })
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// See [`Cause`]. An answer with an error status is an answer.
    pub async fn send(&self, request: Request) -> Result<Answer, HttpError> {
        let named = |cause| HttpError { method: request.method.clone(), url: without_query(&request.url), cause };
        let (host, port) = target(&request.url).ok_or_else(|| named(Cause::Url))?;
        let key = format!("{host}:{port}");
        let patience = request.patience.unwrap_or(self.pool.limits.answer);
        loop {
            let (mut sender, fresh) = match self.pool.reuse(&key) {
                Some(sender) => (sender, false),
                None => (self.pool.connect(&host, port).await.map_err(named)?, true),
            };
            let result = match timeout(patience, sender.send(&request)).await {
                Ok(result) => result,
                Err(_) => return Err(named(Cause::Timeout { what: "answer", after: patience })),
            };
            match result {
                Ok(response) => {
                    let (parts, incoming) = response.into_parts();
                    let end = End { method: request.method.clone(), url: without_query(&request.url), key };
                    let body = Body { incoming, sender: self.pool.keep(&end.key, sender), end, http: self.clone() };
                    return Ok(Answer { status: parts.status, headers: parts.headers, body });
                }
                // A kept connection may have been closed by the server meanwhile: not an answer.
                Err(_) if !fresh && request.method.is_idempotent() => self.pool.forget(&key),
                Err(error) => {
                    self.pool.forget(&key);
                    return Err(named(Cause::Broken(error)));
                }
            }
        }
    }
}

/// The body of an answer, read piece by piece or as a whole.
pub struct Body {
    incoming: Incoming,
    sender: Option<Sender>,
    end: End,
    // Owns the connection's driver.
    http: Http,
}

/// Whose body it is.
struct End {
    method: Method,
    url: String,
    key: String,
}

impl Body {
    /// The next piece; none at the proper end. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The connection broke, or was silent for [`Limits::idle`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let after = self.http.pool.limits.idle;
        loop {
            let frame = match timeout(after, self.incoming.frame()).await {
                Ok(frame) => frame,
                Err(_) => return Err(self.failed(Cause::Timeout { what: MORE, after })),
            };
            match frame {
                None => {
                    if let Some(sender) = self.sender.take() {
                        self.http.pool.give_back(&self.end.key, sender);
                    }
                    return Ok(None);
                }
                Some(Err(error)) => return Err(self.failed(Cause::Broken(error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// As [`Body::chunk`], or it is larger than [`Limits::body`].
    pub async fn bytes(&mut self) -> Result<Bytes, HttpError> {
        let limit = self.http.pool.limits.body;
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > limit {
                return Err(self.failed(Cause::TooLarge(limit)));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    fn failed(&self, cause: Cause) -> HttpError {
        HttpError { method: self.end.method.clone(), url: self.end.url.clone(), cause }
    }
}

fn target(url: &Uri) -> Option<(String, u16)> {
    let host = url.host().filter(|h| !h.is_empty())?;
    (url.scheme_str() == Some("https")).then(|| (host.to_owned(), url.port_u16().unwrap_or(443)))
}

/// For messages: queries and user parts may hold secrets.
fn without_query(url: &Uri) -> String {
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme_str().unwrap_or("?"), url.host().unwrap_or("?"), url.path())
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("limits", &self.pool.limits).finish_non_exhaustive()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("url", &self.end.url).finish_non_exhaustive()
    }
}
