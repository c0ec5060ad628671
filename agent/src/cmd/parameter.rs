//! The commands about parameters, for both faces of the program.

use std::{
    io::{self, Read as _},
    time::Duration,
};

use ring::rand::{SecureRandom as _, SystemRandom};
use slipstream_shared::parameter::MAX_VALUE;

use super::{complain, end_of, print};
use crate::{
    exit::End,
    socket::{
        Answer, Request,
        client::{self, Pending},
    },
};

/// A value that is not there after this time is announced as waited for.
const AT_ONCE: Duration = Duration::from_millis(200);

/// A read of a parameter.
pub(super) struct Get {
    pub(super) timeout: Option<u64>,
    pub(super) noblock: bool,
    pub(super) ignore_abort: bool,
    pub(super) stale_ok: bool,
    pub(super) key: String,
}

impl Get {
    /// Asks without waiting for the answer, so that several can be asked at once.
    pub(super) fn ask(&self) -> io::Result<Pending> {
        client::ask(&Request::Get {
            key: self.key.clone(),
            wait: !self.noblock,
            stale_ok: self.stale_ok,
            timeout: self.timeout,
            ignore_abort: self.ignore_abort,
        })
    }

    /// The value; `None` if it is not set and need not be. An error has been shown already.
    pub(super) fn run(&self) -> Result<Option<String>, End> {
        let answer = self.ask().and_then(|mut pending| patiently(&mut pending, &self.key));
        value_of(answer.unwrap_or_else(|e| client::unreachable(&e)))
    }
}

/// Waits for an answer, and says so if it does not come at once.
pub(super) fn patiently(pending: &mut Pending, key: &str) -> io::Result<Answer> {
    if let Some(answer) = pending.answer(Some(AT_ONCE))? {
        return Ok(answer);
    }
    eprintln!("Waiting for {key}");
    loop {
        if let Some(answer) = pending.answer(None)? {
            return Ok(answer);
        }
    }
}

/// The value an answer holds. An error has been shown already.
pub(super) fn value_of(answer: Answer) -> Result<Option<String>, End> {
    match answer {
        Answer::Value { value, stale, .. } => {
            if stale {
                eprintln!("the coordinator is away: this is the value seen last");
            }
            Ok(value)
        }
        Answer::Failed { end, message } => Err(complain(end, &message)),
        Answer::Done { .. } | Answer::Lead { .. } | Answer::Status(_) => {
            Err(complain(End::Failed, "the agent answered something else"))
        }
    }
}

/// Prints the revision of a parameter.
pub(super) fn revision(key: String, ignore_abort: bool) -> End {
    let get = Request::Get { key, wait: false, stale_ok: false, timeout: None, ignore_abort };
    match client::call(&get) {
        Answer::Value { revision, .. } => print(&revision.to_string()),
        answer => end_of(answer),
    }
}

pub(super) fn set(key: String, value: Option<String>, ignore_abort: bool) -> End {
    set_if(key, value, None, ignore_abort)
}

pub(super) fn set_if(key: String, value: Option<String>, if_revision: Option<u64>, ignore_abort: bool) -> End {
    end_of(client::call(&Request::Set { key, value, if_revision, request: random_text(16), ignore_abort }))
}

/// The whole of standard input. An error has been shown already.
pub(super) fn from_stdin() -> Result<String, End> {
    let mut bytes = Vec::new();
    if let Err(e) = io::stdin().take(MAX_VALUE as u64 + 1).read_to_end(&mut bytes) {
        return Err(complain(End::Failed, &format!("cannot read the value from standard input: {e}")));
    }
    if bytes.len() > MAX_VALUE {
        let message = format!("the value on standard input has more than {MAX_VALUE} bytes; nothing was set");
        return Err(complain(End::Refused, &message));
    }
    String::from_utf8(bytes)
        .map_err(|_| complain(End::Usage, "the value on standard input is no UTF-8; nothing was set"))
}

pub(super) fn abort(reason: Option<String>) -> End {
    let reason = reason.unwrap_or_else(|| "(unspecified)".to_owned());
    end_of(client::call(&Request::Abort { reason }))
}

pub(super) fn cancel_abort() -> End {
    end_of(client::call(&Request::CancelAbort))
}

pub(super) fn wait(timeout: Option<u64>, ignore_abort: bool, conditions: Vec<String>) -> End {
    end_of(client::call(&Request::Wait { conditions, timeout, ignore_abort }))
}

pub(super) fn random(size: usize, key: Option<String>) -> End {
    let Some(text) = random_text(size) else {
        return complain(End::Failed, "the system has no randomness");
    };
    let end = match key {
        Some(key) => set(key, Some(text.clone()), false),
        None => End::Ok,
    };
    if end == End::Ok { print(&text) } else { end }
}

/// Letters and digits, each as likely as any other.
fn random_text(size: usize) -> Option<String> {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(size);
    let mut bytes = [0; 64];
    while text.len() < size {
        SystemRandom::new().fill(&mut bytes).ok()?;
        // 248 is the largest multiple of 62 in a byte; the rest would favour the first letters.
        let letters = bytes.iter().filter(|b| **b < 248).map(|b| char::from(ALPHABET[usize::from(*b) % 62]));
        text.extend(letters.take(size - text.len()));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_texts_have_the_size_asked_for_and_differ() {
        for size in [0, 1, 12, 500] {
            let text = random_text(size).unwrap();
            assert_eq!(text.len(), size);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()));
        }
        assert_ne!(random_text(12), random_text(12));
    }
}
