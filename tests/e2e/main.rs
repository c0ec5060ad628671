//! Promises made to users, tried with the real programs.

mod boot;
mod full;
mod input;
mod many;
mod meetings;
mod power;
mod processes;
mod qemu;
mod retry;
mod scale;
mod survive;
mod update;
mod wakeups;
mod wrong;
