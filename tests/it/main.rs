//! Integration tests: one binary.

mod llm_real;
mod support;
