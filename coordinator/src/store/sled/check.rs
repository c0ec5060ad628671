//! Whether a store that sled has opened is all that was acknowledged, and what is missing if it is not.
//!
//! sled opens what is left of a damaged file without a word. So at each opening all entries are read: their
//! checksums say whether each is as it was written, the sum of them ([`Total`]) whether all are there, the mark
//! ([`super::mark`]) whether the last groups are.

use std::{collections::BTreeMap, fmt::Write as _, io};

use sled::Tree;
use slipstream_shared::id::RunId;

use super::{
    entry::{self, Found, Total},
    files::guard,
    mark::Mark,
};
use crate::store::{Take, layout};

/// How many things a message names.
const NAMED: usize = 8;

/// Where salvage tries to read on behind a place that cannot be read.
const PREFIXES: [&[u8]; 6] = [b"idem/", b"module/", b"modules/", layout::RUNS, layout::SUMMARIES, layout::TOKENS];

/// What a look at all entries has found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Entries that are not as they were written. Each shows when it is read, the others can be used.
    pub(super) damaged: Vec<Vec<u8>>,
    /// Why the store is not what it was. None: it is.
    pub(super) broken: Option<String>,
}

/// Reads all entries. Blocks.
///
/// # Errors
/// Not even the total can be read.
pub(super) fn look(tree: &Tree, mark: Mark) -> io::Result<Findings> {
    let expected = guard(|| entry::total(tree))?;
    let mut seen = Seen::default();
    let holes = read_all(tree, &[b""], &mut |found| {
        seen.see(&found);
        Ok(())
    })?;
    let mut reasons = Vec::new();
    for hole in &holes {
        reasons.push(format!("its file `db` cannot be read {hole}"));
    }
    if let Mark::Group(mark) = mark
        && mark > expected.group
    {
        let lost = mark - expected.group;
        reasons.push(format!(
            "its file `db` ends after commit {}, and commit {mark} was acknowledged: the last {lost} are lost",
            expected.group
        ));
    }
    seen.total.group = expected.group;
    if holes.is_empty() && seen.total != expected {
        reasons.push(difference(expected.entries, seen.total.entries));
    }
    if !reasons.is_empty() {
        let gaps = seen.gaps();
        if !gaps.is_empty() {
            reasons.push(format!("missing are {}", list(gaps.into_iter())));
        }
        let damaged = seen.damaged.iter().map(|key| layout::describe(key));
        if damaged.len() > 0 {
            reasons.push(format!("not as they were written are {}", list(damaged)));
        }
    }
    let broken = (!reasons.is_empty()).then(|| reasons.join("; "));
    Ok(Findings { damaged: seen.damaged, broken })
}

/// Gives all entries that can be read, some of them twice, and says what cannot be.
///
/// # Errors
/// Whoever takes them cannot go on.
pub(super) fn salvage(tree: &Tree, take: &mut Take<'_>) -> io::Result<Vec<String>> {
    let mut runs = std::collections::BTreeSet::new();
    let mut damaged = Vec::new();
    let mut each = |found: Found| {
        runs.extend(layout::parse_summary(&found.key).or_else(|| layout::key_of_run(&found.key)));
        match &found.value {
            Some(value) => take(&found.key, value)?,
            None => damaged.push(layout::describe(&found.key)),
        }
        Ok(())
    };
    let mut holes = read_all(tree, &[b""], &mut each)?;
    if !holes.is_empty() {
        holes = read_all(tree, &PREFIXES, &mut each)?;
        let runs: Vec<Vec<u8>> = runs.into_iter().map(layout::run).collect();
        let runs: Vec<&[u8]> = runs.iter().map(Vec::as_slice).collect();
        let mut again = |found: Found| found.value.map_or(Ok(()), |value| take(&found.key, &value));
        holes.extend(read_all(tree, &runs, &mut again)?);
    }
    damaged.extend(holes);
    Ok(damaged)
}

/// Reads what is below some prefixes, from both ends where the middle cannot be read. Says where that is.
fn read_all(tree: &Tree, prefixes: &[&[u8]], each: &mut dyn FnMut(Found) -> io::Result<()>) -> io::Result<Vec<String>> {
    let mut holes = Vec::new();
    for prefix in prefixes {
        let mut last: Option<Vec<u8>> = None;
        let Err(reason) = read(entry::all(tree, prefix, None), &mut |found| {
            last = Some(found.key.clone());
            each(found)
        })?
        else {
            continue;
        };
        let mut first: Option<Vec<u8>> = None;
        // From the end down to the place, which is no news then.
        let _ = read(entry::all(tree, prefix, last.as_deref()).rev(), &mut |found| {
            first = Some(found.key.clone());
            each(found)
        })?;
        let name = |key: Option<Vec<u8>>, none: &str| key.map_or_else(|| none.to_owned(), |key| layout::describe(&key));
        let (from, to) = (name(last, "its beginning"), name(first, "its end"));
        holes.push(format!("between {from} and {to} ({reason})"));
    }
    Ok(holes)
}

/// Reads until the end, or until it cannot be read.
fn read(
    mut entries: impl Iterator<Item = sled::Result<Found>>,
    each: &mut dyn FnMut(Found) -> io::Result<()>,
) -> io::Result<Result<(), io::Error>> {
    loop {
        match guard(|| entries.next().transpose()) {
            Ok(None) => return Ok(Ok(())),
            Ok(Some(found)) => each(found)?,
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// What all entries come to, and what one can see to be missing.
#[derive(Default)]
struct Seen {
    total: Total,
    damaged: Vec<Vec<u8>>,
    /// Events of each run: the number behind the last one, and those that are missing.
    events: BTreeMap<RunId, (u64, Vec<(u64, u64)>)>,
    summaries: Vec<RunId>,
}

impl Seen {
    fn see(&mut self, found: &Found) {
        if let Some(sum) = found.sum {
            self.total.add(sum);
        }
        if found.value.is_none() {
            self.damaged.push(found.key.clone());
        }
        if let Some((run, seq)) = layout::parse_event(&found.key) {
            let (next, missing) = self.events.entry(run).or_insert((1, Vec::new()));
            if seq > *next {
                missing.push((*next, seq - 1));
            }
            *next = (*next).max(seq.saturating_add(1));
        }
        self.summaries.extend(layout::parse_summary(&found.key));
    }

    fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for (run, (_, missing)) in &self.events {
            for (from, to) in missing {
                let many = if from == to { format!("event {from}") } else { format!("events {from} to {to}") };
                gaps.push(format!("{many} of run {run}"));
            }
        }
        let gone = self.summaries.iter().filter(|run| !self.events.contains_key(run));
        gaps.extend(gone.map(|run| format!("all events of run {run}")));
        gaps
    }
}

fn difference(expected: u64, found: u64) -> String {
    match expected.checked_sub(found) {
        Some(0) => "some of its entries are older than the last commit: what was written to them since is lost".into(),
        Some(lost) => format!("{lost} of its {expected} entries are lost"),
        None => format!("it has {found} entries and should have {expected}: some that were deleted are back"),
    }
}

fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    let more = items.len().saturating_sub(NAMED);
    let mut text = items.take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}
