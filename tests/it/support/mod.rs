//! Helpers shared by the integration tests.

pub mod cli;
pub mod fake;
pub mod jobs;
pub mod http;
pub mod llama;
pub mod serve;
pub mod servers;
