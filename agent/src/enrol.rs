//! Trading the token of the context for a client certificate: at the first boot, at each later one, since what was
//! given before a stop is no longer good, and when most of its life has passed.
//!
//! Safe to repeat: the same token with the same key gets the same answer, so a lost one costs nothing.

use std::{sync::Arc, time::Duration};

use slipstream_shared::{
    context::Context,
    error_chain::Chain,
    link::{Boot, ENROL_PATH, EnrolAnswer, EnrolRequest, OLDEST_PROTOCOL, PROTOCOL, Refusal},
};

use crate::{
    connect::{ConnectError, Dialer, full},
    identity::{Identity, IdentityError, Terms},
    system::System,
    tls::{self, Trust},
};

/// How long the coordinator may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Why the agent is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// No way to the coordinator.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The coordinator says no.
    #[error("the coordinator refuses to enrol this machine ({}): {}", .0.code, .0.message)]
    Refused(Refusal),
    /// It says something else.
    #[error("the coordinator answered with status {status}")]
    Answer {
        /// Which one.
        status: u16,
    },
    /// The key or the certificate can not be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS does not take the key.
    #[error("cannot use the agent's key: {0}")]
    Key(String),
}

impl EnrolError {
    /// True when trying again may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            EnrolError::Connect(_) | EnrolError::Answer { .. } => true,
            EnrolError::Refused(refusal) => refusal.retry,
            EnrolError::Identity(IdentityError::Disk { .. }) => true,
            EnrolError::Identity(IdentityError::Damaged { .. }) | EnrolError::Key(_) => false,
        }
    }
}

/// Asks for a certificate once and keeps it.
///
/// # Errors
/// See [`EnrolError`].
pub async fn enrol(
    context: &Context,
    trust: &Trust,
    dialer: &Dialer,
    identity: &Identity,
    system: &System,
    boot: &Boot,
) -> Result<(), EnrolError> {
    let config = tls::config(trust, None).map_err(|e| EnrolError::Key(Chain(&e).to_string()))?;
    let connection = dialer.open(Arc::new(config)).await?;
    let request = EnrolRequest {
        protocol: PROTOCOL,
        oldest_protocol: OLDEST_PROTOCOL,
        agent: crate::VERSION.to_owned(),
        run: context.run,
        instance: context.instance.clone(),
        attempt: context.attempt,
        token: context.token.clone(),
        csr: identity.request(&context.instance).map_err(|e| EnrolError::Key(e.to_string()))?,
        platform: system.platform(),
        boot: boot.clone(),
    };
    let body = serde_json::to_vec(&request).expect("plain data serializes");
    let request = connection
        .request("POST", ENROL_PATH)
        .header("content-type", "application/json")
        .body(full(body))
        .expect("the URL was parsed before");
    let (status, answer) = connection.call(request, ANSWER_WITHIN).await?;
    if status == 200
        && let Ok(answer) = serde_json::from_slice::<EnrolAnswer>(&answer)
    {
        let renew_at = answer.renew_in.map(|seconds| {
            System::now()
                .as_millisecond()
                .saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))
        });
        let terms = Terms { boot: boot.id.clone(), renew_at };
        return Ok(identity.keep(&answer.certificate, &answer.authority, &terms)?);
    }
    Err(match serde_json::from_slice::<Refusal>(&answer) {
        Ok(refusal) => EnrolError::Refused(refusal),
        Err(_) => {
            dialer.avoid_current();
            EnrolError::Answer { status }
        }
    })
}
