//! What end-to-end tests use: the real programs, started on free ports with a folder of their own, and
//! ended together with all they started, whether the test passes or not.

mod agents;
mod coordinator;
mod leftovers;
mod poll;
mod programs;
mod vm;

pub use self::{
    agents::restart_agent,
    coordinator::{Coordinator, Options},
    leftovers::{Process, processes_of},
    poll::{eventually, eventually_within, next_record},
    programs::{cli, program, repository, test_images},
    vm::{Source, Vm},
};
