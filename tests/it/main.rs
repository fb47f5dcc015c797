//! Integration tests: one binary.

mod speech_pool;
mod speech_silence;
mod speech_support;
mod speech_times;
mod speech_vad;
mod speech_words;
