//! What can go wrong with models.

use super::catalog::Role;
use super::disk;
use super::import::ImportError;
use std::io;
use std::path::PathBuf;

/// Why a model is not there.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Not in the catalogue and no such file.
    #[error("there is no model called {name}{}; `bestbox models list` shows all, or give the path of a file", .nearest.map(|n| format!(", did you mean {n}")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        name: String,
        /// The catalogue's nearest name.
        nearest: Option<&'static str>,
    },
    /// In the catalogue, but not on this machine.
    #[error("model {name} is not here yet: run `bestbox models pull {name}`")]
    Missing {
        /// Its catalogue name.
        name: String,
    },
    /// A name that somebody who may not name files asked for.
    #[error("there is no model called '{name}' here; choose one of the list of models")]
    NotOffered {
        /// What was asked for.
        name: String,
    },
    /// Models in use leave no room for another.
    #[error("no room to load the model {name}: it takes {}, and the models in use leave less of the {} that speech.memory_bytes allows; try again later", size(*.needed), size(*.allowed))]
    NoRoom {
        /// What was asked for.
        name: String,
        /// Bytes it takes.
        needed: u64,
        /// Bytes that all loaded models may take.
        allowed: u64,
    },
    /// No room will ever be enough.
    #[error("the model {name} takes {}, more than the {} that speech.memory_bytes allows: raise it, or choose a smaller model", size(*.needed), size(*.allowed))]
    TooLarge {
        /// What was asked for.
        name: String,
        /// Bytes it takes.
        needed: u64,
        /// Bytes that all loaded models may take.
        allowed: u64,
    },
    /// The given path holds no file.
    #[error("there is no model file {}", .0.display())]
    NoFile(PathBuf),
    /// A folder of faster-whisper was given as a model.
    #[error("{} is a CTranslate2 folder: run `bestbox models import {}` first", .0.display(), .0.display())]
    NotImported(PathBuf),
    /// The file is of another kind.
    #[error("{} is not a model for {wanted}: it {found}", .path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// The role it should fill.
        wanted: Role,
        /// What it is instead.
        found: &'static str,
    },
    /// The file is not what the catalogue says.
    #[error("{} is damaged (its SHA-256 is {found}, not {expected}): run `bestbox models rm {name}`, then `bestbox models pull {name}`", .path.display())]
    Damaged {
        /// Its catalogue name.
        name: String,
        /// The file.
        path: PathBuf,
        /// SHA-256 it should have.
        expected: String,
        /// SHA-256 it has.
        found: String,
    },
    /// No source gave the model; the reasons in order.
    #[error("cannot get model {name}: {}", .reasons.join("; "))]
    NoSource {
        /// Its catalogue name.
        name: String,
        /// One sentence a source.
        reasons: Vec<String>,
    },
    /// One source failed; the next is tried.
    #[error("{0}")]
    Source(String),
    /// Too little room.
    #[error("{} has {} free, {} are needed: free some space (`bestbox models list` shows sizes, `bestbox models rm NAME` removes one) or set BESTBOX_CACHE to a folder on another disk", .folder.display(), size(*.free), size(*.needed))]
    Full {
        /// The folder to be written to.
        folder: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}{}", .path.display(), disk::hint(.source))]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process is at work on the same model.
    #[error("model {name} is in use by another bestbox that pulls or imports it; try again when it is done")]
    Busy {
        /// Its catalogue name.
        name: String,
    },
    /// An import failed.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The caller gave up.
    #[error("cancelled; what has been downloaded is kept, the same command goes on from there")]
    Cancelled,
}

impl ModelError {
    /// Whether another source may still help: not when the disk is full or the caller gave up.
    pub(super) fn is_of_source(&self) -> bool {
        matches!(self, ModelError::Source(_) | ModelError::Import(ImportError::Model(_) | ImportError::Vocabulary(_)))
    }
}

/// Bytes for a person: `491 MB`, `1.1 GB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
