//! Words and wire format shared by the coordinator, the agent and the command line.
//!
//! No state and no tasks. What only one program needs does not belong here.

pub mod id;
pub mod parameter;
pub mod plan;
pub mod template;
