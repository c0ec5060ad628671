//! The command line of `slipstream-agent`. That of the `ss-` names is in `cmd::original`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use slipstream_shared::{
    disk::{DiskName, Fs},
    module::units,
};

/// The SlipStream agent of this machine.
#[derive(Debug, Parser)]
#[command(name = "slipstream-agent", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 local failure, 2 usage, 3 not set or not leading, 4 timeout, 5 run aborted, \
6 agent or coordinator unreachable, 7 refused, 8 run has ended, 9 written by somebody else meanwhile.\n\
A key is `name` (of this machine), `node:name`, `node.index:name` or `ss:name` (of the run).";

/// What the agent can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: find the contextualization data, enrol, run what the coordinator says.
    ///
    /// Ends with 0 when the machine belongs to no run, or on SIGTERM. With contextualization data that
    /// can not be used, or after a final refusal, it stays idle so that `status` can tell why.
    Boot {
        /// A file with user data or JSON, instead of looking for one.
        #[arg(long, value_name = "FILE")]
        context: Option<PathBuf>,
        /// Where to keep what must survive a reboot.
        #[arg(long, value_name = "DIR", default_value = crate::STATE_DIR)]
        state_dir: PathBuf,
        /// Where to put the socket and the folder of command names.
        #[arg(long, value_name = "DIR", default_value = crate::RUN_DIR)]
        run_dir: PathBuf,
        /// Look for contextualization data below this folder instead of `/`.
        #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
        root: PathBuf,
    },
    /// Print a parameter; wait until it is set.
    Get {
        /// Give up after so many seconds, or a time such as `5m`; 0, the default, waits until the run's own deadline.
        #[arg(long, value_name = "TIME", default_value = "0", value_parser = seconds)]
        timeout: u64,
        /// Do not wait: exit with 3 if it is not set.
        #[arg(long)]
        noblock: bool,
        /// Go on when the run is aborted.
        #[arg(long)]
        ignore_abort: bool,
        /// While the coordinator is away, print the value seen last, if there is one.
        #[arg(long)]
        stale_ok: bool,
        /// Print the revision instead of the value, without waiting: 0 if it was never written.
        #[arg(long, conflicts_with_all = ["timeout", "noblock", "stale_ok"])]
        revision: bool,
        /// Which one.
        key: String,
    },
    /// Set a parameter.
    Set {
        /// Also when the run is aborted.
        #[arg(long)]
        ignore_abort: bool,
        /// Only if it still has this revision, else exit with 9; 0: only if it was never written.
        #[arg(long, value_name = "N")]
        if_revision: Option<u64>,
        /// Read the value from standard input, as it is: what other processes of this machine must not see in
        /// the list of processes, or what no argument can hold.
        #[arg(long)]
        stdin: bool,
        /// Which one.
        key: String,
        /// Its value.
        #[arg(allow_hyphen_values = true, required_unless_present = "stdin", conflicts_with = "stdin")]
        value: Option<String>,
    },
    /// Take the value of a parameter away.
    Unset {
        /// Also when the run is aborted.
        #[arg(long)]
        ignore_abort: bool,
        /// Only if it still has this revision, else exit with 9.
        #[arg(long, value_name = "N")]
        if_revision: Option<u64>,
        /// Which one.
        key: String,
    },
    /// Wait until conditions hold, all at the same time. Prints nothing.
    ///
    /// KEY: it is set. KEY=VALUE: it is this. KEY~PATTERN: a part of it matches. KEY@REVISION: it was
    /// written since. For the instances of a node: 'NODE[*]:name' all, 'NODE[any]:name' one,
    /// 'NODE[2+]:name' at least two, each with a test behind it or without.
    Wait {
        /// Give up after so many seconds, or a time such as `5m`; 0, the default, waits until the run's own deadline.
        #[arg(long, value_name = "TIME", default_value = "0", value_parser = seconds)]
        timeout: u64,
        /// Go on when the run is aborted.
        #[arg(long)]
        ignore_abort: bool,
        /// Such as `db:ready`, `web[*]:state=up`.
        #[arg(value_name = "CONDITION", required = true)]
        conditions: Vec<String>,
    },
    /// Arrive at a barrier and wait until all have. Prints nothing.
    ///
    /// It opens when all live instances of this machine's node have arrived, or those of the nodes of `--of`, or
    /// so many as `--count` says. It opens once and stays open: who comes later passes, and a script that is
    /// run again does not arrive twice. For the next round, use another name.
    Barrier {
        /// Open when so many instances have arrived, whichever.
        #[arg(long, value_name = "N", conflicts_with = "of")]
        count: Option<u32>,
        /// Open when all instances of these nodes have arrived.
        #[arg(long, value_name = "NODE", value_delimiter = ',')]
        of: Vec<String>,
        /// Give up waiting after so many seconds, or a time such as `5m`; the arrival counts all the same. 0, the
        /// default, waits until the run's own deadline.
        #[arg(long, value_name = "TIME", default_value = "0", value_parser = seconds)]
        timeout: u64,
        /// Go on when the run is aborted.
        #[arg(long)]
        ignore_abort: bool,
        /// Its name, the same on all machines.
        name: String,
    },
    /// Become the only instance of the run that leads; print the number of the leadership.
    ///
    /// Waits until this machine leads. It leads until it resigns, is gone, or was not heard of for 30 seconds.
    /// Each new leader's number is larger than all before it: give it to what the leader changes, and let that
    /// refuse smaller ones.
    Lead {
        /// Do not wait: exit with 3 when another instance leads.
        #[arg(long)]
        noblock: bool,
        /// Give the lead up instead.
        #[arg(long, conflicts_with_all = ["noblock", "timeout", "ignore_abort"])]
        resign: bool,
        /// Give up waiting after so many seconds, or a time such as `5m`; 0, the default, waits until the run's own
        /// deadline.
        #[arg(long, value_name = "TIME", default_value = "0", value_parser = seconds)]
        timeout: u64,
        /// Go on when the run is aborted.
        #[arg(long)]
        ignore_abort: bool,
        /// What is led; the same name on all machines.
        name: String,
    },
    /// Show a line of text as this machine's state (`statecustom`).
    Display {
        /// Also when the run is aborted.
        #[arg(long)]
        ignore_abort: bool,
        /// The line.
        #[arg(allow_hyphen_values = true)]
        text: String,
    },
    /// Abort the run.
    Abort {
        /// Take the abort back instead.
        #[arg(long)]
        cancel: bool,
        /// Why.
        #[arg(allow_hyphen_values = true)]
        reason: Option<String>,
    },
    /// Print a random string of letters and digits, and set a parameter to it.
    Random {
        /// Its length.
        #[arg(short, long, value_name = "N", default_value_t = 12)]
        size: usize,
        /// Which one.
        key: Option<String>,
    },
    /// Show how far the agent has come.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Wait until it is ready, or can not be.
        #[arg(long)]
        wait: bool,
    },
    /// Run a script for the daemon and record how it ended.
    #[command(hide = true)]
    RunStep {
        /// Where to record it.
        record: PathBuf,
        /// The script.
        #[arg(last = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Take or release a disk of this machine; the coordinator has this run when disks come and go.
    Disk {
        /// What to do.
        #[command(subcommand)]
        command: DiskCommand,
    },
    /// Look for contextualization data and show what each source says.
    Detect {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Look below this folder instead of `/`.
        #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
        root: PathBuf,
    },
}

/// What can be done with a disk.
#[derive(Debug, Subcommand)]
pub enum DiskCommand {
    /// Wait until a disk is there, and mount it if that is asked for: a blank one is formatted first.
    Take {
        /// Its name, such as `disk1`.
        name: DiskName,
        /// The folder to mount it on.
        #[arg(long, value_name = "FOLDER")]
        mount: Option<String>,
        /// The file system of a blank one, ext4 unless said otherwise.
        #[arg(long, value_name = "TYPE", requires = "mount")]
        fs: Option<Fs>,
    },
    /// Unmount a disk wherever it is mounted.
    Release {
        /// Its name.
        name: DiskName,
    },
}

/// Seconds, as SlipStream's commands took them, or a time with units.
fn seconds(text: &str) -> Result<u64, String> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().map_err(|_| format!("`{text}` seconds are too many")) } else { units::duration(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_seconds_or_has_units() {
        for (text, read) in
            [("0", Some(0)), ("90", Some(90)), ("1m30s", Some(90)), ("", None), ("-1", None), ("x", None)]
        {
            assert_eq!(seconds(text).ok(), read, "`{text}`");
        }
        assert!(seconds("1000000000000000000000").is_err_and(|e| e.contains("too many")));
    }
}
