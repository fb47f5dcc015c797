//! Integration tests: one binary.
mod models_import;
mod models_pull;
mod models_support;
