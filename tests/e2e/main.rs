//! Promises made to users, tried with the real programs.

mod boot;
mod full;
mod input;
mod life;
mod many;
mod meetings;
mod original;
mod people;
mod power;
mod processes;
mod qemu;
mod retry;
mod scale;
mod secrets;
mod survive;
mod update;
mod values;
mod wakeups;
mod wrong;
