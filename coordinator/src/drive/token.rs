//! The secret by which a machine enrols.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use slipstream_shared::id::AttemptKey;

/// The coordinator's own secret, from which the tokens of all launches are derived.
#[derive(Clone)]
pub struct LaunchSecret(hmac::Key);

impl LaunchSecret {
    /// From 32 random bytes that stay the same for the life of the coordinator's data.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        LaunchSecret(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The token of one launch attempt. Derived rather than drawn: nothing secret has to be stored, and a
    /// launch that is repeated after a crash carries the same user data.
    #[must_use]
    pub fn token(&self, key: &AttemptKey) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, message(key).as_bytes()))
    }

    /// True if `token` is that of `key`; takes the same time whatever it is.
    #[must_use]
    pub fn verify(&self, key: &AttemptKey, token: &str) -> bool {
        URL_SAFE_NO_PAD.decode(token).is_ok_and(|tag| hmac::verify(&self.0, message(key).as_bytes(), &tag).is_ok())
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
