//! The coordinator: catalogue, runs, parameters, and the clouds they use.

pub mod store;
