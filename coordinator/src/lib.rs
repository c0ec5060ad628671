//! The coordinator: catalogue, runs, parameters, and the clouds they use.

pub mod catalogue;
pub mod cloud;
pub mod drive;
pub mod run;
pub mod seam;
pub mod store;
