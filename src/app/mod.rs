//! The commands.

pub mod wer;
