//! Choices that follow from a seed, so that what a test did can be done again.

/// A repeatable source of choices (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed makes the same choices.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A source of its own for a part of the test, so that what one part does changes nothing for the others.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Random(self.number())
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number().checked_rem(bound).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of several.
    ///
    /// # Panics
    /// There are none.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = self.below(of.len() as u64);
        of.get(usize::try_from(at).unwrap_or(0)).expect("there is something to choose from")
    }
}

/// The seed of a test: the variable `SEED` if it is set, else one from the clock. It is printed, so that a
/// failure can be repeated.
///
/// # Panics
/// `SEED` is not a number.
#[must_use]
pub fn seed_from_environment(test: &str) -> u64 {
    let seed = match std::env::var("SEED") {
        Ok(text) => text.parse().expect("SEED is a whole number"),
        Err(_) => {
            let now = jiff::Timestamp::now().as_microsecond();
            u64::try_from(now).unwrap_or(0) % 1_000_000_007
        }
    };
    println!("{test}: SEED={seed}");
    seed
}

/// For how long a test that can go on for ever does: the variable `SECONDS_TO_RUN` if it is set.
///
/// # Panics
/// It is not a number.
#[must_use]
pub fn seconds_from_environment(default: u64) -> std::time::Duration {
    let seconds = match std::env::var("SECONDS_TO_RUN") {
        Ok(text) => text.parse().expect("SECONDS_TO_RUN is a whole number"),
        Err(_) => default,
    };
    std::time::Duration::from_secs(seconds)
}
