//! Open connections: made with TLS, kept for the next request, driven until the client is dropped.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Cause, Limits, Request};

/// The connections of one client.
pub(super) struct Pool {
    pub(super) tls: TlsConnector,
    pub(super) limits: Limits,
    pub(super) connections: Mutex<Connections>,
}

#[derive(Default)]
pub(super) struct Connections {
    open: HashMap<String, Vec<Sender>>,
    drivers: JoinSet<()>,
}

/// One end of a connection.
pub(super) enum Sender {
    One(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Two(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Pool {
    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<Sender, Cause> {
        let after = self.limits.connect;
        let stream = match timeout(after, self.handshake(host, port)).await {
            Ok(result) => result?,
            Err(_) => return Err(Cause::Timeout { what: "connection", after }),
        };
        let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        if two {
            // Pings while a stream is open, so that a dead peer is noticed.
            let (sender, driver) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(Duration::from_secs(20))
                .keep_alive_timeout(Duration::from_secs(20))
                .handshake(io)
                .await
                .map_err(Cause::Broken)?;
            self.drive(async move { drop(driver.await) });
            Ok(Sender::Two(sender))
        } else {
            let (sender, driver) = hyper::client::conn::http1::handshake(io).await.map_err(Cause::Broken)?;
            self.drive(async move { drop(driver.await) });
            Ok(Sender::One(sender))
        }
    }

    async fn handshake(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, Cause> {
        let place = || format!("{host}:{port}");
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| Cause::Url)?;
        let tcp = TcpStream::connect((bare, port)).await.map_err(|source| Cause::Connect { host: place(), source })?;
        // Small requests must not wait for the acknowledgement of earlier ones; failing is harmless.
        let _ = tcp.set_nodelay(true);
        self.tls.connect(name, tcp).await.map_err(|source| Cause::Tls { host: place(), source })
    }

    fn drive(&self, driver: impl Future<Output = ()> + Send + 'static) {
        let mut connections = self.lock();
        while connections.drivers.try_join_next().is_some() {}
        connections.drivers.spawn(driver);
    }

    /// A connection that is free for another request.
    pub(super) fn reuse(&self, key: &str) -> Option<Sender> {
        let mut connections = self.lock();
        let open = connections.open.get_mut(key)?;
        open.retain(|sender| !sender.is_closed());
        match open.pop()? {
            Sender::Two(sender) => {
                open.push(Sender::Two(sender.clone()));
                Some(Sender::Two(sender))
            }
            one @ Sender::One(_) => Some(one),
        }
    }

    /// Keeps a connection for later: at once for HTTP/2; for HTTP/1.1 when the body has ended, until
    /// then the body holds the sender.
    pub(super) fn keep(&self, key: &str, sender: Sender) -> Option<Sender> {
        match sender {
            Sender::One(_) => Some(sender),
            Sender::Two(_) => {
                let mut connections = self.lock();
                let open = connections.open.entry(key.to_owned()).or_default();
                if open.is_empty() {
                    open.push(sender);
                }
                None
            }
        }
    }

    pub(super) fn give_back(&self, key: &str, sender: Sender) {
        self.lock().open.entry(key.to_owned()).or_default().push(sender);
    }

    pub(super) fn forget(&self, key: &str) {
        self.lock().open.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    pub(super) async fn send(&mut self, request: &Request) -> Result<hyper::Response<Incoming>, hyper::Error> {
        let mut out = hyper::Request::new(Full::new(request.body.clone()));
        *out.method_mut() = request.method.clone();
        *out.headers_mut() = request.headers.clone();
        match self {
            Sender::One(sender) => {
                let authority = request.url.authority().map_or("", http::uri::Authority::as_str);
                if let Ok(host) = HeaderValue::from_str(authority) {
                    out.headers_mut().insert(header::HOST, host);
                }
                let path = request.url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
                *out.uri_mut() = path.parse().unwrap_or_default();
                sender.ready().await?;
                sender.send_request(out).await
            }
            Sender::Two(sender) => {
                *out.uri_mut() = request.url.clone();
                sender.ready().await?;
                sender.send_request(out).await
            }
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }
}
