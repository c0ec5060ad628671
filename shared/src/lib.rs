//! Words and wire format shared by the coordinator, the agent and the command line.
//!
//! No state and no tasks. What only one program needs does not belong here.

pub mod api;
pub mod backoff;
pub mod brief;
pub mod client;
pub mod condition;
pub mod context;
pub mod disk;
pub mod error_chain;
pub mod event;
#[cfg(test)]
mod golden;
pub mod http;
pub mod id;
pub mod limits;
pub mod link;
pub mod meeting;
pub mod module;
pub mod operation;
pub mod parameter;
pub mod plan;
pub mod predefined;
pub mod sharing;
pub mod ssh_key;
pub mod state;
pub mod template;
