//! Integration tests: one binary.

mod agent_real;
mod intent_data;
mod intent_real;
mod llm_real;
mod samples_manifest;
mod support;
