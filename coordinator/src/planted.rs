//! Bugs on demand, by which the tests that look for such bugs show that they find them.
//!
//! Only a build with the feature `planted-bugs` has them, one of them if the variable [`VARIABLE`] names it.
//! Nothing turns the feature on but `make linearize-broken` and `make simulate-broken`, and an optimized
//! program cannot be built with it.

/// Names the bug.
pub const VARIABLE: &str = "SLIPSTREAM_PLANTED_BUG";

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!("the feature `planted-bugs` is for tests, never for a program that is used");

/// One thing done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Answers are given before what they tell of is durable, which it is a little later.
    AnswerFirst,
    /// A request that is sent again is made again.
    ApplyTwice,
    /// A comparison of revisions always succeeds.
    BlindCompare,
    /// Of several who wait for the same, one is forgotten.
    LostWakeUp,
    /// Reports are awaited for ever.
    NoReportDeadline,
    /// A launch is not on record before the cloud is asked for it.
    LaunchFirst,
    /// The lead of a program is given to whoever asks next, although its time is not over.
    LeadTakenOver,
    /// The end of a run forgets the instances that were added while it was up.
    ForgottenAdded,
}

impl Bug {
    /// All of them, by name.
    pub const ALL: &[(&str, Bug)] = &[
        ("answer-first", Bug::AnswerFirst),
        ("apply-twice", Bug::ApplyTwice),
        ("blind-compare", Bug::BlindCompare),
        ("lost-wake-up", Bug::LostWakeUp),
        ("no-report-deadline", Bug::NoReportDeadline),
        ("launch-first", Bug::LaunchFirst),
        ("lead-taken-over", Bug::LeadTakenOver),
        ("forgotten-added", Bug::ForgottenAdded),
    ];

    /// Whether this program has it.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn is_planted(self) -> bool {
        static PLANTED: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
        let planted = PLANTED.get_or_init(|| {
            let name = std::env::var(VARIABLE).ok()?;
            tracing::warn!(name, "this coordinator has a planted bug");
            let found = Bug::ALL.iter().find(|(known, _)| *known == name);
            Some(found.unwrap_or_else(|| panic!("{VARIABLE}: there is no bug `{name}`")).1)
        });
        *planted == Some(self)
    }

    /// Whether this program has it: no.
    #[cfg(not(feature = "planted-bugs"))]
    #[must_use]
    pub const fn is_planted(self) -> bool {
        false
    }
}
