//! Cleanup that cannot change the speaker's words.
//!
//! `punctuate` and `tidy` let a language model set marks, capitals and paragraphs under a grammar that spells the words
//! in their order ([`grammar`]); what comes back is checked once more, independently ([`fidelity`]); rules without a
//! model are the last resort ([`rules`]). Only `rewrite` may change words, and only within guards ([`rewrite`]).
//! Spoken punctuation, replacements, vocabulary and number forms are applied before, on purpose outside that property:
//! [`Cleaner::prepare`].

mod chunks;
mod disfluency;
mod fidelity;
mod grammar;
mod model;
#[cfg(test)]
mod properties;
mod prompt;
mod questions;
mod rules;
mod script;
mod units;

pub use fidelity::words;
