//! Models: what there is, where it comes from, and how it gets into the cache, checked.
//!
//! [`Store::resolve`] answers every question "which file"; [`Puller`] gets models; [`Store::import`] makes ggml files out of
//! faster-whisper folders. The cache holds `models/`, `downloads/` (archives on their way), `src/` and `bin/`
//! (llama-server), `logs/` and `run/` (locks).
//!
//! Invariants: a file under its final name in `models/` is complete; nothing of the catalogue in `models/` is used
//! before its SHA-256 was compared; no code out of a downloaded package is run.

pub mod catalog;
mod ct2;
mod disk;
mod error;
mod ggml;
pub mod gguf;
mod http;
mod import;
mod mel;
mod package;
mod pull;
mod stamp;
mod store;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use catalog::{Model, Role, Source};
pub use ct2::Ct2Error;
pub use disk::free as free_space;
pub use error::{ModelError, size};
pub use ggml::Precision;
pub use import::{ImportError, Imported};
pub use pull::{Pulled, Puller};
pub use store::{Listed, State, Store};
pub use vocabulary::VocabularyError;

use std::path::PathBuf;

/// What is going on, for whoever draws it.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A model that is not here is being got.
    Started {
        /// Catalogue name.
        name: &'a str,
        /// Size of the finished file.
        bytes: u64,
    },
    /// Another process is at work on it; it will be ours when that is done.
    Waiting {
        /// Model or package.
        name: &'a str,
    },
    /// A source is being tried.
    From(&'a str),
    /// A package is being downloaded, unless it was kept.
    Package {
        /// `name==version`.
        name: &'a str,
        /// Counted from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// Bytes downloaded or put together.
    Bytes {
        /// So far.
        done: u64,
        /// Altogether.
        total: u64,
    },
    /// Tensors converted.
    Importing {
        /// So far.
        done: u64,
        /// Altogether.
        total: u64,
    },
    /// The file is being hashed.
    Checking,
    /// Something a person should know, such as why a source was given up.
    Note(&'a str),
}

/// Receives [`Event`]s.
pub type Progress<'a> = &'a dyn Fn(Event<'_>);

/// The folder of everything that BestBox can get again: `$BESTBOX_CACHE`, else `bestbox` in the platform's cache folder.
pub fn cache_dir() -> PathBuf {
    if let Some(folder) = std::env::var_os("BESTBOX_CACHE").filter(|f| !f.is_empty()) {
        return folder.into();
    }
    directories::BaseDirs::new().map_or_else(|| PathBuf::from(".bestbox"), |dirs| dirs.cache_dir().join("bestbox"))
}
