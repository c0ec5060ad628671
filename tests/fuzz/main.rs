//! Whatever strangers may write is read without a panic, in bounded time and memory, and refused in few words.
//!
//! Two seconds for each reader here; `make fuzz SECONDS=600` goes on for longer, with a build that tells
//! which code an input reaches. An input that fails is kept in `tests/fuzz/corpus` and tried ever after.

mod bodies;
mod coverage;
mod driver;
mod grammars;
mod memory;
mod modules;
mod records;

#[global_allocator]
static COUNTING: memory::Counting = memory::Counting;

/// The most bytes of an error, whatever it is about.
const LONGEST_ERROR: usize = 1000;

/// An error that a person has to read.
fn short(error: &impl std::fmt::Display) {
    let text = error.to_string();
    assert!(
        text.len() <= LONGEST_ERROR,
        "an error of {} bytes: {}",
        text.len(),
        &text[..text.floor_char_boundary(300)]
    );
    assert!(!text.is_empty(), "an error without words");
}
