//! Integration tests: one binary.

mod audio_formats;
mod audio_support;
