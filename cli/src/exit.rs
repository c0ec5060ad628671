//! Exit codes. `docs/glossary.md` has the same table; a test compares them.

use std::process::ExitCode;

use slipstream_shared::{api::Problem, client::ClientError};

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// The run was aborted, or ended before it was Ready.
    RunFailed = 1,
    /// The arguments, a file or the profile are wrong; nothing was changed.
    Usage = 2,
    /// No such thing, or not for you.
    NotFound = 3,
    /// The token is not accepted, or does not allow it.
    Denied = 4,
    /// The thing is not in a state for that.
    Conflict = 5,
    /// More than you may have.
    Quota = 6,
    /// A cloud refused or does not work.
    Cloud = 7,
    /// Not yet; what was waited for is still going.
    TimeOut = 8,
    /// The coordinator cannot be reached, or its answers make no sense.
    Unreachable = 9,
    /// Ctrl-C; the run goes on.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error found on this side.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the command ends for it.
    pub(crate) exit: Exit,
    /// What failed, on what, why, and what to do.
    pub(crate) message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An error of this kind.
pub(crate) fn fail(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Failure { exit, message: message.into() })
}

/// How a command ends that met this error.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.exit;
        }
        if let Some(client) = cause.downcast_ref::<ClientError>() {
            return of_client(client);
        }
    }
    Exit::Usage
}

fn of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::Setup { .. } => Exit::Usage,
        ClientError::Http(_) => Exit::Unreachable,
        ClientError::Answer { status: 401 | 403, .. } => Exit::Denied,
        ClientError::Answer { .. } => Exit::Unreachable,
        ClientError::Problem(problem) => of_problem(problem),
    }
}

/// The code says more than the status, where it is one of the known words.
fn of_problem(problem: &Problem) -> Exit {
    match (problem.code.as_str(), problem.status) {
        ("wait_timeout", _) => Exit::TimeOut,
        (code, _) if code.contains("quota") => Exit::Quota,
        (code, _) if code.starts_with("cloud_") && problem.status >= 500 => Exit::Cloud,
        (_, 401 | 403) => Exit::Denied,
        (_, 404 | 410) => Exit::NotFound,
        (_, 409 | 412) => Exit::Conflict,
        (_, 408) => Exit::TimeOut,
        (_, 429) => Exit::Quota,
        (_, 502) => Exit::Cloud,
        (_, 400..500) => Exit::Usage,
        _ => Exit::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Exit; 11] = [
        Exit::Done,
        Exit::RunFailed,
        Exit::Usage,
        Exit::NotFound,
        Exit::Denied,
        Exit::Conflict,
        Exit::Quota,
        Exit::Cloud,
        Exit::TimeOut,
        Exit::Unreachable,
        Exit::Interrupted,
    ];

    #[test]
    fn the_glossary_has_this_table() {
        let glossary = include_str!("../../docs/glossary.md");
        let section = glossary.split("### `slipstream`\n").nth(1).and_then(|s| s.split("\n###").next());
        let codes: Vec<u8> = section
            .expect("the glossary has a section for `slipstream`")
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
            .collect();
        assert_eq!(codes, ALL.map(|exit| exit as u8));
    }

    #[test]
    fn problems_end_as_their_code_and_status_say() {
        let exit = |status, code: &str| {
            let problem = Problem {
                kind: "about:blank".into(),
                title: String::new(),
                status,
                code: code.into(),
                detail: "no".into(),
                revision: None,
                problems: vec![],
            };
            of(&anyhow::Error::new(ClientError::Problem(Box::new(problem))).context("while launching"))
        };
        for (status, code, expected) in [
            (404, "run_not_found", Exit::NotFound),
            (401, "token", Exit::Denied),
            (403, "forbidden", Exit::Denied),
            (409, "run_is_over", Exit::Conflict),
            (403, "quota_exceeded", Exit::Quota),
            (429, "slow_down", Exit::Quota),
            (502, "cloud_refused", Exit::Cloud),
            (404, "cloud_not_found", Exit::NotFound),
            (422, "module_invalid", Exit::Usage),
            (408, "wait_timeout", Exit::TimeOut),
            (503, "stopping", Exit::Unreachable),
        ] {
            assert_eq!(exit(status, code), expected, "{status} {code}");
        }
        assert_eq!(of(&anyhow::anyhow!("some file")), Exit::Usage);
    }
}
