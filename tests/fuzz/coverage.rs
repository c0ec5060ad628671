//! Which code an input reaches, where the program was built so that it counts that (`make fuzz`).
//!
//! LLVM's inline counters: each piece of straight code has a byte, increased when it runs; the compiler
//! makes each library announce its bytes through the function below when the program starts. A build
//! without them announces nothing, and inputs are then tried blindly.

use std::sync::Mutex;

/// Where the counters are: address and length.
static REGIONS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

#[expect(unsafe_code, reason = "the compiler looks for this name")]
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    let region = (start as usize, end as usize - start as usize);
    let mut regions = REGIONS.lock().expect("nobody panics with it");
    if !regions.contains(&region) {
        regions.push(region);
    }
}

/// What has been reached so far.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// For each counter, which magnitudes it has had.
    seen: Vec<u8>,
}

impl Coverage {
    /// Whether inputs can be judged at all.
    pub(crate) fn is_there() -> bool {
        !REGIONS.lock().expect("nobody panics with it").is_empty()
    }

    /// Takes the counters, sets them back, and says whether anything was reached for the first time, or
    /// more often than ever.
    pub(crate) fn take(&mut self) -> bool {
        let mut news = false;
        let mut at = 0;
        for (start, length) in REGIONS.lock().expect("nobody panics with it").iter() {
            self.seen.resize(self.seen.len().max(at + length), 0);
            // SAFETY: the compiler's bytes, there as long as the program. Other threads may count meanwhile:
            // this is a hint, and the test runs one thread when it matters.
            #[expect(unsafe_code, reason = "the counters are the compiler's")]
            let counters = unsafe { std::slice::from_raw_parts_mut(*start as *mut u8, *length) };
            for counter in counters {
                if *counter != 0 {
                    let magnitude = 1 << (7 - counter.leading_zeros());
                    news |= self.seen[at] & magnitude == 0;
                    self.seen[at] |= magnitude;
                    *counter = 0;
                }
                at += 1;
            }
        }
        news
    }

    /// How many pieces of code were reached.
    pub(crate) fn reached(&self) -> usize {
        self.seen.iter().filter(|seen| **seen != 0).count()
    }
}
