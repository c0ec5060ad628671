//! What tokens of the API look like. Those by which machines enrol are the business of `drive/`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};

use crate::seam::Seam;

/// How a token of the API begins, so that scanners for leaked secrets can tell it.
pub const PREFIX: &str = "slip_";

/// A new token of the API: 256 random bits.
#[must_use]
pub fn api_token(seam: &Seam) -> String {
    let mut bits = [0; 32];
    seam.fill(&mut bits);
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits))
}

/// What is kept of a token.
#[must_use]
pub fn hash(token: &str) -> [u8; 32] {
    hash_bytes(token.as_bytes())
}

/// SHA-256.
#[must_use]
pub fn hash_bytes(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_tokens_are_long_and_differ() {
        let seam = Seam::real();
        let (a, b) = (api_token(&seam), api_token(&seam));
        assert_ne!(a, b);
        assert_eq!(a.len(), PREFIX.len() + 43);
        assert_ne!(hash(&a), hash(&b));
    }
}
