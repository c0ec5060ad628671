//! Which requests may be made again when the daemon went away before it has answered.

use std::time::Duration;

use super::Request;

/// Whether a request may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// No: it would be made twice.
    Never,
    /// Yes, but nobody expects it to take long.
    Soon,
    /// Yes, until its deadline.
    Always,
}

impl Request {
    /// Whether it may be made again.
    #[must_use]
    pub fn again(&self) -> Again {
        match self {
            Request::Get { wait: true, .. }
            | Request::Lead { wait: true, .. }
            | Request::Status { wait: true }
            | Request::Wait { .. }
            | Request::Barrier { .. } => Again::Always,
            Request::Get { .. }
            | Request::Lead { .. }
            | Request::Status { .. }
            | Request::Set { request: Some(_), .. } => Again::Soon,
            Request::Set { .. } | Request::Resign { .. } | Request::Abort { .. } | Request::CancelAbort => Again::Never,
        }
    }

    /// For how many seconds it waits, where that is limited.
    #[must_use]
    pub fn timeout(&self) -> Option<u64> {
        match self {
            Request::Get { wait: true, timeout, .. }
            | Request::Wait { timeout, .. }
            | Request::Barrier { timeout, .. }
            | Request::Lead { wait: true, timeout, .. } => *timeout,
            _ => None,
        }
    }

    /// Waits no longer than `left` from now.
    pub fn shorten(&mut self, left: Duration) {
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        match self {
            Request::Get { timeout, .. }
            | Request::Wait { timeout, .. }
            | Request::Barrier { timeout, .. }
            | Request::Lead { timeout, .. } => *timeout = timeout.map(|old| old.min(seconds)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_asked_again_and_what_would_be_made_twice_is_not() {
        let set =
            |request| Request::Set { key: "x".into(), value: None, if_revision: None, request, ignore_abort: false };
        assert_eq!(set(None).again(), Again::Never);
        assert_eq!(set(Some("id".into())).again(), Again::Soon);
        assert_eq!(Request::CancelAbort.again(), Again::Never);
        let mut wait = Request::Wait { conditions: vec![], timeout: Some(7), ignore_abort: false };
        assert_eq!(wait.again(), Again::Always);
        wait.shorten(Duration::from_millis(2100));
        assert_eq!(wait.timeout(), Some(3));
        wait.shorten(Duration::from_secs(9));
        assert_eq!(wait.timeout(), Some(3), "never longer");
    }
}
