//! The program that runs in every machine of a run.
//!
//! ```text
//! boot:  context found -> addresses set -> key kept, enrolled -> link up -> plan -> steps -> ready check
//!                                                                 |
//! scripts: ss-get, ss-set, slipstream-agent wait ... -> local socket
//! ```
//!
//! Only the daemon (`boot`) holds credentials and the one connection. Everything it must not forget is
//! under its state folder ([`state`]) before it is acted upon. The commands that scripts call
//! ([`cmd`]) are the same binary without a runtime: one line to the socket, one line back.

pub mod agent;
pub mod cli;
pub mod cmd;
pub mod connect;
pub mod context;
pub mod disk;
pub mod durable;
pub mod enrol;
pub mod exit;
pub mod identity;
pub mod link;
pub mod login;
pub mod resolve;
pub mod scrub;
pub mod seen;
pub mod socket;
pub mod state;
pub mod step;
pub mod system;
pub mod tls;
pub mod trouble;

/// What the agent calls itself to the coordinator.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the daemon keeps its socket and the folder of command names.
pub const RUN_DIR: &str = "/run/slipstream";

/// Where the daemon keeps what it must not forget.
pub const STATE_DIR: &str = "/var/lib/slipstream";
