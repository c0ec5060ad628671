//! What happens on the command line: pick a command by the name the program was called by, run it, and
//! turn its end into an exit code.
//!
//! Standard output carries results only; everything else goes to standard error.

mod boot;
mod detect;
mod disk;
mod meeting;
mod original;
mod parameter;
mod status;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use clap::{Parser as _, error::ErrorKind};

use crate::{
    cli::{Cli, Command},
    exit::{End, Face},
    socket::Answer,
    step::shim,
};

/// Runs what the arguments say, the first being the program's name.
#[must_use]
pub fn run(arguments: &[OsString]) -> ExitCode {
    let name = arguments.first().map(Path::new).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    if name.starts_with("ss-") {
        return code(original::run(&name, arguments), Face::Original);
    }
    let end = match Cli::try_parse_from(arguments) {
        Ok(cli) => agent(cli.command),
        Err(e) => usage(&e),
    };
    code(end, Face::Agent)
}

fn code(end: End, face: Face) -> ExitCode {
    ExitCode::from(end.code(face))
}

/// Shows help, version or what is wrong with the arguments.
fn usage(e: &clap::Error) -> End {
    let _ = e.print();
    match e.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => End::Ok,
        _ => End::Usage,
    }
}

fn agent(command: Command) -> End {
    let until = |seconds| (seconds > 0).then_some(seconds);
    match command {
        Command::Boot { context, state_dir, run_dir, root } => {
            boot::run(crate::agent::Options { context, state_dir, run_dir, root })
        }
        Command::Get { revision: true, ignore_abort, key, .. } => parameter::revision(key, ignore_abort),
        Command::Get { timeout, noblock, ignore_abort, stale_ok, key, .. } => {
            let get = parameter::Get { timeout: until(timeout), noblock, ignore_abort, stale_ok, key };
            match get.run() {
                Ok(Some(value)) => print(&value),
                Ok(None) => End::NotSet,
                Err(end) => end,
            }
        }
        Command::Set { ignore_abort, if_revision, stdin: _, key, value } => {
            match value.map_or_else(parameter::from_stdin, Ok) {
                Ok(value) => parameter::set_if(key, Some(value), if_revision, ignore_abort),
                Err(end) => end,
            }
        }
        Command::Unset { ignore_abort, if_revision, key } => parameter::set_if(key, None, if_revision, ignore_abort),
        Command::Wait { timeout, ignore_abort, conditions } => {
            parameter::wait(until(timeout), ignore_abort, conditions)
        }
        Command::Barrier { count, of, timeout, ignore_abort, name } => {
            meeting::barrier(name, count, of, until(timeout), ignore_abort)
        }
        Command::Lead { resign: true, name, .. } => meeting::resign(name),
        Command::Lead { noblock, timeout, ignore_abort, name, .. } => {
            meeting::lead(name, !noblock, until(timeout), ignore_abort)
        }
        Command::Display { ignore_abort, text } => parameter::set("statecustom".to_owned(), Some(text), ignore_abort),
        Command::Abort { cancel: true, .. } => parameter::cancel_abort(),
        Command::Abort { reason, .. } => parameter::abort(reason),
        Command::Random { size, key } => parameter::random(size, key),
        Command::Status { json, wait } => status::run(json, wait),
        Command::RunStep { record, command } => match shim::run(&record, &command) {
            Ok(()) => End::Ok,
            Err(e) => complain(End::Failed, &format!("cannot record how the script ended: {e}")),
        },
        Command::Disk { command } => disk::run(command),
        Command::Detect { json, root } => detect::run(json, root),
    }
}

/// Prints a result.
fn print(text: &str) -> End {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => End::Ok,
        Err(e) => complain(End::Failed, &format!("cannot print: {e}")),
    }
}

/// Says why a command has failed.
fn complain(end: End, message: &str) -> End {
    eprintln!("{message}");
    end
}

/// The end of a command whose answer has no result to print.
fn end_of(answer: Answer) -> End {
    match answer {
        Answer::Done { spooled: true } => complain(End::Ok, "the coordinator is away: kept until it is back"),
        Answer::Done { .. } | Answer::Value { .. } | Answer::Lead { .. } | Answer::Status(_) => End::Ok,
        Answer::Failed { end, message } => complain(end, &message),
    }
}
