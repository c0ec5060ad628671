//! Promises made to users, tried with the real programs.

mod input;
mod processes;
mod qemu;
mod survive;
