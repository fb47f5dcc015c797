//! Integration tests: one binary.

mod llm_faults;
mod llm_protocol;
mod llm_real;
mod servers_faults;
mod servers_real;
mod support;
mod clean_model;
