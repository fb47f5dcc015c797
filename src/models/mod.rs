//! Models: what there is, where it comes from, and how it gets into the cache, checked.

mod ct2;
mod disk;
pub mod ggml;
pub mod import;
mod mel;
mod vocabulary;

pub use ggml::Precision;
pub use import::{ImportError, Imported, import};
