//! Enrolment: token and key in, certificate out.
//!
//! Cheap checks come first, because anybody can ask: size, form, token (one HMAC), then the signature
//! of the request, then the run. The answer to the same token with the same key is always a certificate
//! again: a reply may have been lost, the certificate is about to expire or has expired, or the machine has
//! booted again, after which its earlier certificates are no longer good.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    body::{Body, to_bytes},
    extract::State,
    http::StatusCode,
};
use slipstream_shared::{
    error_chain::Chain,
    id::AttemptKey,
    link::{EnrolAnswer, EnrolRequest, OLDEST_PROTOCOL, PROTOCOL},
};

use super::{Refused, limit::Limit};
use crate::{
    app::{App, Shared},
    drive::{EnrolError, RunError},
    pki,
    server::Client,
};

/// The largest request, in bytes.
const MAX_REQUEST: usize = 64 * 1024;

/// How long a request may take to arrive.
const WITHIN: Duration = Duration::from_secs(10);

/// The longest name of an agent's version, in bytes; it goes into the run's log.
const MAX_AGENT: usize = 64;

/// `POST /agent/v1/enrol`
pub(super) async fn enrol(
    State(app): State<Shared>,
    Extension(limit): Extension<Arc<Limit>>,
    Extension(client): Extension<Client>,
    body: Body,
) -> Result<Json<EnrolAnswer>, Refused> {
    let busy = || Refused::for_now(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many requests; come back later");
    let place = limit.enter().await.ok_or_else(busy)?;
    let answer = answer(&app, body).await;
    drop(place);
    if let Err(refused) = &answer
        && !refused.retry
        && limit.refused()
    {
        tracing::warn!(address = %client.address, code = refused.code, "refused to enrol: {}", refused.message);
    }
    answer.map(Json)
}

async fn answer(app: &App, body: Body) -> Result<EnrolAnswer, Refused> {
    let request = read(body).await?;
    let protocol = agree(request.protocol, request.oldest_protocol)
        .map_err(|message| Refused::new(StatusCode::BAD_REQUEST, "protocol", message))?;
    let key = AttemptKey { run: request.run, instance: request.instance, attempt: request.attempt };
    if !app.launches.verify(&key, &request.token) {
        return Err(refused(&EnrolError::Token));
    }
    let agent = pki::agent_key(&request.csr)
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "invalid", Chain(&error).to_string()))?;
    let version: String = request.agent.chars().filter(|c| !c.is_control()).take(MAX_AGENT).collect();
    let run = app.runs.find(&key.run.to_string()).await.map_err(|error| match error {
        RunError::NotFound(_) => refused(&EnrolError::Ended),
        error => refused(&EnrolError::Unavailable(error)),
    })?;
    let (instance, boot) = (&key.instance, &request.boot);
    let enrolled = run.enrol(instance, key.attempt, &request.token, &agent.sha256, &version, boot).await;
    let number = enrolled.map_err(|error| refused(&error))?;
    let life = app.agent_certificate_life;
    let certificate = app.authority.sign_agent(&agent, &key, number, life).map_err(|error| {
        tracing::error!("cannot sign the certificate of an agent: {}", Chain(&error));
        Refused::for_now(StatusCode::INTERNAL_SERVER_ERROR, "busy", "the coordinator failed; its log says why")
    })?;
    tracing::info!(run = %key.run, instance = %key.instance, attempt = key.attempt, agent = version, "enrolled");
    let renew_in = Some(life.as_secs() * 2 / 3);
    Ok(EnrolAnswer { protocol, certificate, authority: app.authority.pem().to_owned(), renew_in })
}

/// The version that both sides speak.
///
/// # Errors
/// There is none.
pub(super) fn agree(newest: u32, oldest: u32) -> Result<u32, String> {
    if newest < OLDEST_PROTOCOL || oldest > PROTOCOL || oldest > newest {
        return Err(format!(
            "the agent speaks versions {oldest} to {newest} of the protocol, this coordinator {OLDEST_PROTOCOL} to {PROTOCOL}"
        ));
    }
    Ok(newest.min(PROTOCOL))
}

async fn read(body: Body) -> Result<EnrolRequest, Refused> {
    let invalid = |message: String| Refused::new(StatusCode::BAD_REQUEST, "invalid", message);
    let bytes = tokio::time::timeout(WITHIN, to_bytes(body, MAX_REQUEST)).await;
    let bytes = bytes.map_err(|_| invalid("the request did not arrive in time".to_owned()))?.map_err(|_| {
        let message = format!("the request did not arrive whole, or has more than {MAX_REQUEST} bytes");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid", message)
    })?;
    // The message of serde_json may hold a value, and with it the token.
    serde_json::from_slice(&bytes).map_err(|error| {
        invalid(format!("the request is not of the expected form (line {}, column {})", error.line(), error.column()))
    })
}

fn refused(error: &EnrolError) -> Refused {
    let message = error.to_string();
    match error {
        EnrolError::Token => Refused::new(StatusCode::FORBIDDEN, "token", message),
        EnrolError::OtherKey => Refused::new(StatusCode::CONFLICT, "other_key", message),
        EnrolError::Stopped => Refused::for_now(StatusCode::CONFLICT, "stopped", message),
        EnrolError::Ended => Refused::new(StatusCode::GONE, "ended", message),
        EnrolError::Unavailable(_) => Refused::for_now(StatusCode::SERVICE_UNAVAILABLE, "busy", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_on_the_newest_version_they_share() {
        assert_eq!(agree(PROTOCOL, PROTOCOL), Ok(PROTOCOL));
        assert_eq!(agree(PROTOCOL + 5, OLDEST_PROTOCOL), Ok(PROTOCOL));
        for (newest, oldest) in [(PROTOCOL + 2, PROTOCOL + 1), (0, 0), (1, 2)] {
            let message = agree(newest, oldest).expect_err("no version");
            assert!(message.starts_with(&format!("the agent speaks versions {oldest} to {newest}")), "{message}");
        }
    }
}
