//! (being written)
pub mod script;
pub mod units;
pub mod fidelity;
pub mod disfluency;
pub mod rules;
mod questions;
pub mod grammar;
