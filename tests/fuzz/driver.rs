//! Makes inputs and tries them.
//!
//! It begins with known ones (`seeds`, and the files of `tests/fuzz/corpus/<target>`, among them whatever has
//! failed before), changes them in ways that keep them almost right, and keeps those that reach new code,
//! where the build can tell.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use slipstream_tests::{Random, repository, seconds_from_environment, seed_from_environment};

use crate::{coverage::Coverage, memory::measured};

/// The longest input.
const LONGEST: usize = 64 * 1024;

/// The longest time for one input: a hundred times what the worst took on a slow machine in a slow build.
const SLOWEST: Duration = Duration::from_secs(5);

/// The most inputs that are kept.
const KEPT: usize = 4000;

/// Something that reads what strangers write.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Inputs to begin with.
    pub(crate) seeds: &'static [&'static str],
    /// Pieces that mean something.
    pub(crate) words: &'static [&'static str],
    /// Reads an input; panics when a promise does not hold.
    pub(crate) read: fn(&[u8]),
    /// Bytes of memory allowed for each byte of input, beside a mebibyte.
    pub(crate) memory: usize,
}

/// Tries inputs for as long as the environment says.
///
/// # Panics
/// One has failed; it is kept in a file that is named.
pub(crate) fn fuzz(target: &Target) {
    let mut random = Random::new(seed_from_environment(target.name));
    let until = Instant::now() + seconds_from_environment(2);
    let mut coverage = Coverage::default();
    let mut corpus: Vec<Vec<u8>> = target.seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    corpus.extend(files(&kept(target)).into_iter().chain(files(&grown(target))).filter_map(|file| fs::read(file).ok()));
    for input in &corpus {
        attempt(target, input);
        coverage.take();
    }
    let (mut tried, mut added) = (corpus.len(), 0);
    while Instant::now() < until {
        let input = change(&mut random, &corpus, target.words);
        attempt(target, &input);
        tried += 1;
        if coverage.take() && corpus.len() < KEPT {
            save(&grown(target), &input);
            corpus.push(input);
            added += 1;
        }
    }
    let guided = if Coverage::is_there() { "guided" } else { "blind" };
    let reached = coverage.reached();
    println!("{}: {tried} inputs, {guided}, {added} new ones kept, {reached} places reached", target.name);
    assert!(tried > 20, "too slow to find anything: {tried} inputs");
}

fn attempt(target: &Target, input: &[u8]) {
    let began = Instant::now();
    let (result, memory) = measured(|| catch_unwind(AssertUnwindSafe(|| (target.read)(input))));
    let took = began.elapsed();
    let limit = 1024 * 1024 + target.memory * input.len();
    let wrong = match result {
        Err(_) => "a promise does not hold, see above".to_owned(),
        Ok(()) if took > SLOWEST => format!("it took {took:?}"),
        Ok(()) if memory > limit => format!("it took {memory} bytes of memory, {limit} are allowed"),
        Ok(()) => return,
    };
    let file = save(&kept(target), input);
    let start = String::from_utf8_lossy(&input[..input.len().min(300)]).into_owned();
    panic!("{}: {wrong}; the input of {} bytes is in {}: {start:?}", target.name, input.len(), file.display());
}

/// Where inputs are kept for ever: what has failed once is tried each time.
fn kept(target: &Target) -> PathBuf {
    repository().join("tests/fuzz/corpus").join(target.name)
}

/// Where those are that reach more than others.
fn grown(target: &Target) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    test.ancestors().nth(3).expect("tests are in target/<profile>/deps").join("fuzz-corpus").join(target.name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

fn save(folder: &Path, input: &[u8]) -> PathBuf {
    fs::create_dir_all(folder).expect("a folder for inputs");
    let name = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let file = folder.join(format!("{name:016x}"));
    fs::write(&file, input).expect("the input is kept");
    file
}

/// A known input, changed in a few places.
fn change(random: &mut Random, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut input = random.one(corpus).clone();
    for _ in 0..random.between(1, 6) {
        let at = place(random, input.len());
        let end = (at + place(random, 12)).min(input.len());
        match random.below(9) {
            0 => drop(input.splice(at..end, [])),
            1 => drop(input.splice(at..at, random.one(words).bytes())),
            2 => drop(input.splice(at..end, random.one(words).bytes())),
            3 => {
                let byte = u8::try_from(random.below(256)).unwrap_or(0);
                input.insert(at, byte);
            }
            4 if at < input.len() => input[at] ^= 1 << random.below(8),
            5 => {
                let piece = input[at..end].to_vec();
                let times = usize::try_from(1 << random.below(10)).unwrap_or(1);
                input.splice(at..at, piece.repeat(times));
            }
            6 => {
                let other = random.one(corpus);
                let (from, to) = (place(random, other.len()), place(random, other.len()));
                input.splice(at..end, other[from.min(to)..from.max(to)].iter().copied());
            }
            7 => drop(input.splice(at..end, random.one(NUMBERS).bytes())),
            _ => drop(input.splice(at..end, random.one(TEXTS).bytes())),
        }
        input.truncate(LONGEST);
    }
    input
}

fn place(random: &mut Random, length: usize) -> usize {
    usize::try_from(random.below(length as u64 + 1)).unwrap_or(0)
}

/// Numbers at which things go wrong.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "00",
    "127",
    "255",
    "256",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e999",
    "-0",
    "0.5",
    "NaN",
];

/// Texts at which things go wrong.
const TEXTS: &[&str] = &[
    "",
    " ",
    "\0",
    "\n",
    "\r\n",
    "\t",
    "\u{feff}",
    "\u{e9}",
    "\u{1f600}",
    "\u{2028}",
    "\u{7f}",
    "\\",
    "\"",
    "'",
    "%s",
];
