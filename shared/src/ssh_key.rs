//! Public keys for ssh, as lines of an `authorized_keys` file.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The most keys of a run.
pub const MOST_KEYS: usize = 32;

/// The most bytes of all keys of a run together.
pub const MOST_BYTES: usize = 16 * 1024;

/// What ssh servers of today accept. No certificates, and no DSA.
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Why lines are not keys to let somebody in with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// One of them is not a key.
    #[error("ssh key {number} {reason}")]
    Line {
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More than are taken.
    #[error("a run takes at most {MOST_KEYS} ssh keys, not {0}")]
    Many(usize),
    /// Larger than is taken.
    #[error("the ssh keys of a run have at most {MOST_BYTES} bytes together, not {0}")]
    Large(usize),
}

/// Checks the keys of a run.
///
/// # Errors
/// See [`InvalidKey`].
pub fn check_all(lines: &[String]) -> Result<(), InvalidKey> {
    if lines.len() > MOST_KEYS {
        return Err(InvalidKey::Many(lines.len()));
    }
    let size = lines.iter().map(String::len).sum();
    if size > MOST_BYTES {
        return Err(InvalidKey::Large(size));
    }
    let mut numbered = lines.iter().zip(1..);
    numbered.try_for_each(|(line, number)| check(line).map_err(|reason| InvalidKey::Line { number, reason }))
}

/// Checks one line: type, key, and perhaps a comment. Options (`command=...`) are not taken.
///
/// # Errors
/// What is wrong, to stand behind the name of the key.
pub fn check(line: &str) -> Result<(), &'static str> {
    if line.starts_with("-----BEGIN") {
        return Err("is a private key or a certificate: what is wanted is the public key, in the file `.pub`");
    }
    if line.chars().any(char::is_control) {
        return Err("has a line break or another control character");
    }
    let mut words = line.split(' ');
    let (Some(kind), Some(key)) = (words.next(), words.next()) else {
        return Err("has not the form `type key comment`, such as `ssh-ed25519 AAAA... me@here`");
    };
    if !TYPES.contains(&kind) {
        return Err("is of a type that is not known; make one with: ssh-keygen -t ed25519");
    }
    let blob = STANDARD.decode(key).map_err(|_| "is not base64; was it cut off?")?;
    match fields(&blob).as_deref() {
        Some([again, _, ..]) if *again == kind.as_bytes() => Ok(()),
        Some([_, _, ..]) => Err("says it is of one type and is of another"),
        _ => Err("is not complete; was it cut off?"),
    }
}

/// What is encoded: fields, each after its length. The first is the type once more.
fn fields(mut blob: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while let Some((length, rest)) = blob.split_first_chunk::<4>() {
        let (field, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        fields.push(field);
        blob = rest;
    }
    blob.is_empty().then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAke9gWGTzUmzmwj31i0Zpe7F7BXtpnkjzp7qxRdbqPS me@here";

    #[test]
    fn keys_are_taken_with_and_without_a_comment() {
        for good in [KEY, KEY.rsplit_once(' ').expect("has a comment").0, &format!("{KEY} and more")] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_number() {
        for (bad, why) in [
            ("", "form"),
            ("ssh-ed25519", "form"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
            (&format!("command=\"x\" {KEY}"), "type"),
            (&KEY.replace("ssh-ed25519", "ssh-dss"), "type"),
            (&KEY.replace("ssh-ed25519", "ssh-rsa"), "another"),
            (&KEY[..43], "base64"),
            (&KEY[..40], "not complete"),
            (&KEY[..28], "not complete"),
            (&format!("{KEY}\nssh-rsa"), "line break"),
            (&format!("{KEY}\r"), "line break"),
            (&KEY.replace(' ', "  "), "not complete"),
        ] {
            let error = check_all(&[KEY.to_owned(), bad.to_owned()]).expect_err(bad).to_string();
            assert!(error.starts_with("ssh key 2 ") && error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn there_is_a_limit_to_their_number_and_size() {
        assert_eq!(check_all(&vec![KEY.to_owned(); MOST_KEYS]), Ok(()));
        assert_eq!(check_all(&vec![KEY.to_owned(); MOST_KEYS + 1]), Err(InvalidKey::Many(33)));
        let long = format!("{KEY} {}", "x".repeat(MOST_BYTES));
        assert!(matches!(check_all(&[long]), Err(InvalidKey::Large(_))));
    }
}
