//! The thin shell around the library: pick the command by name, run it, turn the outcome into an exit
//! code.

use std::process::ExitCode;

use slipstream_agent::cmd;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    cmd::run(&arguments)
}
