//! The coordinator: catalogue, runs, parameters, and the clouds they use.

pub mod access;
pub mod cloud;
pub mod config;
pub mod drive;
pub mod files;
pub mod logs;
pub mod pki;
pub mod run;
pub mod seam;
pub mod server;
pub mod shutdown;
pub mod store;
pub mod tls;
