//! The secret by which a machine enrols.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{hkdf, hmac};
use slipstream_shared::id::{AttemptKey, RunId};

use crate::run::secret::Vault;

/// The coordinator's own secret, from which the tokens of all launches and the keys of all runs are derived.
#[derive(Clone)]
pub struct LaunchSecret {
    tokens: hmac::Key,
    keys: hkdf::Prk,
}

impl LaunchSecret {
    /// From 32 random bytes that stay the same for the life of the coordinator's data.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        let keys = hkdf::Salt::new(hkdf::HKDF_SHA256, b"slipstream values").extract(bytes);
        LaunchSecret { tokens: hmac::Key::new(hmac::HMAC_SHA256, bytes), keys }
    }

    /// The keys of the secrets of a run.
    #[must_use]
    pub fn vault(&self, run: RunId) -> Vault {
        Vault::new(&self.keys, run)
    }

    /// Recognises a request that may hold secrets, and tells nothing else of it.
    #[must_use]
    pub fn fingerprint(&self, request: &[u8]) -> String {
        let tag = hmac::sign(&self.tokens, &[b"request|", request].concat());
        URL_SAFE_NO_PAD.encode(tag)
    }

    /// The token of one launch attempt. Derived rather than drawn: nothing secret has to be stored, and a
    /// launch that is repeated after a crash carries the same user data.
    #[must_use]
    pub fn token(&self, key: &AttemptKey) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.tokens, message(key).as_bytes()))
    }

    /// True if `token` is that of `key`; takes the same time whatever it is.
    #[must_use]
    pub fn verify(&self, key: &AttemptKey, token: &str) -> bool {
        URL_SAFE_NO_PAD.decode(token).is_ok_and(|tag| hmac::verify(&self.tokens, message(key).as_bytes(), &tag).is_ok())
    }
}

impl std::fmt::Debug for LaunchSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LaunchSecret(<secret>)")
    }
}

fn message(key: &AttemptKey) -> String {
    format!("launch|{}|{}|{}", key.run, key.instance, key.attempt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipstream_shared::id::RunId;

    #[test]
    fn a_token_is_good_for_its_attempt_only() {
        let secret = LaunchSecret::new(&[7; 32]);
        let key = AttemptKey { run: RunId::new(1, [1; 10]), instance: "web.1".parse().expect("valid"), attempt: 1 };
        let token = secret.token(&key);
        assert!(secret.verify(&key, &token));
        assert!(!secret.verify(&AttemptKey { attempt: 2, ..key.clone() }, &token));
        assert!(!LaunchSecret::new(&[8; 32]).verify(&key, &token));
        assert!(!secret.verify(&key, ""));
    }
}
