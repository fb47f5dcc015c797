//! Integration tests: one binary.

mod llm_real;
mod support;
mod clean_model;
