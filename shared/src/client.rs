//! Typed client of the coordinator's REST API: one method per route.

mod account;
mod events;
mod log;
mod meeting;
mod module;
mod wait;

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde::{Serialize, de::DeserializeOwned};

pub use self::{
    events::{EventStream, Update},
    log::LogStream,
};
use crate::{
    api::{
        AbortRequest, AddDiskRequest, Health, LaunchRequest, LeaseRequest, LogInfo, OperationInfo, Page, Parameter,
        ParameterWrite, PowerRequest, Problem, RemoveDiskRequest, ReportInfo, ResizeRequest, RetryRequest, RunDetail,
        RunSummary, SaveRequest, SavedModule, ScaleRequest, SetParameter, UpdateRequest, Why,
    },
    http::{Answer, Body, Cause, Http, HttpError, Limits, Request},
    id::InstanceId,
    parameter::Key,
};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The coordinator cannot be reached, or does not answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// This client cannot be made.
    #[error("cannot speak to {url}")]
    Setup {
        /// The coordinator's URL.
        url: String,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// The coordinator refused, and says why.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// Something answered that is not a coordinator of this version.
    #[error("{method} {path}: the answer (status {status}) is not what this version understands: {reason}")]
    Answer {
        /// What was asked.
        method: Method,
        /// Of which resource.
        path: String,
        /// Status of the answer.
        status: u16,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// The coordinator's word for what is wrong, if it said one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            ClientError::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// True when the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            ClientError::Http(error) => match &error.cause {
                Cause::Url | Cause::Authority(_) | Cause::TooLarge(_) => false,
                // A coordinator that is killed in the middle of a handshake is no stranger.
                Cause::Tls { source, .. } => source.kind() != std::io::ErrorKind::InvalidData,
                Cause::Connect { .. } | Cause::Timeout { .. } | Cause::Broken(_) => true,
            },
            ClientError::Problem(problem) => problem.status >= 500 || matches!(problem.status, 408 | 429),
            ClientError::Answer { status, .. } => *status >= 500,
            ClientError::Setup { .. } => false,
        }
    }
}

/// A coordinator, spoken to with one user's token. A clone shares its connections.
#[derive(Clone)]
pub struct Client {
    http: Http,
    base: String,
    bearer: HeaderValue,
}

impl Client {
    /// A client of the coordinator at `url` whose certificate descends from `authority` (PEM).
    ///
    /// # Errors
    /// The URL, the token or the authority is not one. Nothing is sent yet.
    pub fn new(url: &str, token: &str, authority: &str, limits: Limits) -> Result<Self, ClientError> {
        let fail = |cause| ClientError::Setup { url: url.to_owned(), cause };
        let base = url.trim_end_matches('/').to_owned();
        let parsed: Uri = base.parse().map_err(|_| fail(Cause::Url))?;
        if parsed.scheme_str() != Some("https") || parsed.host().is_none_or(str::is_empty) {
            return Err(fail(Cause::Url));
        }
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| fail(Cause::Authority("the token has characters no token has".to_owned())))?;
        bearer.set_sensitive(true);
        Ok(Client { http: Http::new(authority, limits).map_err(fail)?, base, bearer })
    }

    /// Where the coordinator is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Whether the coordinator works, and which clouds it has.
    ///
    /// # Errors
    /// See [`ClientError`]; so for all methods.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.call(Method::GET, "/health", Bytes::new(), None).await
    }

    /// Starts a run. The same `idempotency` key again gives the same run.
    pub async fn launch(&self, launch: &LaunchRequest, idempotency: &str) -> Result<RunDetail, ClientError> {
        let key = HeaderValue::from_str(idempotency).ok();
        self.call(Method::POST, "/runs", json(launch), key).await
    }

    /// One page of the runs this user may see, newest first.
    pub async fn runs(&self, after: Option<&str>, limit: u32) -> Result<Page<RunSummary>, ClientError> {
        let after = after.map(|a| format!("&after={}", escape(a))).unwrap_or_default();
        self.get(&format!("/runs?limit={limit}{after}")).await
    }

    /// A run, by its full or short id.
    pub async fn run(&self, run: &str) -> Result<RunDetail, ClientError> {
        self.get(&of(run, "")).await
    }

    /// Asks for the end of a run.
    pub async fn terminate(&self, run: &str) -> Result<(), ClientError> {
        self.done(Method::DELETE, &of(run, ""), Bytes::new()).await
    }

    /// All parameters of a run.
    pub async fn parameters(&self, run: &str) -> Result<Vec<Parameter>, ClientError> {
        self.all(&of(run, "/parameters")).await
    }

    /// A parameter; its value is absent when it is not set.
    pub async fn parameter(&self, run: &str, key: &Key) -> Result<Parameter, ClientError> {
        self.get(&parameter(run, key)).await
    }

    /// A parameter with its value in clear, also if that is a secret: for the owner of the run.
    pub async fn reveal(&self, run: &str, key: &Key) -> Result<Parameter, ClientError> {
        self.get(&format!("{}?reveal=true", parameter(run, key))).await
    }

    /// Gives a parameter a value.
    pub async fn set_parameter(&self, run: &str, key: &Key, value: &str) -> Result<(), ClientError> {
        let body = SetParameter { value: value.to_owned(), if_revision: None };
        self.write_parameter(run, key, Some(&body), &request_id()).await.map(drop)
    }

    /// Gives a parameter a value if it still has that revision; else the problem `revision_mismatch` says
    /// which one it has.
    pub async fn set_parameter_if(
        &self,
        run: &str,
        key: &Key,
        value: &str,
        revision: u64,
    ) -> Result<Parameter, ClientError> {
        let body = SetParameter { value: value.to_owned(), if_revision: Some(revision) };
        self.write_parameter(run, key, Some(&body), &request_id()).await
    }

    /// Writes a parameter, or takes its value away; once, however often it is called with the same
    /// `idempotency` key, as after a lost answer. Answers with the parameter as it is then, which somebody
    /// else may have written meanwhile.
    pub async fn write_parameter(
        &self,
        run: &str,
        key: &Key,
        write: Option<&SetParameter>,
        idempotency: &str,
    ) -> Result<Parameter, ClientError> {
        let (method, body) = write.map_or((Method::DELETE, Bytes::new()), |write| (Method::PUT, json(write)));
        self.call(method, &parameter(run, key), body, HeaderValue::from_str(idempotency).ok()).await
    }

    /// The last values a parameter had, newest first.
    pub async fn history(&self, run: &str, key: &Key) -> Result<Vec<ParameterWrite>, ClientError> {
        self.all(&format!("{}/history", parameter(run, key))).await
    }

    /// Takes a parameter's value away.
    pub async fn unset_parameter(&self, run: &str, key: &Key) -> Result<(), ClientError> {
        self.write_parameter(run, key, None, &request_id()).await.map(drop)
    }

    /// Aborts a run.
    pub async fn abort(&self, run: &str, reason: &str) -> Result<(), ClientError> {
        let body = json(&AbortRequest { reason: reason.to_owned() });
        self.done(Method::POST, &of(run, "/abort"), body).await
    }

    /// Takes the abort of a run back.
    pub async fn cancel_abort(&self, run: &str) -> Result<(), ClientError> {
        self.done(Method::DELETE, &of(run, "/abort"), Bytes::new()).await
    }

    /// Why a run is not where it is to be.
    pub async fn why(&self, run: &str) -> Result<Why, ClientError> {
        self.get(&of(run, "/why")).await
    }

    /// Gives a run another lease.
    pub async fn set_lease(&self, run: &str, lease: &LeaseRequest) -> Result<RunDetail, ClientError> {
        self.call(Method::PUT, &of(run, "/lease"), json(lease), None).await
    }

    /// Gives up on the machines of a run that cannot be removed.
    pub async fn abandon(&self, run: &str) -> Result<RunDetail, ClientError> {
        self.call(Method::POST, &of(run, "/abandon"), Bytes::new(), None).await
    }

    /// Asks for other numbers of instances. The same `idempotency` key again gives the same operation.
    pub async fn scale(
        &self,
        run: &str,
        request: &ScaleRequest,
        idempotency: &str,
    ) -> Result<OperationInfo, ClientError> {
        let key = HeaderValue::from_str(idempotency).ok();
        self.call(Method::POST, &of(run, "/scale"), json(request), key).await
    }

    /// Asks to run the steps of an instance again. The same `idempotency` key again gives the same operation.
    pub async fn retry(
        &self,
        run: &str,
        request: &RetryRequest,
        idempotency: &str,
    ) -> Result<OperationInfo, ClientError> {
        let key = HeaderValue::from_str(idempotency).ok();
        self.call(Method::POST, &of(run, "/retry"), json(request), key).await
    }

    /// Asks to `stop`, `start` or `reboot` machines. The same `idempotency` key again gives the same operation.
    pub async fn power(
        &self,
        run: &str,
        what: &str,
        request: &PowerRequest,
        idempotency: &str,
    ) -> Result<OperationInfo, ClientError> {
        let key = HeaderValue::from_str(idempotency).ok();
        self.call(Method::POST, &of(run, &format!("/{what}")), json(request), key).await
    }

    /// Asks for machines of another size. The same `idempotency` key again gives the same operation.
    pub async fn resize(
        &self,
        run: &str,
        request: &ResizeRequest,
        idempotency: &str,
    ) -> Result<OperationInfo, ClientError> {
        let key = HeaderValue::from_str(idempotency).ok();
        self.call(Method::POST, &of(run, "/resize"), json(request), key).await
    }

    /// Asks for one more disk for each of some machines. The same `idempotency` key again gives the same operation.
    pub async fn add_disk(
        &self,
        run: &str,
        request: &AddDiskRequest,
        idempotency: &str,
    ) -> Result<OperationInfo, ClientError> {
        let key = HeaderValue::from_str(idempotency).ok();
        self.call(Method::POST, &of(run, "/disks"), json(request), key).await
    }

    /// Asks to remove a disk with all that is on it. The same `idempotency` key again gives the same operation.
    pub async fn remove_disk(
        &self,
        run: &str,
        request: &RemoveDiskRequest,
        idempotency: &str,
    ) -> Result<OperationInfo, ClientError> {
        let key = HeaderValue::from_str(idempotency).ok();
        self.call(Method::POST, &of(run, "/disks/remove"), json(request), key).await
    }

    /// Asks to update a run to another version of its module. The same `idempotency` key again gives the same
    /// operation.
    pub async fn update(
        &self,
        run: &str,
        request: &UpdateRequest,
        idempotency: &str,
    ) -> Result<OperationInfo, ClientError> {
        let key = HeaderValue::from_str(idempotency).ok();
        self.call(Method::POST, &of(run, "/update"), json(request), key).await
    }

    /// Saves the scripts that were edited for a retry as a version of the module.
    pub async fn save(&self, run: &str, request: &SaveRequest) -> Result<SavedModule, ClientError> {
        self.call(Method::POST, &of(run, "/save"), json(request), None).await
    }

    /// The operations of a run, oldest first.
    pub async fn operations(&self, run: &str) -> Result<Vec<OperationInfo>, ClientError> {
        self.all(&of(run, "/operations")).await
    }

    /// The events of a run after number `after`, those that have happened and those to come.
    #[must_use]
    pub fn events(&self, run: &str, after: u64) -> EventStream {
        EventStream::new(self.clone(), run, after)
    }

    /// What the steps of an instance have written.
    pub async fn logs(&self, run: &str, instance: &InstanceId) -> Result<Vec<LogInfo>, ClientError> {
        self.get(&of(run, &format!("/logs/{instance}"))).await
    }

    /// What the steps of an instance have written in one of its launches, counted from 1.
    pub async fn logs_of(&self, run: &str, instance: &InstanceId, attempt: u32) -> Result<Vec<LogInfo>, ClientError> {
        self.get(&of(run, &format!("/logs/{instance}?attempt={attempt}"))).await
    }

    /// The output of a step in one of the launches of its instance.
    pub async fn log_of(
        &self,
        run: &str,
        instance: &InstanceId,
        index: u32,
        attempt: u32,
    ) -> Result<Body, ClientError> {
        self.body(&of(run, &format!("/logs/{instance}/{index}?attempt={attempt}"))).await
    }

    /// The output of a step from byte `offset` on, as far as it is there.
    pub async fn log(&self, run: &str, instance: &InstanceId, index: u32, offset: u64) -> Result<Body, ClientError> {
        self.body(&of(run, &format!("/logs/{instance}/{index}?offset={offset}"))).await
    }

    /// The output of a step from its beginning to its end, as it comes.
    #[must_use]
    pub fn follow_log(&self, run: &str, instance: &InstanceId, index: u32) -> LogStream {
        LogStream::new(self.clone(), run, instance, index)
    }

    /// The reports of a run.
    pub async fn reports(&self, run: &str) -> Result<Vec<ReportInfo>, ClientError> {
        self.all(&of(run, "/reports")).await
    }

    /// The report of an instance: a gzipped tar file.
    pub async fn report(&self, run: &str, instance: &InstanceId) -> Result<Body, ClientError> {
        self.body(&of(run, &format!("/reports/{instance}"))).await
    }

    /// What the machine of an instance has written to its console.
    pub async fn console(&self, run: &str, instance: &InstanceId) -> Result<Body, ClientError> {
        self.body(&of(run, &format!("/console/{instance}"))).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new(), None).await
    }

    /// All pages of a list.
    async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ClientError> {
        let mut page: Page<T> = self.get(path).await?;
        let mut items = page.items;
        while let Some(next) = page.next {
            let separator = if path.contains('?') { '&' } else { '?' };
            page = self.get(&format!("{path}{separator}after={}", escape(&next))).await?;
            items.append(&mut page.items);
        }
        Ok(items)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        idempotency: Option<HeaderValue>,
    ) -> Result<T, ClientError> {
        let mut request = self.request(method.clone(), path, body)?;
        if let Some(key) = idempotency {
            request.headers.insert("idempotency-key", key);
        }
        self.read(self.send(request).await?, method, path).await
    }

    async fn done(&self, method: Method, path: &str, body: Bytes) -> Result<(), ClientError> {
        let mut answer = self.send(self.request(method, path, body)?).await?;
        answer.body.bytes().await?;
        Ok(())
    }

    async fn body(&self, path: &str) -> Result<Body, ClientError> {
        Ok(self.send(self.request(Method::GET, path, Bytes::new())?).await?.body)
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request, ClientError> {
        let url = format!("{}/api/v1{path}", self.base)
            .parse()
            .map_err(|_| ClientError::Setup { url: self.base.clone(), cause: Cause::Url })?;
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, self.bearer.clone());
        if !body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(Request { method, url, headers, body, patience: None })
    }

    /// Sends a request; a status that is not of success becomes an error.
    async fn send(&self, request: Request) -> Result<Answer, ClientError> {
        let (method, path) = (request.method.clone(), request.url.path().to_owned());
        let mut answer = self.http.send(request).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let body = answer.body.bytes().await?;
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => ClientError::Problem(Box::new(problem)),
            Err(_) => ClientError::Answer {
                method,
                path,
                status: answer.status.as_u16(),
                reason: "it is an error without problem details; is this URL a coordinator's?".to_owned(),
            },
        })
    }

    async fn read<T: DeserializeOwned>(
        &self,
        mut answer: Answer,
        method: Method,
        path: &str,
    ) -> Result<T, ClientError> {
        let body = answer.body.bytes().await?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Answer {
            method,
            path: path.split('?').next().unwrap_or_default().to_owned(),
            status: answer.status.as_u16(),
            reason: error.to_string(),
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.base).finish_non_exhaustive()
    }
}

fn of(run: &str, rest: &str) -> String {
    format!("/runs/{}{rest}", escape(run))
}

fn parameter(run: &str, key: &Key) -> String {
    of(run, &format!("/parameters/{key}"))
}

/// A key of its own for a request that changes something: one that is sent again over a new connection, because
/// the kept one broke, must not be made twice or be refused for what it has changed itself.
fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn json<T: Serialize>(value: &T) -> Bytes {
    // The bodies are plain structs: serializing them cannot fail.
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}

/// Escapes text for a path or a query; `/`, `@` and `:` stay.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/@:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A random number for [`crate::backoff::Backoff`].
fn jitter() -> u32 {
    uuid::Uuid::now_v7().as_u64_pair().1 as u32
}
