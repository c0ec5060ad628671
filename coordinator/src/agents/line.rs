//! Cuts what an agent sends into lines and reads them.

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;
use slipstream_shared::link::{ANSWERS, Down, MAX_LINE, Up};

/// What has arrived and is not read yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: BytesMut,
    /// Up to here there is no end of a line.
    searched: usize,
}

/// A line is longer than any may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    /// Adds what has arrived.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole line, without its end.
    ///
    /// # Errors
    /// It is too long, whether its end has arrived or not.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n').map(|at| self.searched + at);
        self.searched = self.buffer.len();
        if end.unwrap_or(self.searched) > MAX_LINE {
            return Err(TooLong);
        }
        let Some(end) = end else { return Ok(None) };
        self.searched = 0;
        let line = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        if self.buffer.is_empty() {
            // An idle link keeps no memory for the largest line it ever had.
            self.buffer = BytesMut::new();
        }
        Ok(Some(line))
    }
}

/// A line, as far as it is understood.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// Of a kind that this version knows.
    Known(Box<Up>),
    /// Of a newer kind, or blank: to be ignored.
    Ignored,
    /// Of a known kind, but not of its form.
    Malformed(String),
}

/// Reads a line.
#[must_use]
pub(super) fn read(line: &[u8]) -> Line {
    #[derive(Deserialize)]
    struct Head {
        t: String,
    }
    if line.trim_ascii().is_empty() {
        return Line::Ignored;
    }
    let error = match serde_json::from_slice::<Up>(line) {
        Ok(up) => return Line::Known(Box::new(up)),
        Err(error) => error,
    };
    let Ok(head) = serde_json::from_slice::<Head>(line) else { return malformed(&error) };
    match head.t.as_str() {
        "hello" | "heartbeat" | "get" | "wait" | "barrier" | "lead" | "env" | "forget" | "do" | "log" => {
            malformed(&error)
        }
        _ => Line::Ignored,
    }
}

/// Says where, never what: values may be secret.
fn malformed(error: &serde_json::Error) -> Line {
    Line::Malformed(format!("a line is not of its form (column {})", error.column()))
}

/// A line to an agent.
#[must_use]
pub(super) fn write(line: &Down) -> Bytes {
    let mut text = Vec::new();
    write_to(&mut text, line);
    text.into()
}

/// The same, behind what is there, as an agent of that version understands it.
pub(super) fn write_in(text: &mut Vec<u8>, line: Down, protocol: u32) {
    match line {
        Down::Answers { ids, reply } if protocol < ANSWERS => {
            ids.into_iter().for_each(|id| write_to(text, &Down::Answer { id, reply: reply.clone() }));
        }
        Down::Hello { coordinator, last_op, refused, .. } => {
            write_to(text, &Down::Hello { protocol, coordinator, last_op, refused });
        }
        line => write_to(text, &line),
    }
}

fn write_to(text: &mut Vec<u8>, line: &Down) {
    // Plain data and memory: this cannot fail.
    serde_json::to_writer(&mut *text, line).unwrap_or_default();
    text.push(b'\n');
}

#[cfg(test)]
mod tests {
    use slipstream_shared::link::{PROTOCOL, Reply};

    use super::*;

    #[test]
    fn lines_are_found_wherever_the_stream_is_cut() {
        let text = b"one\n\ntwo two\nthree";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for chunk in text.chunks(size) {
                lines.push(chunk);
                while let Some(line) = lines.next().expect("short") {
                    found.push(line);
                }
            }
            assert_eq!(found, ["one", "", "two two"], "chunks of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_given_up_at_the_limit() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_LINE]);
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"x");
        assert_eq!(lines.next(), Err(TooLong));
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_LINE]);
        lines.push(b"\n");
        assert_eq!(lines.next().expect("fits").map(|line| line.len()), Some(MAX_LINE));
    }

    #[test]
    fn an_older_agent_is_told_what_it_understands() {
        let said = |protocol| {
            let mut text = Vec::new();
            let reply = Reply::Met { seq: 7 };
            write_in(&mut text, Down::Answers { ids: vec![3, 5], reply }, protocol);
            let hello = Down::Hello { protocol: PROTOCOL, coordinator: "c".into(), last_op: 0, refused: vec![] };
            write_in(&mut text, hello, protocol);
            String::from_utf8(text).expect("text")
        };
        let hello =
            |protocol| format!("{{\"t\":\"hello\",\"protocol\":{protocol},\"coordinator\":\"c\",\"last_op\":0}}\n");
        let each = "{\"t\":\"answer\",\"id\":3,\"is\":\"met\",\"seq\":7}\n{\"t\":\"answer\",\"id\":5,\"is\":\"met\",\"seq\":7}\n";
        assert_eq!(said(1), format!("{each}{}", hello(1)));
        let together = "{\"t\":\"answers\",\"ids\":[3,5],\"is\":\"met\",\"seq\":7}\n";
        assert_eq!(said(2), format!("{together}{}", hello(2)));
    }

    #[test]
    fn what_a_newer_agent_says_is_ignored_or_unknown_but_never_fatal() {
        assert_eq!(read(br#"{"t":"heartbeat","since":3}"#), Line::Known(Box::new(Up::Heartbeat)));
        assert_eq!(read(br#"{"t":"sing","song":"x"}"#), Line::Ignored);
        assert_eq!(read(b" \r"), Line::Ignored);
        let unknown = Up::Do { op: 7, change: slipstream_shared::link::Change::Unknown };
        assert_eq!(read(br#"{"t":"do","op":7,"do":"fly"}"#), Line::Known(Box::new(unknown)), "the run refuses it");
        for bad in [
            r#"{"t":"get","id":"secret"}"#,
            r#"{"t":"do","op":7,"do":"set","key":"secret"}"#,
            "secret",
            "{}",
            "[]",
            "{",
        ] {
            let Line::Malformed(message) = read(bad.as_bytes()) else { panic!("{bad}") };
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
