//! The local socket between the daemon and the commands that scripts call.
//!
//! One connection, one request, one answer, each a JSON line. Keys are as typed; the daemon completes
//! them, as it knows who this machine is. Closing the connection withdraws the request.

pub mod client;
mod meeting;
mod repeat;
pub mod server;

use std::path::{Path, PathBuf};

pub use self::repeat::Again;

use serde::{Deserialize, Serialize};
use slipstream_shared::meeting::Leader;

use crate::{agent::Status, exit::End};

/// The longest line, in bytes: a value of 64 KiB, escaped.
pub const MAX_LINE: u64 = 512 * 1024;

/// Where the socket is.
#[must_use]
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("agent.sock")
}

/// What a command asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// The value of a parameter.
    Get {
        /// As typed.
        key: String,
        /// Wait until it has one.
        wait: bool,
        /// While the coordinator is away, the value seen last will do.
        #[serde(default)]
        stale_ok: bool,
        /// For how many seconds; none: for ever.
        #[serde(default)]
        timeout: Option<u64>,
        /// Also when the run is aborted.
        #[serde(default)]
        ignore_abort: bool,
    },
    /// Waits until conditions hold, all at the same time.
    Wait {
        /// As typed.
        conditions: Vec<String>,
        /// For how many seconds; none: for ever.
        #[serde(default)]
        timeout: Option<u64>,
        /// Also when the run is aborted.
        #[serde(default)]
        ignore_abort: bool,
    },
    /// Sets a parameter, or takes its value away.
    Set {
        /// As typed.
        key: String,
        /// None: unset.
        value: Option<String>,
        /// Only if it has this revision.
        #[serde(default)]
        if_revision: Option<u64>,
        /// The command's own name for this request: with the same again it is not made again.
        #[serde(default)]
        request: Option<String>,
        /// Also when the run is aborted.
        #[serde(default)]
        ignore_abort: bool,
    },
    /// Arrives at a barrier and waits until it opens.
    Barrier {
        /// As typed.
        name: String,
        /// So many arrivals open it.
        #[serde(default)]
        count: Option<u32>,
        /// The arrivals of all instances of these nodes do; none: of the own one.
        #[serde(default)]
        of: Vec<String>,
        /// For how many seconds; none: for ever.
        #[serde(default)]
        timeout: Option<u64>,
        /// Also when the run is aborted.
        #[serde(default)]
        ignore_abort: bool,
    },
    /// Asks for a lead.
    Lead {
        /// As typed.
        name: String,
        /// Wait until this machine leads.
        wait: bool,
        /// For how many seconds; none: for ever.
        #[serde(default)]
        timeout: Option<u64>,
        /// Also when the run is aborted.
        #[serde(default)]
        ignore_abort: bool,
    },
    /// Gives a lead up.
    Resign {
        /// As typed.
        name: String,
    },
    /// Aborts the run.
    Abort {
        /// Why.
        reason: String,
    },
    /// Takes the abort back.
    CancelAbort,
    /// How far the daemon has come.
    Status {
        /// Answer when it is ready, or can not be.
        wait: bool,
    },
}

/// What the daemon says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Answer {
    /// The value, if there is one.
    Value {
        /// None: not set.
        value: Option<String>,
        /// True when the coordinator is away and this is what it was when it was seen last.
        #[serde(default)]
        stale: bool,
        /// The number of the event that wrote it; 0: nobody has.
        #[serde(default)]
        revision: u64,
    },
    /// Who leads.
    Lead {
        /// The number of this machine as leader; none: it does not lead.
        number: Option<u64>,
        /// Who leads instead.
        #[serde(default)]
        leader: Option<Leader>,
    },
    /// It is done.
    Done {
        /// It will reach the coordinator when that can be reached again.
        spooled: bool,
    },
    /// How far the daemon has come.
    Status(Box<Status>),
    /// It is not done.
    Failed {
        /// How the command ends.
        end: End,
        /// Why.
        message: String,
    },
}
