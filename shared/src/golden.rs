//! Files that are made from the program and kept beside it, so that a change of them is seen.

/// Asserts that a file holds `now`; with `SLIPSTREAM_GOLDEN=write`, writes it first.
///
/// # Panics
/// The file differs.
pub(crate) fn check(path: &str, now: &str) {
    if std::env::var("SLIPSTREAM_GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::write(path, now).expect("writable");
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        golden == now,
        "{path} is not as it is made now; if that is intended, run this with SLIPSTREAM_GOLDEN=write"
    );
}
