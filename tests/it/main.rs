//! Integration tests: one binary.

mod clean_hostile;
mod clean_model;
mod llm_faults;
mod llm_protocol;
mod llm_real;
mod servers_faults;
mod servers_real;
mod support;
mod translate_faults;
mod translate_model;
