//! What end-to-end tests use: the real programs, started on free ports with a folder of their own, and
//! ended together with all they started, whether the test passes or not.

mod agents;
mod coordinator;
mod leftovers;
mod machine;
mod poll;
mod programs;
mod random;
mod vm;

pub use self::{
    agents::restart_agent,
    coordinator::{Coordinator, Options, machines_below},
    leftovers::{Process, processes_of},
    machine::{Machine, Proxy},
    poll::{eventually, eventually_within, next_record},
    programs::{cli, program, repository, test_images},
    random::{Random, seconds_from_environment, seed_from_environment},
    vm::{Source, Vm},
};
