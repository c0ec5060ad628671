//! Text of strangers in messages for people: never longer than anybody reads, and nothing a terminal obeys.

/// The most bytes of a quoted text.
const QUOTED: usize = 120;

/// A text to be quoted in a line: the middle of a long one is left out, control characters are named.
#[must_use]
pub fn brief(text: &str) -> String {
    cut(&named(&cut(text, QUOTED), |_| false), QUOTED)
}

/// A message of at most about `most` bytes. Its lines stay lines.
#[must_use]
pub fn bounded(text: &str, most: usize) -> String {
    cut(&named(&cut(text, most), |c| matches!(c, '\n' | '\t')), most)
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(most * 2 / 3);
    let tail = text.ceil_char_boundary(text.len() - most / 3);
    format!("{}…{}", &text[..head], &text[tail..])
}

fn named(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !keep(c) { out.extend(c.escape_debug()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_stay_and_long_ones_lose_their_middle() {
        assert_eq!(brief("web.1:port"), "web.1:port");
        let long = format!("begin{}end", "\u{e9}".repeat(10_000));
        let cut = brief(&long);
        assert!(cut.len() <= QUOTED + 3 && cut.starts_with("begin") && cut.ends_with("end"), "{cut}");
        assert!(bounded(&long, 500).len() <= 503);
        assert!(brief(&"\u{7f}".repeat(10_000)).len() <= QUOTED + 3, "named is longer");
    }

    #[test]
    fn what_a_terminal_obeys_is_named() {
        assert_eq!(brief("a\u{1b}[2Jb\nc\0"), "a\\u{1b}[2Jb\\nc\\0");
        assert_eq!(bounded("a\u{1b}\nb\tc\r", 100), "a\\u{1b}\nb\tc\\r");
    }
}
