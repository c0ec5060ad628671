//! The coordinator: catalogue, runs, parameters, and the clouds they use.
//!
//! [`start`] brings one up inside any process; the program is a thin shell around it.
//!
//! Reading order: [`run`] says what a run is and decides, [`drive`] carries it out, [`api`] and
//! [`agents`] let people and machines in, [`store`] keeps what must survive.

pub mod access;
pub mod agents;
pub mod api;
pub mod app;
pub mod backup;
pub mod catalogue;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod drive;
pub mod files;
pub mod logs;
pub mod pki;
pub mod planted;
pub mod run;
pub mod seam;
pub mod server;
pub mod shutdown;
mod start;
pub mod store;
#[cfg(test)]
mod testing;
pub mod tls;

pub use self::start::{RunningCoordinator, StartError, check, start, start_with};
