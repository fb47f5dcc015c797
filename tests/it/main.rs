//! Integration tests: one binary.

mod output_sink;
