//! A coordinator in memory that speaks the real protocol over real TLS, and fails on demand.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    task::{Context as Task, Poll},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::{RootCertStore, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use slipstream_shared::{
    condition::{Condition, Subject, Test},
    context::Context,
    link::{
        AgentPlan, Change, Down, ENROL_PATH, EnrolAnswer, EnrolRequest, LINK_PATH, REPORT_PATH, Refusal, RefusedChange,
        RefusedCode, Reply, Up,
    },
};
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    watch,
};

/// Everything the coordinator knows and does.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) plan: AgentPlan,
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) changes: Vec<Change>,
    pub(crate) last_op: u64,
    pub(crate) logs: BTreeMap<u32, Vec<u8>>,
    pub(crate) enrolments: Vec<EnrolRequest>,
    /// How long certificates are good for, in seconds.
    pub(crate) renew_in: Option<u64>,
    pub(crate) report: Option<Vec<u8>>,
    pub(crate) abort: Option<String>,
    pub(crate) links: u32,
    /// Environments of gated steps; a step without one waits.
    pub(crate) envs: HashMap<u32, BTreeMap<String, String>>,
    /// Enrolment is refused with these, in turn.
    pub(crate) refusals: Vec<Refusal>,
    /// The connection is cut when this change arrives, after it was applied.
    pub(crate) cut_at_op: Option<u64>,
    questions: Vec<Up>,
    out: Option<UnboundedSender<Down>>,
}

pub(crate) struct Coordinator {
    world: Arc<(Mutex<World>, Condvar)>,
    address: SocketAddr,
    pin: String,
    cut: watch::Sender<u32>,
    _runtime: tokio::runtime::Runtime,
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Coordinator {
    pub(crate) fn new(plan: AgentPlan) -> Self {
        let world = Arc::new((Mutex::new(World { plan, ..World::default() }), Condvar::new()));
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let pin = slipstream_agent::tls::pin_of(certificate.der()).unwrap();
        let authority = Arc::new(Authority { pem: certificate.pem(), issuer: Issuer::new(params, key) });
        let own_key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["c.internal".to_owned()]).unwrap();
        let own = own.signed_by(&own_key, &authority.issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![own.der().clone(), certificate.der().clone()],
                PrivateKeyDer::Pkcs8(own_key.serialize_der().into()),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let cut = watch::Sender::new(0);
        runtime.spawn(accept(listener, Arc::new(tls), Arc::clone(&world), authority, cut.clone()));
        Coordinator { world, address, pin, cut, _runtime: runtime }
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            version: 1,
            run: slipstream_shared::id::RunId::new(1, [7; 10]),
            instance: "web.1".parse().unwrap(),
            attempt: 1,
            // The first one is a port nobody listens on.
            urls: vec!["https://127.0.0.1:1".to_owned(), format!("https://localhost:{}", self.address.port())],
            server_name: "c.internal".to_owned(),
            pin: self.pin.clone(),
            token: "SECRET-TOKEN".to_owned(),
            issued: jiff::Timestamp::now(),
            expires: jiff::Timestamp::now(),
            interfaces: BTreeMap::new(),
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.0.lock().unwrap()
    }

    /// Waits until the world is as wanted.
    pub(crate) fn wait<T>(&self, what: &str, condition: impl Fn(&World) -> Option<T>) -> T {
        let mut world = self.world();
        let began = std::time::Instant::now();
        loop {
            if let Some(found) = condition(&world) {
                return found;
            }
            let left = super::LIMIT.checked_sub(began.elapsed());
            let left = left.unwrap_or_else(|| panic!("in vain: {what}; changes: {:?}", world.changes));
            world = self.world.1.wait_timeout(world, left).unwrap().0;
        }
    }

    pub(crate) fn wait_for_change(&self, wanted: impl Fn(&Change) -> bool) -> Change {
        self.wait("a change", |world| world.changes.iter().find(|change| wanted(change)).cloned())
    }

    /// Sets a value as another machine would.
    pub(crate) fn set(&self, key: &str, value: &str) {
        let mut world = self.world();
        world.values.insert(key.to_owned(), value.to_owned());
        world.settle();
    }

    pub(crate) fn say(&self, down: Down) {
        let mut world = self.world();
        match &down {
            Down::Abort { reason } => world.abort = Some(reason.clone()),
            Down::AbortCancelled => world.abort = None,
            _ => {}
        }
        world.out.as_ref().expect("a link").send(down).unwrap();
        world.settle();
    }

    /// Gives a gated step its environment.
    pub(crate) fn give_env(&self, index: u32, env: &[(&str, &str)]) {
        let mut world = self.world();
        world.envs.insert(index, env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        world.settle();
    }

    /// Breaks every connection.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|n| *n += 1);
    }

    /// The output of a step, when it is as wanted.
    pub(crate) fn wait_for_log(&self, index: u32, wanted: &str) -> String {
        self.wait(&format!("`{wanted}` in the log of step {index}"), |world| {
            let log = String::from_utf8_lossy(world.logs.get(&index)?).into_owned();
            log.contains(wanted).then_some(log)
        })
    }
}

impl World {
    fn send(&self, down: Down) {
        if let Some(out) = &self.out {
            let _ = out.send(down);
        }
    }

    /// Answers every question that can be answered now.
    fn settle(&mut self) {
        for question in std::mem::take(&mut self.questions) {
            match self.reply(&question) {
                Some((id, reply)) => self.send(Down::Answer { id, reply }),
                None => self.questions.push(question),
            }
        }
    }

    fn reply(&self, question: &Up) -> Option<(u64, Reply)> {
        let refused = |code, message: &str| Reply::Refused(RefusedChange { code, message: message.to_owned() });
        match question {
            Up::Get { id, key, .. } if key.name == "unknown" => {
                Some((*id, refused(RefusedCode::UnknownKey, "no such key")))
            }
            Up::Get { id, ignore_abort: false, .. } if self.abort.is_some() => {
                Some((*id, refused(RefusedCode::Aborted, "aborted")))
            }
            Up::Get { id, key, wait, .. } => {
                let value = self.values.get(&key.to_string()).cloned();
                (value.is_some() || !wait).then_some((*id, Reply::Value { value, revision: 0 }))
            }
            Up::Wait { id, conditions, .. } => {
                let wanted: Vec<Condition> = conditions.iter().map(|c| c.parse().unwrap()).collect();
                let holds = |c: &Condition| match (&c.subject, &c.test) {
                    (Subject::Key(key), Test::Set) => self.values.contains_key(&key.to_string()),
                    (Subject::Key(key), Test::Equals(value)) => self.values.get(&key.to_string()) == Some(value),
                    _ => false,
                };
                wanted.iter().all(holds).then_some((*id, Reply::Met { seq: 1 }))
            }
            Up::Env { id, index } => Some((*id, Reply::Env { env: self.envs.get(index)?.clone() })),
            _ => None,
        }
    }

    /// Takes in a line; false when the connection is to be cut.
    fn receive(&mut self, up: Up) -> bool {
        match up {
            Up::Do { op, change } => {
                if op > self.last_op {
                    assert_eq!(op, self.last_op + 1, "changes come in order and without gaps");
                    self.last_op = op;
                    self.apply(change.clone());
                }
                if self.cut_at_op == Some(op) {
                    self.cut_at_op = None;
                    return false;
                }
                let refused = match &change {
                    Change::SetIf { revision, .. } if *revision != 0 => {
                        Some(RefusedChange { code: RefusedCode::Changed, message: "written meanwhile".to_owned() })
                    }
                    Change::Set { key, .. } if key.name == "unknown" => {
                        Some(RefusedChange { code: RefusedCode::UnknownKey, message: "no such key".to_owned() })
                    }
                    _ => None,
                };
                self.send(Down::Done { op, refused });
            }
            Up::Log { index, offset, data, .. } => {
                let bytes = STANDARD.decode(data).unwrap();
                let log = self.logs.entry(index).or_default();
                let offset = usize::try_from(offset).unwrap();
                assert!(offset <= log.len(), "output has no holes");
                if offset == log.len() {
                    log.extend(bytes);
                }
                let offset = log.len() as u64;
                self.send(Down::LogAck { index, offset });
            }
            Up::Forget { id } => self
                .questions
                .retain(|q| !matches!(q, Up::Get { id: asked, .. } | Up::Wait { id: asked, .. } if *asked == id)),
            question @ (Up::Get { .. } | Up::Wait { .. } | Up::Env { .. }) => self.questions.push(question),
            Up::Hello { .. } | Up::Heartbeat | Up::Barrier { .. } | Up::Lead { .. } => {}
        }
        self.settle();
        true
    }

    fn apply(&mut self, change: Change) {
        match &change {
            Change::Set { key, value: Some(value), .. } if key.name != "unknown" => {
                self.values.insert(key.to_string(), value.clone());
            }
            Change::Set { key, .. } => drop(self.values.remove(&key.to_string())),
            Change::Abort { reason } => {
                self.abort = Some(reason.clone());
                self.send(Down::Abort { reason: reason.clone() });
            }
            Change::CancelAbort => {
                self.abort = None;
                self.send(Down::AbortCancelled);
            }
            Change::StepFinished { index, result } => drop(self.plan.finished.insert(*index, result.clone())),
            _ => {}
        }
        self.changes.push(change);
    }

    /// How many questions wait for a value.
    pub(crate) fn waiting(&self) -> usize {
        self.questions.len()
    }
}

type Shared = Arc<(Mutex<World>, Condvar)>;
type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn accept(
    listener: tokio::net::TcpListener,
    tls: Arc<rustls::ServerConfig>,
    world: Shared,
    authority: Arc<Authority>,
    cut: watch::Sender<u32>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&tls));
        let (world, authority, cut) = (Arc::clone(&world), Arc::clone(&authority), cut.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let known = stream.get_ref().1.peer_certificates().is_some();
            let mut cuts = cut.subscribe();
            let service = service_fn(|request| {
                let (world, authority, cut) = (Arc::clone(&world), Arc::clone(&authority), cut.clone());
                async move { Ok::<_, Infallible>(serve(request, known, world, authority, cut).await) }
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = serving => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

fn answer(status: u16, body: Vec<u8>) -> Answer {
    Response::builder().status(status).body(Full::new(Bytes::from(body)).boxed()).unwrap()
}

async fn serve(
    request: Request<Incoming>,
    known: bool,
    world: Shared,
    authority: Arc<Authority>,
    cut: watch::Sender<u32>,
) -> Answer {
    match request.uri().path() {
        ENROL_PATH => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            enrol(&world, &authority, serde_json::from_slice(&body).unwrap())
        }
        _ if !known => answer(401, b"{}".to_vec()),
        LINK_PATH => {
            let (out, lines) = unbounded_channel();
            link(&world, out.clone());
            let reader = read(request.into_body(), world, cut);
            #[expect(clippy::disallowed_methods, reason = "it ends with the connection")]
            tokio::spawn(reader);
            Response::new(Lines(lines).boxed())
        }
        REPORT_PATH => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            world.0.lock().unwrap().report = Some(body.to_vec());
            world.1.notify_all();
            answer(204, vec![])
        }
        _ => answer(404, vec![]),
    }
}

fn enrol(world: &Shared, authority: &Authority, request: EnrolRequest) -> Answer {
    let csr = rcgen::CertificateSigningRequestParams::from_pem(&request.csr).unwrap();
    let certificate = csr.signed_by(&authority.issuer).unwrap().pem();
    let mut locked = world.0.lock().unwrap();
    locked.enrolments.push(request);
    world.1.notify_all();
    if !locked.refusals.is_empty() {
        return answer(403, serde_json::to_vec(&locked.refusals.remove(0)).unwrap());
    }
    answer(
        200,
        serde_json::to_vec(&EnrolAnswer {
            protocol: 1,
            certificate,
            authority: authority.pem.clone(),
            renew_in: locked.renew_in,
        })
        .unwrap(),
    )
}

fn link(world: &Shared, out: UnboundedSender<Down>) {
    let mut locked = world.0.lock().unwrap();
    locked.links += 1;
    locked.questions.clear();
    let _ =
        out.send(Down::Hello { protocol: 1, coordinator: "test".to_owned(), last_op: locked.last_op, refused: vec![] });
    let _ = out.send(Down::Plan(Box::new(AgentPlan { abort: locked.abort.clone(), ..locked.plan.clone() })));
    locked.out = Some(out);
    world.1.notify_all();
}

async fn read(mut body: Incoming, world: Shared, cut: watch::Sender<u32>) {
    let mut buffer = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let stays = world.0.lock().unwrap().receive(serde_json::from_slice(&line).unwrap());
            world.1.notify_all();
            if !stays {
                cut.send_modify(|n| *n += 1);
                return;
            }
        }
    }
}

struct Lines(UnboundedReceiver<Down>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(task).map(|down| {
            let mut line = serde_json::to_vec(&down?).unwrap();
            line.push(b'\n');
            Some(Ok(Frame::data(Bytes::from(line))))
        })
    }
}
