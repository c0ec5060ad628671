//! The two ports: accepting, TLS, HTTP, and the limits that keep one client from starving the others.
//!
//! What a request may contain is the business of `api/` and `agents/`. Here: how long a client may take
//! to introduce itself, how large headers are, how many streams it has, and how it is told to go.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, rt::Executor, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    pki::{self, Peer},
    seam::Seam,
};

const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(30);
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_WITHIN: Duration = Duration::from_secs(20);
const MAX_HEADERS: u32 = 32 * 1024;

/// When the process has no file handle left, trying again at once only burns time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody else has it.
    #[error("{address} is in use; stop what uses it, or give another address as `{key}`")]
    InUse {
        /// The address.
        address: SocketAddr,
        /// The key of the configuration that changes it.
        key: &'static str,
    },
    /// The system refuses it for another reason.
    #[error("cannot listen on {address} (`{key}`)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The key of the configuration that changes it.
        key: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// One port.
pub struct Port {
    /// Its name, for the log.
    pub name: &'static str,
    /// How it speaks TLS.
    pub tls: Arc<ServerConfig>,
    /// What answers.
    pub router: Router,
    /// How many requests one connection may have under way.
    pub streams: u32,
}

/// Who is at the other end of a connection; an extension of each request.
#[derive(Debug, Clone)]
pub struct Client {
    /// Where it comes from.
    pub address: SocketAddr,
    /// Which agent it is, if it has shown a certificate.
    pub peer: Option<Arc<Peer>>,
}

/// Opens a port.
///
/// # Errors
/// See [`ServerError`].
pub async fn bind(address: SocketAddr, key: &'static str) -> Result<(TcpListener, SocketAddr), ServerError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ServerError::InUse { address, key },
        _ => ServerError::Listen { address, key, source },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves a port until the coordinator stops.
pub fn serve(seam: &Seam, listener: TcpListener, port: Port) {
    let own = seam.clone();
    let port = Arc::new(port);
    seam.spawn(async move {
        loop {
            let accepted = tokio::select! {
                biased;
                () = own.stopping().cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, address)) => {
                    own.spawn(connection(own.clone(), Arc::clone(&port), tcp, address));
                }
                Err(error) => {
                    tracing::warn!(port = port.name, "cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
}

async fn connection(seam: Seam, port: Arc<Port>, tcp: TcpStream, address: SocketAddr) {
    let _ = tcp.set_nodelay(true);
    let handshake = TlsAcceptor::from(Arc::clone(&port.tls)).accept(tcp);
    let stream = tokio::select! {
        () = seam.stopping().cancelled() => return,
        stream = tokio::time::timeout(HANDSHAKE, handshake) => match stream {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(port = port.name, %address, "no TLS: {error}"),
            Err(_) => return tracing::debug!(port = port.name, %address, "no TLS in time"),
        },
    };
    let client = Client { address, peer: peer(&stream) };
    // Boxed: what is handed on below would else have room for it in each place where it has been.
    if let Err(error) = http(&seam, &port, Box::new(stream), client).await {
        tracing::debug!(port = port.name, %address, "connection ended: {error}");
    }
}

fn peer(stream: &TlsStream<TcpStream>) -> Option<Arc<Peer>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    pki::peer(certificate).ok().map(Arc::new)
}

async fn http(
    seam: &Seam,
    port: &Port,
    stream: Box<TlsStream<TcpStream>>,
    client: Client,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let router = TowerToHyperService::new(port.router.clone());
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(client.clone());
        router.call(request.map(Body::new))
    });
    let builder = http_builder(seam, port.streams);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = seam.stopping().cancelled() => (),
    }
    // Takes no further requests and ends after those under way; `Seam::stop` bounds how long.
    connection.as_mut().graceful_shutdown();
    connection.await
}

fn http_builder(seam: &Seam, streams: u32) -> auto::Builder<OnSeam> {
    let mut builder = auto::Builder::new(OnSeam(seam.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(MAX_HEADERS as usize)
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(streams)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN);
    builder
}

/// Runs what hyper spawns under the seam, so that stopping waits for it.
#[derive(Clone)]
struct OnSeam(Seam);

impl<F> Executor<F> for OnSeam
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named_with_the_remedy() {
        let (_held, address) = bind(([127, 0, 0, 1], 0).into(), "server.listen").await.expect("free");
        let error = bind(address, "server.listen").await.expect_err("taken").to_string();
        assert_eq!(
            error,
            format!("{address} is in use; stop what uses it, or give another address as `server.listen`")
        );
    }
}
