//! Prints an error with its causes, each once.

use std::{error::Error, fmt};

/// Shows `error: cause: cause of the cause`.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = plain(self.0);
        f.write_str(&shown)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = plain(cause);
            // Some libraries repeat their cause in their own text.
            if !shown.contains(&text) {
                write!(f, ": {text}")?;
                shown = text;
            }
            next = cause.source();
        }
        Ok(())
    }
}

/// The text of one error, without the page that rustls recommends to programmers.
fn plain(error: &(dyn Error + '_)) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.find(": https://docs.rs/") {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the store")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_are_shown_once() {
        let error = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(Chain(&error).to_string(), "cannot open the store: disk on fire");
        let error = Outer(std::io::Error::other("peer closed: https://docs.rs/rustls/latest/rustls/manual"));
        assert_eq!(Chain(&error).to_string(), "cannot open the store: peer closed");
    }
}
