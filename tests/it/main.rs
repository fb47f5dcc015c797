//! Integration tests: one binary.

mod audio_corrupt;
mod audio_formats;
mod audio_inputs;
mod audio_memory;
mod audio_support;
