//! Integration tests: one binary.

mod audio_corrupt;
mod audio_formats;
mod audio_inputs;
mod audio_memory;
mod audio_support;
mod clean_model;
mod cli_faults;
mod cli_misc;
mod cli_transcribe;
mod llm_faults;
mod llm_protocol;
mod llm_real;
mod models_import;
mod models_pull;
mod models_support;
mod output_sink;
mod servers_faults;
mod servers_real;
mod speech_pool;
mod speech_silence;
mod speech_support;
mod speech_times;
mod speech_vad;
mod speech_words;
mod support;
