//! Keeps secrets that scripts were given out of what they print.
//!
//! The agent knows a secret once a script of this machine has read or set it; from then on its value is
//! replaced in all output, before that is written to a log or sent: as it is, and in base64, hexadecimal,
//! percent and JSON form. What is shorter than [`SHORTEST`] is left alone, or common words would vanish.
//! In memory only: an agent that has restarted knows no secrets before they are read again.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, MutexGuard},
};

use base64::{Engine as _, engine::general_purpose};
use slipstream_shared::parameter::MASK;

/// The shortest value that is replaced, in bytes.
const SHORTEST: usize = 8;

/// The most forms that are looked for; those learnt later are not.
const MOST: usize = 1000;

/// The secrets that scripts of this machine know.
#[derive(Default)]
pub struct Scrub(Mutex<Vec<Vec<u8>>>);

impl fmt::Debug for Scrub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrub({} forms)", self.forms().len())
    }
}

impl Scrub {
    fn forms(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().expect("nothing panics while holding it")
    }

    /// A script knows this secret now.
    pub fn learn(&self, value: &str) {
        if value.len() < SHORTEST {
            return;
        }
        let mut forms = self.forms();
        for form in forms_of(value) {
            if forms.len() < MOST && !forms.contains(&form) {
                forms.push(form);
            }
        }
        // Of two that begin alike the longer one is meant.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    /// A whole text without secrets.
    #[must_use]
    pub fn clean_all(&self, text: &[u8]) -> String {
        let (mut clean, held) = self.clean(text);
        clean.extend(held);
        String::from_utf8_lossy(&clean).into_owned()
    }

    /// The text without secrets, and its end that may be the beginning of one: to be put before what follows.
    #[must_use]
    pub fn clean(&self, text: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let forms = self.forms();
        if forms.is_empty() {
            return (text.to_vec(), Vec::new());
        }
        let mut clean = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.first() {
            if let Some(form) = forms.iter().find(|form| rest.starts_with(form)) {
                clean.extend_from_slice(MASK.as_bytes());
                rest = &rest[form.len()..];
            } else if forms.iter().any(|form| form.starts_with(rest)) {
                break;
            } else {
                clean.push(*first);
                rest = &rest[1..];
            }
        }
        (clean, rest.to_vec())
    }
}

fn forms_of(value: &str) -> BTreeSet<Vec<u8>> {
    let bytes = value.as_bytes();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let percent: String = bytes
        .iter()
        .map(|b| match b {
            b'-' | b'.' | b'_' | b'~' => char::from(*b).to_string(),
            b if b.is_ascii_alphanumeric() => char::from(*b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect();
    let json = serde_json::to_string(value).unwrap_or_default();
    [
        value.to_owned(),
        hex.to_uppercase(),
        hex,
        percent,
        json.trim_matches('"').to_owned(),
        general_purpose::STANDARD_NO_PAD.encode(bytes),
        general_purpose::URL_SAFE_NO_PAD.encode(bytes),
        // With the line break that `echo` adds.
        general_purpose::STANDARD_NO_PAD.encode(format!("{value}\n")),
    ]
    .map(String::into_bytes)
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a text that comes in pieces of this size.
    fn scrubbed(scrub: &Scrub, text: &[u8], size: usize) -> String {
        let (mut all, mut held) = (Vec::new(), Vec::new());
        for piece in text.chunks(size) {
            let (clean, rest) = scrub.clean(&[held.as_slice(), piece].concat());
            all.extend(clean);
            held = rest;
        }
        all.extend(held);
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn secrets_vanish_in_every_form_wherever_the_output_is_cut() {
        let scrub = Scrub::default();
        let value = "p\u{e4}ss \"w/rd\"";
        scrub.learn(value);
        let forms: Vec<String> = forms_of(value).into_iter().map(|form| String::from_utf8(form).unwrap()).collect();
        assert!(forms.len() >= 6, "{forms:?}");
        for form in forms {
            let text = format!("before {form}{form} p\u{e4}ss after");
            for size in 1..text.len() {
                let left = scrubbed(&scrub, text.as_bytes(), size);
                assert!(left.starts_with("before ***") && left.ends_with(" p\u{e4}ss after"), "{form} {size}: {left}");
                assert!(!left.contains(&form), "{left}");
            }
        }
        assert!(!format!("{scrub:?}").contains("w/rd"));
    }

    #[test]
    fn short_values_and_unknown_ones_are_left_alone() {
        let scrub = Scrub::default();
        scrub.learn("short");
        assert_eq!(scrubbed(&scrub, b"a short text", 3), "a short text");
    }
}
