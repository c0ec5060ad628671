//! Passwords: argon2id, kept in the usual form `$argon2id$v=19$m=...,t=...,p=...$salt$hash`.
//!
//! One hash takes 19 MiB for some hundredths of a second, on purpose. So only [`AT_ONCE`] are made at a time, and
//! whoever stands in line too long is asked to come back: a flood of logins costs neither memory nor the runs.
//! A name that does not exist costs the same as one that does.

use std::{fmt, time::Duration};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use tokio::sync::Semaphore;

use super::AccessError;
use crate::seam::Seam;

/// The lengths a password may have, in bytes.
pub(super) const LENGTHS: std::ops::RangeInclusive<usize> = 8..=1024;

/// How many are hashed at a time.
const AT_ONCE: usize = 2;

/// How long a login stands in line.
const IN_LINE: Duration = Duration::from_secs(5);

/// What OWASP names as the least for argon2id: 19 MiB, two passes.
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// What may be asked of a hash that was made elsewhere, so that a file cannot stop the coordinator.
const MOST_MEMORY: u32 = 256 * 1024;
const MOST_PASSES: u32 = 16;

const HASH: usize = 32;

/// Hashes and compares.
pub(super) struct Passwords {
    slots: Semaphore,
    /// What names that do not exist are compared with.
    nobody: String,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

impl Passwords {
    pub(super) fn new(seam: &Seam) -> Self {
        let mut bytes = [0; 16 + HASH];
        seam.fill(&mut bytes);
        // Of the right form, but no password's hash.
        let nobody = shown(&Kept {
            memory: MEMORY,
            passes: PASSES,
            lanes: 1,
            salt: bytes[..16].to_vec(),
            hash: bytes[16..].to_vec(),
        });
        Passwords { slots: Semaphore::new(AT_ONCE), nobody }
    }

    /// What is kept of a password.
    pub(super) async fn hash(&self, seam: &Seam, password: &str) -> Result<String, AccessError> {
        let mut salt = vec![0; 16];
        seam.fill(&mut salt);
        let kept = Kept { memory: MEMORY, passes: PASSES, lanes: 1, salt, hash: Vec::new() };
        let hash = self.compute(&kept, password).await?;
        Ok(shown(&Kept { hash: hash.to_vec(), ..kept }))
    }

    /// True if this is the password of which `kept` is the hash. None: nobody has that name, or no password;
    /// it takes as long.
    pub(super) async fn verify(&self, kept: Option<&str>, password: &str) -> Result<bool, AccessError> {
        let parsed = read(kept.unwrap_or(&self.nobody)).map_err(AccessError::Invalid)?;
        let hash = self.compute(&parsed, password).await?;
        // Both are hashes: where they differ tells nothing of use.
        Ok(kept.is_some() && parsed.hash == hash)
    }

    async fn compute(&self, kept: &Kept, password: &str) -> Result<[u8; HASH], AccessError> {
        let slot = tokio::time::timeout(IN_LINE, self.slots.acquire()).await;
        let _slot = slot.ok().and_then(Result::ok).ok_or(AccessError::Busy)?;
        let (kept, password) = (kept.clone(), password.to_owned());
        let computed = tokio::task::spawn_blocking(move || compute(&kept, &password)).await;
        computed.map_err(|_| AccessError::Busy)?.map_err(AccessError::Invalid)
    }
}

/// Checks a hash that was made elsewhere.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn check(kept: &str) -> Result<(), String> {
    read(kept).map(drop)
}

#[derive(Clone)]
struct Kept {
    memory: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

fn compute(kept: &Kept, password: &str) -> Result<[u8; HASH], String> {
    let params = Params::new(kept.memory, kept.passes, kept.lanes, Some(HASH)).map_err(|e| e.to_string())?;
    let mut out = [0; HASH];
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(password.as_bytes(), &kept.salt, &mut out).map_err(|e| e.to_string())?;
    Ok(out)
}

fn shown(kept: &Kept) -> String {
    let (salt, hash) = (STANDARD_NO_PAD.encode(&kept.salt), STANDARD_NO_PAD.encode(&kept.hash));
    format!("$argon2id$v=19$m={},t={},p={}${salt}${hash}", kept.memory, kept.passes, kept.lanes)
}

fn read(text: &str) -> Result<Kept, String> {
    let wrong = || "it is not of the form `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`".to_owned();
    let [first, kind, version, costs, salt, hash] =
        text.trim().split('$').collect::<Vec<_>>().try_into().map_err(|_| wrong())?;
    if (first, kind, version) != ("", "argon2id", "v=19") {
        return Err(wrong());
    }
    let cost = |name: &str| {
        let found = costs.split(',').find_map(|cost| cost.strip_prefix(name)?.strip_prefix('='));
        found.and_then(|text| text.parse::<u32>().ok()).ok_or_else(wrong)
    };
    let decode = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| wrong());
    let kept =
        Kept { memory: cost("m")?, passes: cost("t")?, lanes: cost("p")?, salt: decode(salt)?, hash: decode(hash)? };
    if kept.memory > MOST_MEMORY || kept.passes > MOST_PASSES || kept.lanes > 16 {
        return Err(format!("it costs more than m={MOST_MEMORY},t={MOST_PASSES},p=16"));
    }
    if kept.hash.len() != HASH || !(8..=64).contains(&kept.salt.len()) {
        return Err(wrong());
    }
    Params::new(kept.memory, kept.passes, kept.lanes, Some(HASH)).map_err(|e| e.to_string())?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_no_other() {
        let seam = Seam::real();
        let passwords = Passwords::new(&seam);
        let kept = passwords.hash(&seam, "correct horse").await.expect("hashed");
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(passwords.hash(&seam, "correct horse").await.expect("hashed"), kept, "each has its own salt");
        for (of, password, right) in [
            (Some(kept.as_str()), "correct horse", true),
            (Some(kept.as_str()), "correct Horse", false),
            (None, "correct horse", false),
            (None, "", false),
        ] {
            assert_eq!(passwords.verify(of, password).await.expect("compared"), right, "{password}");
        }
    }

    #[tokio::test]
    async fn a_hash_made_by_the_reference_program_is_read() {
        // From the tests of https://github.com/P-H-C/phc-winner-argon2: version 19, t=2, m=2^16, p=1.
        let passwords = Passwords::new(&Seam::real());
        let of_reference = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(passwords.verify(Some(of_reference), "password").await.expect("compared"));
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        for (bad, why) in [
            ("", "form"),
            ("password", "form"),
            ("$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$AAAA", "form"),
            ("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$AAAA", "form"),
            ("$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "costs more"),
        ] {
            let error = check(bad).expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
