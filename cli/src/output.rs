//! Where things are written: results to standard output, the rest to standard error, colours only
//! for a person at a terminal.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use crate::table::Table;

/// The form of results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // For people.
    #[default]
    Table,
    // For programs, with the names of the API. (No doc comments: they would make every --help long.)
    Json,
}

/// What a piece of text means, shown as a colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    /// Less important.
    Dim,
    /// Reached.
    Good,
    /// Waits, or is not as it should be.
    Warn,
    /// Failed.
    Bad,
    /// In the words of a script.
    Said,
    /// A title.
    Strong,
}

/// Colours text, or leaves it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Paint {
    pub(crate) on: bool,
}

impl Paint {
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Said => "36",
            Tone::Strong => "1",
        };
        if self.on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Standard output and standard error, as the user wants them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    pub(crate) format: Format,
    quiet: bool,
    /// For results.
    pub(crate) out: Paint,
    /// For messages.
    pub(crate) err: Paint,
}

impl Screen {
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Screen {
            format,
            quiet,
            out: Paint { on: !plain && io::stdout().is_terminal() },
            err: Paint { on: !plain && io::stderr().is_terminal() },
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A line of a result.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout(), "{text}")
    }

    /// Bytes of a result, unchanged.
    pub(crate) fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout();
        out.write_all(bytes)?;
        out.flush()
    }

    /// A result for programs.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> io::Result<()> {
        self.line(&serde_json::to_string_pretty(value)?)
    }

    /// A table as a result; of an empty one only a message.
    pub(crate) fn table(&self, table: &Table, none: &str) -> io::Result<()> {
        if table.is_empty() {
            self.message(none);
            return Ok(());
        }
        write!(io::stdout(), "{}", table.render(self.out))
    }

    /// Something the user should know but a program should not read.
    pub(crate) fn message(&self, text: &str) {
        if !self.quiet {
            self.error(text);
        }
    }

    /// The same, also with `--quiet`.
    pub(crate) fn error(&self, text: &str) {
        // Nobody left to tell when this fails.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// Text of others on one line: control characters could move the cursor or fake lines.
pub(crate) fn one_line(text: &str) -> String {
    text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Seconds for people: `0.4s`, `12.3s`, `2m05s`, `1h02m`.
pub(crate) fn seconds(millis: i64) -> String {
    let whole = millis.max(0) / 1000;
    match whole {
        0..60 => format!("{:.1}s", millis.max(0) as f64 / 1000.0),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// Sizes for people: `812 B`, `4.1 KiB`.
pub(crate) fn bytes(size: u64) -> String {
    let mut value = size as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{size} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(
            [0, 400, 59_900, 65_000, 3_725_000, 90_000_000].map(seconds),
            ["0.0s", "0.4s", "59.9s", "1m05s", "1h02m", "1d01h"]
        );
        assert_eq!([0, 812, 4200, 5 << 20, 3 << 30].map(bytes), ["0 B", "812 B", "4.1 KiB", "5.0 MiB", "3.0 GiB"]);
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\x1b[2Jb\nc\n"), "a [2Jb c");
        assert_eq!(Paint { on: false }.tone(Tone::Bad, "x"), "x");
        assert_eq!(Paint { on: true }.tone(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
    }
}
