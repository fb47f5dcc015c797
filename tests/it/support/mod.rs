//! Helpers shared by the integration tests.

pub mod cli;
pub mod desktop;
pub mod dictate;
pub mod fake;
pub mod http;
pub mod jobs;
pub mod llama;
pub mod raw;
pub mod serve;
pub mod servers;
pub mod up;
