//! Helpers shared by the integration tests.

pub mod fake;
pub mod llama;
pub mod servers;
