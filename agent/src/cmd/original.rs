//! The names of SlipStream's commands, with its options, habits and exit codes: recipes call them.

use std::ffi::OsString;

use clap::{Args, Parser};

use super::{
    complain,
    parameter::{self, Get, patiently, value_of},
    print, usage,
};
use crate::{exit::End, socket::client};

/// Options every command of the original had. The agent knows its run and its coordinator.
#[derive(Debug, Args)]
struct Common {
    #[arg(short, long, action = clap::ArgAction::Count, hide = true)]
    verbose: u8,
    #[arg(long, hide = true)]
    endpoint: Option<String>,
    #[arg(long, hide = true)]
    run: Option<String>,
}

/// Print a parameter; wait until it is set.
#[derive(Debug, Parser)]
#[command(name = "ss-get")]
struct SsGet {
    #[command(flatten)]
    common: Common,
    /// Give up after so many seconds; 0 waits for ever.
    #[arg(long, value_name = "S", default_value_t = 60)]
    timeout: u64,
    /// Do not wait: print an empty line if it is not set.
    #[arg(long)]
    noblock: bool,
    /// Go on when the run is aborted.
    #[arg(long)]
    ignore_abort: bool,
    /// Which one.
    key: String,
}

/// Print a parameter of all instances of a component.
#[derive(Debug, Parser)]
#[command(name = "ss-get-all")]
struct SsGetAll {
    #[command(flatten)]
    common: Common,
    /// Give up after so many seconds; 0 waits for ever.
    #[arg(long, value_name = "S", default_value_t = 60)]
    timeout: u64,
    /// Do not wait.
    #[arg(long)]
    noblock: bool,
    /// Go on when the run is aborted.
    #[arg(long)]
    ignore_abort: bool,
    /// Print nothing if all have this value; otherwise exit with 1.
    #[arg(long, allow_hyphen_values = true)]
    value: Option<String>,
    /// Whose.
    component: String,
    /// Which one.
    key: String,
}

/// Set a parameter.
#[derive(Debug, Parser)]
#[command(name = "ss-set")]
struct SsSet {
    #[command(flatten)]
    common: Common,
    /// Also when the run is aborted.
    #[arg(long)]
    ignore_abort: bool,
    /// Which one.
    key: String,
    /// Its value; an empty one takes it away.
    #[arg(allow_hyphen_values = true)]
    value: String,
}

/// Show a line of text as this machine's state.
#[derive(Debug, Parser)]
#[command(name = "ss-display")]
struct SsDisplay {
    #[command(flatten)]
    common: Common,
    /// Also when the run is aborted.
    #[arg(long)]
    ignore_abort: bool,
    /// The line.
    #[arg(allow_hyphen_values = true)]
    text: String,
}

/// Abort the run.
#[derive(Debug, Parser)]
#[command(name = "ss-abort")]
struct SsAbort {
    #[command(flatten)]
    common: Common,
    /// Take the abort back instead.
    #[arg(long)]
    cancel: bool,
    /// Why.
    #[arg(allow_hyphen_values = true)]
    reason: Option<String>,
}

/// Take an abort back.
#[derive(Debug, Parser)]
#[command(name = "ss-cancel-abort")]
struct SsCancelAbort {
    #[command(flatten)]
    common: Common,
}

/// Print a random string of letters and digits, and set a parameter to it.
#[derive(Debug, Parser)]
#[command(name = "ss-random")]
struct SsRandom {
    #[command(flatten)]
    common: Common,
    /// Its length.
    #[arg(short, long, value_name = "N", default_value_t = 12)]
    size: usize,
    /// Which one.
    key: Option<String>,
}

/// Runs the command `name`.
pub(super) fn run(name: &str, arguments: &[OsString]) -> End {
    match name {
        "ss-get" => parsed(arguments, get),
        "ss-get-all" => parsed(arguments, |all: SsGetAll| get_all(&all)),
        "ss-set" => parsed(arguments, |set: SsSet| parameter::set(set.key, value(set.value), set.ignore_abort)),
        "ss-display" => parsed(arguments, |show: SsDisplay| {
            parameter::set("statecustom".to_owned(), value(show.text), show.ignore_abort)
        }),
        "ss-abort" => {
            parsed(
                arguments,
                |abort: SsAbort| {
                    if abort.cancel { parameter::cancel_abort() } else { parameter::abort(abort.reason) }
                },
            )
        }
        "ss-cancel-abort" => parsed(arguments, |_: SsCancelAbort| parameter::cancel_abort()),
        "ss-random" => parsed(arguments, |random: SsRandom| parameter::random(random.size, random.key)),
        _ => complain(End::Usage, &format!("{name}: this command is not available in a machine")),
    }
}

fn parsed<T: Parser>(arguments: &[OsString], run: impl FnOnce(T) -> End) -> End {
    match T::try_parse_from(arguments) {
        Ok(command) => run(command),
        Err(e) => usage(&e),
    }
}

/// The original could not tell an empty value from none.
fn value(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn get(get: SsGet) -> End {
    let SsGet { timeout, noblock, ignore_abort, key, .. } = get;
    match (Get { timeout: (timeout > 0).then_some(timeout), noblock, ignore_abort, stale_ok: false, key }).run() {
        Ok(value) => print(&value.unwrap_or_default()),
        Err(end) => end,
    }
}

/// One line `component.i:key value` per instance. A value that does not come in time is shown as empty.
fn get_all(all: &SsGetAll) -> End {
    let read = |key: String| Get {
        timeout: (all.timeout > 0).then_some(all.timeout),
        noblock: all.noblock,
        ignore_abort: all.ignore_abort,
        stale_ok: false,
        key,
    };
    let ids = match read(format!("{}:ids", all.component)).run() {
        Ok(ids) => ids.unwrap_or_default(),
        Err(end) => return end,
    };
    let keys = ids.split(',').map(str::trim).filter(|id| !id.is_empty());
    let reads: Vec<Get> = keys.map(|id| read(format!("{}.{id}:{}", all.component, all.key))).collect();
    // All are asked before the first answer is waited for.
    let asked: Vec<_> = reads.iter().map(Get::ask).collect();
    let mut lines = Vec::new();
    let mut all_equal = true;
    for (read, asked) in reads.iter().zip(asked) {
        let answer = asked.and_then(|mut pending| patiently(&mut pending, &read.key));
        let found = match value_of(answer.unwrap_or_else(|e| client::unreachable(&e))) {
            Ok(value) => value.unwrap_or_default(),
            Err(End::Timeout) => String::new(),
            Err(end) => return end,
        };
        all_equal &= all.value.as_ref().is_none_or(|wanted| *wanted == found);
        lines.push(format!("{} {found}", read.key));
    }
    match (&all.value, all_equal) {
        (Some(_), true) => End::Ok,
        _ if lines.is_empty() => End::Ok,
        (None, _) => print(&lines.join("\n")),
        (Some(_), false) => match print(&lines.join("\n")) {
            End::Ok => End::NotSet,
            end => end,
        },
    }
}
