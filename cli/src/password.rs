//! Passwords: asked for at the terminal without showing them, or read from a file. Never an argument, which
//! others on the machine could see.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
};

use anyhow::Context as _;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::{
    args::from_file,
    exit::{Exit, fail},
};

/// The password in a file without its line end, else what is typed at `prompt`.
pub(crate) fn read(file: Option<&Path>, prompt: &str) -> anyhow::Result<String> {
    match file {
        Some(file) => {
            let text = from_file(file)?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
        }
        None => ask(prompt),
    }
}

/// A new password: typed twice, where it is typed.
pub(crate) fn read_new(file: Option<&Path>, prompt: &str) -> anyhow::Result<String> {
    let first = read(file, prompt)?;
    if file.is_none() && ask("Once more: ")? != first {
        return Err(fail(Exit::Usage, "these are two different passwords; nothing was changed"));
    }
    Ok(first)
}

/// Shows what is typed again, however reading ends.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

fn ask(prompt: &str) -> anyhow::Result<String> {
    let nobody = "there is no terminal to ask for the password; give --password-file FILE, or - for standard input";
    let terminal = File::options().read(true).write(true).open("/dev/tty").map_err(|_| fail(Exit::Usage, nobody))?;
    let before = tcgetattr(&terminal).context("cannot use the terminal")?;
    (&terminal).write_all(prompt.as_bytes()).context("cannot write to the terminal")?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    let hidden = Hidden { terminal: &terminal, before };
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent).context("cannot hide what is typed")?;
    let mut line = String::new();
    BufReader::new(&terminal).read_line(&mut line).context("cannot read the password")?;
    drop(hidden);
    let _ = (&terminal).write_all(b"\n");
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
