//! Text steps. Each file holds the prompt and the parser of one step side by side; only `llm` speaks HTTP.

pub mod clean;
pub mod intent;
pub mod llm;
pub mod translate;
