//! Helpers shared by the integration tests.

pub mod llama;
pub mod servers;
