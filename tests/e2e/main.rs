//! Promises made to users, tried with the real programs.

mod boot;
mod full;
mod input;
mod many;
mod meetings;
mod processes;
mod qemu;
mod survive;
mod wakeups;
mod wrong;
