//! Whether a history can be explained by one register that does one thing at a time.
//!
//! Wing and Gong's search with Lowe's memory of what was tried: take any operation that began before the
//! first one still open has ended, see whether the register can do it now, go on; go back when nothing fits.
//! The crates there are need an end for each operation; here the answer of one may be lost, and then it may
//! have happened at any time after it began, or never.

use std::collections::HashSet;

use crate::model::{Act, Register};

/// Something that was done.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// By whom.
    pub(crate) client: String,
    /// When it was asked for, in nanoseconds.
    pub(crate) began: u64,
    /// When it was answered. None: never; it may have happened or not.
    pub(crate) ended: Option<u64>,
    /// What.
    pub(crate) act: Act,
}

/// A history that nothing explains.
#[derive(Debug)]
pub(crate) struct Violation {
    /// The most operations that could be put in an order, in that order.
    pub(crate) explained: Vec<Operation>,
    /// One that does not fit after them, though it had ended before all others that are left did.
    pub(crate) stuck: Operation,
}

/// How long the search may take, in steps. A history that needs more proves nothing, and that is said.
const MOST_STEPS: u64 = 20_000_000;

/// Looks for an order that explains the operations on one parameter.
///
/// # Errors
/// There is none.
///
/// # Panics
/// The search takes too long: the history has too much that happened at the same time.
pub(crate) fn check(operations: &[Operation]) -> Result<(), Box<Violation>> {
    Search::new(operations).run()
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    operation: usize,
    is_end: bool,
    next: usize,
    previous: usize,
}

/// Entry 0 is the head of a list of beginnings and ends in their order; the last one is its tail.
struct Search<'a> {
    operations: &'a [Operation],
    entries: Vec<Entry>,
    /// Entry of the end of an operation, if it has one.
    ends: Vec<Option<usize>>,
    done: Vec<u64>,
    open: usize,
    register: Register,
    taken: Vec<(usize, Register)>,
    longest: Vec<usize>,
    stuck: usize,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        let mut order: Vec<(u64, bool, usize)> = Vec::new();
        for (i, operation) in operations.iter().enumerate() {
            order.push((operation.began, false, i));
            order.extend(operation.ended.map(|ended| (ended, true, i)));
        }
        // What ends as another begins is taken to overlap it.
        order.sort_unstable();
        let mut entries = vec![Entry { operation: 0, is_end: false, next: 1, previous: 0 }];
        let mut ends = vec![None; operations.len()];
        for (_, is_end, operation) in order {
            let at = entries.len();
            if is_end {
                ends[operation] = Some(at);
            }
            entries.push(Entry { operation, is_end, next: at + 1, previous: at - 1 });
        }
        let tail = entries.len();
        entries.push(Entry { operation: 0, is_end: true, next: tail, previous: tail - 1 });
        let open = operations.iter().filter(|o| o.ended.is_some()).count();
        let done = vec![0; operations.len().div_ceil(64)];
        let register = Register::new();
        Search { operations, entries, ends, done, open, register, taken: vec![], longest: vec![], stuck: 0 }
    }

    fn run(mut self) -> Result<(), Box<Violation>> {
        let mut tried: HashSet<(Vec<u64>, Register)> = HashSet::new();
        let tail = self.entries.len() - 1;
        let mut at = self.entries[0].next;
        let mut steps = 0;
        while self.open > 0 {
            steps += 1;
            assert!(steps < MOST_STEPS, "undecided after {steps} steps over {} operations", self.operations.len());
            let entry = self.entries[at];
            if at != tail && !entry.is_end {
                let next = self.register.apply(&self.operations[entry.operation].act);
                if let Some(next) = next {
                    self.mark(entry.operation, true);
                    if tried.insert((self.done.clone(), next.clone())) {
                        self.taken.push((at, std::mem::replace(&mut self.register, next)));
                        self.lift(at);
                        at = self.entries[0].next;
                        continue;
                    }
                    self.mark(entry.operation, false);
                }
                at = entry.next;
                continue;
            }
            // An operation has ended that was not put anywhere: something before it was put wrongly.
            if self.taken.len() >= self.longest.len() && at != tail {
                self.longest = self.taken.iter().map(|(at, _)| self.entries[*at].operation).collect();
                self.stuck = entry.operation;
            }
            let Some((last, before)) = self.taken.pop() else { return Err(self.violation()) };
            self.register = before;
            self.unlift(last);
            self.mark(self.entries[last].operation, false);
            at = self.entries[last].next;
        }
        Ok(())
    }

    fn violation(&self) -> Box<Violation> {
        let explained = self.longest.iter().map(|i| self.operations[*i].clone()).collect();
        Box::new(Violation { explained, stuck: self.operations[self.stuck].clone() })
    }

    fn mark(&mut self, operation: usize, done: bool) {
        let (word, bit) = (operation / 64, 1 << (operation % 64));
        if done {
            self.done[word] |= bit;
        } else {
            self.done[word] &= !bit;
        }
    }

    /// Takes an operation out of the list.
    fn lift(&mut self, at: usize) {
        let end = self.ends[self.entries[at].operation];
        for at in [Some(at), end].into_iter().flatten() {
            let Entry { next, previous, .. } = self.entries[at];
            (self.entries[previous].next, self.entries[next].previous) = (next, previous);
        }
        self.open -= usize::from(end.is_some());
    }

    /// Puts it back: the exact reverse of [`Search::lift`].
    fn unlift(&mut self, at: usize) {
        let end = self.ends[self.entries[at].operation];
        for at in [end, Some(at)].into_iter().flatten() {
            let Entry { next, previous, .. } = self.entries[at];
            (self.entries[previous].next, self.entries[next].previous) = (at, at);
        }
        self.open += usize::from(end.is_some());
    }
}
