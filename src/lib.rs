//! BestBox speech: recordings in; clean text, its intent and an answer out, on the user's own machine.
//!
//! ```text
//! microphone | upload | folder
//!     audio -> vad -> utterance -> whisper.cpp -> transcript (raw, timed)
//!                                                   |- light LLM: intent (one token)
//!                                                   |- light LLM: cleanup (cannot invent words)
//!                                                   |- light LLM: translation (when asked)
//!                                                   `- intent says so: heavy LLM answers
//!                                                                `-> Outcome -> output
//! ```
//!
//! Dependencies point down only: `main -> app -> {engine, pipeline, output} -> {audio, speech, text, agent}`.
//! Siblings never call each other; where two must meet, that is `pipeline` or `engine`.
//!
//! # Threads and processes
//! tokio runs reqwest and signals. Each recogniser thread owns one Whisper state on a shared context. Untrusted bytes
//! are decoded in a confined child process. Each llama-server belongs to a keeper process (bestbox re-executed), which
//! ends it when its last user is gone, however that user ended.
//!
//! # Invariants
//! - The transcript is never lost: after recognition every failure is a [`outcome::Warning`].
//! - Cleanup other than `rewrite` cannot change a word: [`text::clean`].
//! - Nothing in `speech` knows HTTP, files or language models.

pub mod agent;
pub mod app;
pub mod audio;
pub mod cli;
pub mod config;
pub mod engine;
pub mod error;
pub mod language;
pub mod models;
pub mod outcome;
pub mod output;
pub mod pipeline;
pub mod servers;
pub mod speech;
pub mod text;
