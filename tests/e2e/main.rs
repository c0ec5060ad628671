//! Promises made to users, tried with the real programs.

mod boot;
mod full;
mod input;
mod processes;
mod qemu;
mod secrets;
mod survive;
mod values;
