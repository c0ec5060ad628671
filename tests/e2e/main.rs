//! Promises made to users, tried with the real programs.

mod boot;
mod full;
mod input;
mod life;
mod processes;
mod qemu;
mod retry;
mod scale;
mod survive;
