//! Contextualization data: what a machine is told at its launch, and the user data that carries it.
//!
//! The payload is one versioned JSON object, gzipped, base64url, as a comment line of a small shell
//! script: cloud-init and its kin accept that silently, and a stock image simply runs it.

use std::{collections::BTreeMap, io::Read as _, io::Write as _};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{InstanceId, RunId};

/// The version this code writes, and the newest one it reads.
pub const VERSION: u32 = 1;

/// The largest user data in bytes, so that every cloud takes it (EC2: 16 KiB).
pub const MAX_USER_DATA: usize = 16_000;

/// The largest payload after unpacking, in bytes.
const MAX_PAYLOAD: u64 = 256 * 1024;

const LINE: &str = "# slipstream-context: ";

/// What a machine is told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Format version.
    pub version: u32,
    /// The run it belongs to.
    pub run: RunId,
    /// Who it is.
    pub instance: InstanceId,
    /// The how manieth launch of that instance.
    pub attempt: u32,
    /// Where the coordinator's agent port may be reached, best first: `https://10.0.2.2:8443`.
    pub urls: Vec<String>,
    /// The name in the coordinator's certificate, whatever the URL.
    pub server_name: String,
    /// SHA-256 of the public key (SPKI, DER) of the coordinator's authority, base64url.
    pub pin: String,
    /// Lets the machine enrol once.
    pub token: String,
    /// When it was made; a clock that is behind it is wrong.
    pub issued: Timestamp,
    /// Until when the token is good.
    pub expires: Timestamp,
    /// Addresses the agent sets: hardware address to address with prefix length, `10.78.0.1/16`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub interfaces: BTreeMap<String, String>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("run", &self.run)
            .field("instance", &self.instance)
            .field("attempt", &self.attempt)
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

/// Why user data is not a context. No message holds any of its bytes: they are secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// Nothing in it looks like ours.
    #[error("it holds no contextualization data of SlipStream (no line `{LINE}...`, no JSON)")]
    Absent,
    /// Cut off or damaged on its way.
    #[error("the contextualization data is damaged or cut off: {0}")]
    Damaged(String),
    /// Written by a newer coordinator.
    #[error(
        "the contextualization data has version {found}, this agent reads up to {VERSION}: update the agent in the image"
    )]
    Version {
        /// The version it has.
        found: u32,
    },
    /// Larger than any of ours.
    #[error("the contextualization data is larger than {MAX_PAYLOAD} bytes")]
    TooLarge,
}

impl Context {
    /// The user data that carries this context, at most [`MAX_USER_DATA`] bytes.
    ///
    /// # Errors
    /// More URLs or interfaces than fit.
    pub fn to_user_data(&self) -> Result<String, ContextError> {
        let json = serde_json::to_vec(self).map_err(|e| ContextError::Damaged(e.to_string()))?;
        let mut gzip = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::best());
        let packed =
            gzip.write_all(&json).and_then(|()| gzip.finish()).map_err(|e| ContextError::Damaged(e.to_string()))?;
        let script = format!(
            "#!/bin/sh\n\
             # SlipStream: tells slipstream-agent which machine of which run this is.\n\
             {LINE}{}\n\
             exit 0\n",
            URL_SAFE_NO_PAD.encode(packed)
        );
        if script.len() > MAX_USER_DATA { Err(ContextError::TooLarge) } else { Ok(script) }
    }

    /// Reads user data in any of its forms: the script of [`Context::to_user_data`], its payload
    /// alone, or plain JSON; each of them optionally gzipped.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn from_user_data(bytes: &[u8]) -> Result<Self, ContextError> {
        let bytes = gunzip(bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let trimmed = text.trim_start_matches('\u{feff}').trim();
        if trimmed.starts_with('{') {
            return parse(trimmed.as_bytes());
        }
        let payload = text.lines().find_map(|line| line.trim().strip_prefix(LINE.trim_end())).map(str::trim);
        let payload = match payload {
            Some(payload) => payload,
            None if trimmed.starts_with("H4sI") => trimmed,
            None => return Err(ContextError::Absent),
        };
        let packed = URL_SAFE_NO_PAD
            .decode(payload.trim_end_matches('='))
            .map_err(|_| ContextError::Damaged("its payload is not base64url".to_owned()))?;
        parse(&gunzip(&packed)?)
    }
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, ContextError> {
    let mut out = Vec::new();
    let mut limited: Box<dyn std::io::Read + '_> = if bytes.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::read::GzDecoder::new(bytes).take(MAX_PAYLOAD + 1))
    } else {
        Box::new(bytes.take(MAX_PAYLOAD + 1))
    };
    limited.read_to_end(&mut out).map_err(|e| ContextError::Damaged(e.to_string()))?;
    if out.len() as u64 > MAX_PAYLOAD { Err(ContextError::TooLarge) } else { Ok(out) }
}

fn parse(json: &[u8]) -> Result<Context, ContextError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    // The message of serde_json names field and position, never a value of a string field.
    let damaged = |e: serde_json::Error| {
        let what = if e.is_eof() { "the JSON ends too early" } else { "the JSON is not of the expected form" };
        ContextError::Damaged(format!("{what} (line {}, column {})", e.line(), e.column()))
    };
    let Versioned { version } = serde_json::from_slice(json).map_err(damaged)?;
    if version == 0 || version > VERSION {
        return Err(ContextError::Version { found: version });
    }
    serde_json::from_slice(json).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            version: VERSION,
            run: RunId::new(1, [3; 10]),
            instance: "web.1".parse().expect("valid"),
            attempt: 1,
            urls: vec!["https://10.0.2.2:8443".into()],
            server_name: "coordinator.slipstream.internal".into(),
            pin: "p".repeat(43),
            token: "SECRET-TOKEN".into(),
            issued: Timestamp::UNIX_EPOCH,
            expires: Timestamp::UNIX_EPOCH,
            interfaces: BTreeMap::new(),
        }
    }

    #[test]
    fn every_form_of_user_data_reads_back() {
        let script = context().to_user_data().expect("small");
        let json = serde_json::to_string_pretty(&context()).expect("serializes");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(script.as_bytes()).expect("to memory");
        let payload = script.lines().find_map(|l| l.strip_prefix(LINE)).expect("has the line").to_owned();
        for form in [script.into_bytes(), json.into_bytes(), gzip.finish().expect("to memory"), payload.into_bytes()] {
            assert_eq!(Context::from_user_data(&form), Ok(context()));
        }
    }

    #[test]
    fn user_data_cut_anywhere_is_refused_without_showing_it() {
        let script = context().to_user_data().expect("small");
        let json = serde_json::to_string(&context()).expect("serializes");
        for whole in [script.trim_end().trim_end_matches("exit 0").trim_end(), &json] {
            for end in 0..whole.len() {
                let error = Context::from_user_data(&whole.as_bytes()[..end]).expect_err("cut off");
                assert!(!error.to_string().contains("SECRET"), "{error}");
            }
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let newer = Context { version: 9, ..context() };
        let json = serde_json::to_vec(&newer).expect("serializes");
        assert_eq!(Context::from_user_data(&json), Err(ContextError::Version { found: 9 }));
        assert_eq!(Context::from_user_data(b"#!/bin/sh\necho hi\n"), Err(ContextError::Absent));
        assert_eq!(Context::from_user_data(b""), Err(ContextError::Absent));
    }

    #[test]
    fn a_bomb_does_not_unpack() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![b'a'; 10_000_000]).expect("to memory");
        assert_eq!(Context::from_user_data(&gzip.finish().expect("to memory")), Err(ContextError::TooLarge));
    }
}
