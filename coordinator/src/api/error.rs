//! What can go wrong, as a client sees it. The only place that knows which error has which status.
//!
//! A [`Code`] is a promise: programs compare it, so it never changes its meaning.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use slipstream_shared::{
    api::{FileProblem, Problem},
    brief::bounded,
    error_chain::Chain,
    link::RefusedCode,
};

use crate::{
    access::AccessError, catalogue::CatalogueError, drive::RunError, logs::reports::ReportError, run::change::Refused,
    store::StoreError,
};

/// The most bytes of a detail, which may quote the request. Reasons of aborts, which are shown whole, are shorter.
const LONGEST: usize = 4096;

/// After how many seconds a client may try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:ident $word:literal $title:literal;)*) => {
        /// A stable word for each thing that can go wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The word, the status, and what it means.
            #[must_use]
            pub fn facts(self) -> (&'static str, StatusCode, &'static str) {
                match self {
                    $(Code::$name => ($word, StatusCode::$status, $title),)*
                }
            }
        }
    };
}

codes! {
    /// No token, or one that is not known.
    Unauthenticated = UNAUTHORIZED "unauthenticated" "A valid API token is needed";
    /// The token is good, but its user may not do this.
    Denied = FORBIDDEN "denied" "Not allowed";
    /// The name or the password is wrong.
    BadLogin = UNAUTHORIZED "bad_login" "Name or password is wrong";
    /// A request of a page that changes something lacks its second token.
    Csrf = FORBIDDEN "csrf" "The header X-CSRF-Token is missing or wrong";
    /// Too many wrong passwords; `Retry-After` says how long to wait.
    TooMany = TOO_MANY_REQUESTS "too_many_attempts" "Too many wrong passwords";
    /// There is no such user.
    UserNotFound = NOT_FOUND "user_not_found" "No such user";
    /// There is no such group.
    GroupNotFound = NOT_FOUND "group_not_found" "No such group";
    /// There is no such token.
    TokenNotFound = NOT_FOUND "token_not_found" "No such token";
    /// The path leads nowhere.
    NotFound = NOT_FOUND "not_found" "No such resource";
    /// The path is right, the method is not.
    MethodNotAllowed = METHOD_NOT_ALLOWED "method_not_allowed" "No such method here";
    /// No run has this id.
    RunNotFound = NOT_FOUND "run_not_found" "No such run";
    /// More than one run has an id that ends like this.
    RunAmbiguous = CONFLICT "run_ambiguous" "More than one run is called that";
    /// The run has no such parameter.
    ParameterNotFound = NOT_FOUND "parameter_not_found" "No such parameter";
    /// The catalogue has no such module.
    ModuleNotFound = NOT_FOUND "module_not_found" "No such module";
    /// The run has no such instance.
    InstanceNotFound = NOT_FOUND "instance_not_found" "No such node instance";
    /// The step has printed nothing, or does not exist.
    LogNotFound = NOT_FOUND "log_not_found" "No such output";
    /// The instance has sent no report.
    ReportNotFound = NOT_FOUND "report_not_found" "No such report";
    /// Path, query, header or body are not of the expected form.
    InvalidRequest = BAD_REQUEST "invalid_request" "The request is not of the expected form";
    /// The body has another media type than expected.
    MediaType = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "Another media type is expected";
    /// The body is larger than allowed.
    TooLarge = PAYLOAD_TOO_LARGE "too_large" "The body is too large";
    /// The body took too long to arrive.
    SlowBody = REQUEST_TIMEOUT "slow_body" "The body took too long to arrive";
    /// The module file has errors.
    InvalidModule = UNPROCESSABLE_ENTITY "invalid_module" "The module file has errors";
    /// The module cannot be launched like that.
    InvalidLaunch = UNPROCESSABLE_ENTITY "invalid_launch" "The module cannot be launched like that";
    /// A cloud could not launch the machines: a program, an image or its credentials are missing.
    CloudRefused = BAD_GATEWAY "cloud_refused" "A cloud cannot launch this";
    /// The value does not fit its parameter.
    InvalidValue = UNPROCESSABLE_ENTITY "invalid_value" "The value does not fit";
    /// Nothing happened within the time given by `wait`.
    WaitTimeout = REQUEST_TIMEOUT "wait_timeout" "What was waited for did not come in time";
    /// The run is aborted.
    Aborted = CONFLICT "aborted" "The run is aborted";
    /// The parameter, or the module, has another revision than expected; `revision` says which.
    RevisionMismatch = PRECONDITION_FAILED "revision_mismatch" "Somebody else has written it meanwhile";
    /// Somebody else was first.
    Conflict = CONFLICT "conflict" "Somebody else changed it first";
    /// The idempotency key was used for another request.
    KeyReused = CONFLICT "idempotency_key_reused" "The idempotency key was used for another request";
    /// The run has ended.
    RunEnded = GONE "run_ended" "The run has ended";
    /// The coordinator is stopping, or cannot do it now; the same request may succeed later.
    Unavailable = SERVICE_UNAVAILABLE "unavailable" "Not now";
    /// The disk is full.
    StorageFull = INSUFFICIENT_STORAGE "storage_full" "No space left";
    /// A defect, or a broken disk; the log says more.
    Internal = INTERNAL_SERVER_ERROR "internal" "The coordinator failed";
}

/// An answer that tells what went wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// What kind of thing.
    pub code: Code,
    /// What failed, on what, why, and what to do.
    pub detail: String,
    /// The revision that a parameter has, or the newest version of a module.
    pub revision: Option<u64>,
    /// Places in a module file.
    pub problems: Vec<FileProblem>,
    /// After how many seconds it may be tried again.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// An error of this kind.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        ApiError {
            code,
            detail: bounded(&detail.into(), LONGEST),
            revision: None,
            problems: Vec::new(),
            retry_after: None,
        }
    }

    /// The body.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (word, status, title) = self.code.facts();
        Problem {
            kind: "about:blank".to_owned(),
            title: title.to_owned(),
            status: status.as_u16(),
            code: word.to_owned(),
            detail: self.detail.clone(),
            revision: self.revision,
            problems: self.problems.clone(),
        }
    }

    /// A defect or a broken disk: the cause is for the log, not for clients.
    fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!("a request failed: {}", Chain(error));
        ApiError::new(Code::Internal, "the coordinator failed; its log says why")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (_, status, _) = self.code.facts();
        let mut response = (status, Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.code == Code::Unavailable {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        ApiError::from_store(&error)
    }
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        let code = match &error {
            RunError::NotFound(_) => Code::RunNotFound,
            RunError::Ambiguous(_) => Code::RunAmbiguous,
            RunError::Refused(Refused::Reused) => Code::KeyReused,
            RunError::Refused(Refused::Busy(_)) => Code::Conflict,
            RunError::Refused(Refused::Changed { revision, .. }) => {
                let error = ApiError::new(Code::RevisionMismatch, error.to_string());
                return ApiError { revision: Some(*revision), ..error };
            }
            RunError::Refused(refused) => refused_code(refused.code()),
            RunError::UnknownCloud { .. } => Code::InvalidLaunch,
            RunError::Cloud { .. } => Code::CloudRefused,
            RunError::Unavailable(_) => Code::Unavailable,
            RunError::Store(cause) => return ApiError::from_store(cause),
        };
        ApiError::new(code, error.to_string())
    }
}

fn refused_code(code: RefusedCode) -> Code {
    match code {
        RefusedCode::UnknownKey => Code::ParameterNotFound,
        RefusedCode::Invalid => Code::InvalidValue,
        RefusedCode::Changed => Code::RevisionMismatch,
        RefusedCode::Denied => Code::Denied,
        RefusedCode::Aborted => Code::Aborted,
        RefusedCode::Gone => Code::RunEnded,
        RefusedCode::Unavailable => Code::Unavailable,
    }
}

impl From<CatalogueError> for ApiError {
    fn from(error: CatalogueError) -> Self {
        let code = match &error {
            CatalogueError::BadReference(_) | CatalogueError::LongComment { .. } => Code::InvalidRequest,
            CatalogueError::NotFound { .. }
            | CatalogueError::NoVersion { .. }
            | CatalogueError::NotPublished { .. }
            | CatalogueError::Gone { .. } => Code::ModuleNotFound,
            CatalogueError::Invalid { .. } | CatalogueError::Rename { .. } => Code::InvalidModule,
            CatalogueError::Changed { .. } => Code::RevisionMismatch,
            CatalogueError::Launch { .. } => Code::InvalidLaunch,
            CatalogueError::Busy { .. } | CatalogueError::Taken { .. } => Code::Conflict,
            CatalogueError::Store(cause) => return ApiError::from_store(cause),
            CatalogueError::Damaged { .. } => return ApiError::internal(&error),
        };
        let problems = match &error {
            CatalogueError::Invalid { problems, .. } => problems.iter().map(FileProblem::from).collect(),
            _ => Vec::new(),
        };
        let revision = match &error {
            CatalogueError::Changed { newest, .. } => Some(u64::from(*newest)),
            _ => None,
        };
        ApiError { problems, revision, ..ApiError::new(code, error.to_string()) }
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        let code = match error {
            AccessError::Store(error) => return error.into(),
            AccessError::Damaged(_) | AccessError::Io { .. } => return ApiError::internal(&error),
            AccessError::NoUser(_) => Code::UserNotFound,
            AccessError::NoGroup(_) => Code::GroupNotFound,
            AccessError::NoToken(_) => Code::TokenNotFound,
            AccessError::Taken(_) => Code::Conflict,
            AccessError::Invalid(_) => Code::InvalidValue,
            AccessError::Denied(_) => Code::Denied,
            AccessError::BadLogin => Code::BadLogin,
            AccessError::TooOften(_) => Code::TooMany,
            AccessError::Busy => Code::Unavailable,
        };
        let retry_after = if let AccessError::TooOften(seconds) = error { Some(seconds) } else { None };
        ApiError { retry_after, ..ApiError::new(code, error.to_string()) }
    }
}

impl From<ReportError> for ApiError {
    fn from(error: ReportError) -> Self {
        let code = match &error {
            ReportError::TooLarge { .. } => Code::TooLarge,
            ReportError::Cut => Code::InvalidRequest,
            ReportError::Io(error) => return ApiError::from_io(error),
        };
        ApiError::new(code, error.to_string())
    }
}

impl ApiError {
    fn from_store(error: &StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => {
                ApiError::new(Code::Conflict, "somebody else was first; look, and try again")
            }
            StoreError::TooLarge { .. } => ApiError::new(Code::TooLarge, error.to_string()),
            StoreError::Full { .. } => {
                // Where it is, is the operator's business.
                tracing::error!("{error}");
                let detail = "no space left for the coordinator's store, nothing was changed \
                              (free some on its disk, its log names the folder; then try again)";
                ApiError::new(Code::StorageFull, detail)
            }
            StoreError::Closed => ApiError::new(Code::Unavailable, "the coordinator is stopping"),
            _ => ApiError::internal(error),
        }
    }

    /// A file of logs or reports could not be used.
    #[must_use]
    pub fn from_io(error: &std::io::Error) -> Self {
        tracing::error!("cannot use a file of the data folder: {error}");
        match error.kind() {
            std::io::ErrorKind::StorageFull => ApiError::new(Code::StorageFull, "no space left in the data folder"),
            _ => ApiError::new(Code::Internal, "the coordinator failed; its log says why"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_its_own_word_and_is_an_error() {
        let words: BTreeSet<_> = Code::ALL.iter().map(|code| code.facts().0).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            let (word, status, title) = code.facts();
            assert!(status.is_client_error() || status.is_server_error(), "{word}");
            assert!(!title.ends_with('.'), "{word}");
        }
    }

    #[test]
    fn a_problem_is_of_its_own_media_type_and_says_how_to_go_on() {
        let response = ApiError::new(Code::Unauthenticated, "no token").into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        let response = ApiError::from(StoreError::Closed).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn what_only_the_operator_can_mend_is_not_shown_to_clients() {
        let error = StoreError::Damaged { path: "/secret/place".to_owned(), reason: "rot".to_owned() };
        let problem = ApiError::from(error).problem();
        assert_eq!((problem.code.as_str(), problem.status), ("internal", 500));
        assert!(!problem.detail.contains("/secret"), "{}", problem.detail);
    }
}
