//! How commands end, and the one table of exit codes.
//!
//! `slipstream-agent` has its own codes; the names of SlipStream's commands (`ss-get`, ...) keep the
//! original's, on which recipes depend.

use slipstream_shared::link::RefusedCode;

/// Whose codes are used: decided by the name the program was called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// `slipstream-agent`.
    Agent,
    /// `ss-get` and its kin.
    Original,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// As asked.
    Ok,
    /// Something local went wrong, such as a full disk.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// There is no value.
    NotSet,
    /// There was no value in time.
    Timeout,
    /// The run is aborted.
    Aborted,
    /// No agent, or no coordinator, to ask.
    Unreachable,
    /// Asked for something the coordinator can not do at the moment.
    Unavailable,
    /// An unknown key, a value that does not fit, or something this machine may not do.
    Refused,
    /// Somebody else has written it meanwhile.
    Changed,
    /// The run has ended.
    Gone,
}

/// End, code of `slipstream-agent`, code of the `ss-` names.
pub const TABLE: [(End, u8, u8); 11] = [
    (End::Ok, 0, 0),
    (End::Failed, 1, 1),
    (End::Usage, 2, 2),
    (End::NotSet, 3, 1),
    (End::Timeout, 4, 9),
    (End::Aborted, 5, 8),
    (End::Unreachable, 6, 4),
    (End::Unavailable, 6, 5),
    (End::Refused, 7, 7),
    (End::Gone, 8, 7),
    (End::Changed, 9, 7),
];

impl End {
    /// The exit code for this end.
    #[must_use]
    pub fn code(self, face: Face) -> u8 {
        let row = TABLE.iter().find(|row| row.0 == self).expect("every end has a row, see the test");
        match face {
            Face::Agent => row.1,
            Face::Original => row.2,
        }
    }
}

impl From<RefusedCode> for End {
    fn from(code: RefusedCode) -> End {
        match code {
            RefusedCode::UnknownKey | RefusedCode::Invalid | RefusedCode::Denied => End::Refused,
            RefusedCode::Changed => End::Changed,
            RefusedCode::Aborted => End::Aborted,
            RefusedCode::Gone => End::Gone,
            RefusedCode::Unavailable => End::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes of one table of the glossary.
    fn documented(heading: &str) -> Vec<u8> {
        let glossary = include_str!("../../docs/glossary.md");
        let section = glossary.split(&format!("\n### {heading}\n")).nth(1).and_then(|s| s.split("\n###").next());
        let rows = section.expect("the glossary has this section").lines();
        rows.filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect()
    }

    #[test]
    fn the_glossary_has_these_tables() {
        for (heading, face) in
            [("`slipstream-agent`", Face::Agent), ("`ss-get`, `ss-set` and the other `ss-` names", Face::Original)]
        {
            let mut codes: Vec<u8> = TABLE.iter().map(|(end, ..)| end.code(face)).collect();
            codes.sort_unstable();
            codes.dedup();
            assert_eq!(documented(heading), codes, "{heading}");
        }
    }

    #[test]
    fn the_codes_are_those_of_the_documents() {
        let agent = |end: End| end.code(Face::Agent);
        assert_eq!([End::Ok, End::Usage, End::NotSet, End::Timeout].map(agent), [0, 2, 3, 4]);
        assert_eq!([End::Aborted, End::Unreachable, End::Refused, End::Gone].map(agent), [5, 6, 7, 8]);
        let original = |end: End| end.code(Face::Original);
        assert_eq!([End::Ok, End::NotSet, End::Usage].map(original), [0, 1, 2]);
        assert_eq!([End::Unreachable, End::Unavailable, End::Refused].map(original), [4, 5, 7]);
        assert_eq!([End::Aborted, End::Timeout, End::Gone, End::Failed].map(original), [8, 9, 7, 1]);
    }
}
