//! A TLS server in a thread of its own, answering as a closure says. Also used by the tests of the
//! command line.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{Method, body::Frame, header::HeaderMap};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{sync::oneshot, task::JoinSet};

/// What the server was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// What it answers.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) end: End,
}

/// How the body ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum End {
    #[default]
    Properly,
    /// The connection breaks.
    Broken,
    /// Nothing more comes.
    Silence,
    /// Not even a head comes.
    Nothing,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        Reply { status, pieces: vec![Bytes::from(body.into())], end: End::Properly }
    }

    pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Self {
        Reply::new(
            status,
            format!(r#"{{"type":"about:blank","title":"x","status":{status},"code":"{code}","detail":"{detail}"}}"#),
        )
    }

    pub(crate) fn ending(mut self, end: End) -> Self {
        self.end = end;
        self
    }
}

/// A running server; it ends when this is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) authority: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicU32>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// `protocol`: `h2` or `http/1.1`.
    pub(crate) fn start(protocol: &str, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let (authority, tls) = certificates(protocol);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&connections);
        let (stop, stopped) = oneshot::channel();
        let (bound, port) = mpsc::channel();
        let (log, h2) = (Arc::clone(&asked), protocol == "h2");
        let answer: Arc<Handler> = Arc::new(move |request: Asked| {
            log.lock().expect("not poisoned").push(request.clone());
            answer(&request)
        });
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
                bound.send(listener.local_addr().expect("bound").port()).expect("receiver");
                let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
                let mut tasks = JoinSet::new();
                let accept = async {
                    while let Ok((tcp, _)) = listener.accept().await {
                        count.fetch_add(1, Ordering::Relaxed);
                        tasks.spawn(serve(acceptor.clone(), tcp, h2, Arc::clone(&answer)));
                    }
                };
                tokio::select! { () = accept => {}, _ = stopped => {} }
            });
        });
        let port: u16 = port.recv().expect("the server starts");
        Server {
            url: format!("https://127.0.0.1:{port}"),
            authority,
            asked,
            connections,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Handler = dyn Fn(Asked) -> Reply + Send + Sync;

async fn serve(acceptor: tokio_rustls::TlsAcceptor, tcp: tokio::net::TcpStream, h2: bool, answer: Arc<Handler>) {
    let Ok(stream) = acceptor.accept(tcp).await else { return };
    let service = hyper::service::service_fn(move |request| reply(request, Arc::clone(&answer)));
    let io = TokioIo::new(stream);
    if h2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}

async fn reply(
    request: hyper::Request<hyper::body::Incoming>,
    answer: Arc<Handler>,
) -> Result<hyper::Response<Pieces>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = http_body_util::BodyExt::collect(body).await.expect("body").to_bytes();
    let reply = answer(Asked {
        method: parts.method,
        path: parts.uri.path_and_query().expect("path").to_string(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    if reply.end == End::Nothing {
        std::future::pending::<()>().await;
    }
    let mut response = hyper::Response::new(Pieces { left: reply.pieces.into(), end: reply.end, flushed: false });
    *response.status_mut() = hyper::StatusCode::from_u16(reply.status).expect("a status");
    Ok(response)
}

struct Pieces {
    left: VecDeque<Bytes>,
    end: End,
    flushed: bool,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match (self.left.pop_front(), self.end) {
            (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            (None, End::Properly) => Poll::Ready(None),
            (None, End::Broken) if self.flushed => Poll::Ready(Some(Err(io::Error::other("broken on purpose")))),
            (None, End::Broken) => {
                // Once more through the scheduler, so that what was written before goes out first.
                self.flushed = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            (None, End::Silence | End::Nothing) => Poll::Pending,
        }
    }
}

fn certificates(protocol: &str) -> (String, rustls::ServerConfig) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("authority");
    let key = KeyPair::generate().expect("key");
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])
        .expect("names")
        .signed_by(&key, &authority)
        .expect("certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("certificate and key");
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    (authority.pem(), config)
}
