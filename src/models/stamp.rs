//! Remembers that a file was checked, so that gigabytes are not hashed at every start: its size, modification time and
//! SHA-256, in the models folder's `.checked`.

use super::ModelError;
use super::disk;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// What was known about a file when it was last hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    bytes: u64,
    /// Nanoseconds since 1970, as text: JSON numbers hold 53 bits.
    modified: String,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Where the file came from, in words.
    pub source: String,
    /// The SHA-256 was compared with one that was pinned or stated by the publisher.
    #[serde(default)]
    pub checked: bool,
}

impl Stamp {
    /// Describes `path` as it is now.
    pub fn of(path: &Path, sha256: &str, source: &str) -> Result<Stamp, ModelError> {
        let data = fs::metadata(path).map_err(|e| ModelError::Read { path: path.into(), source: e })?;
        let modified = data.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Ok(Stamp {
            bytes: data.len(),
            modified: modified.as_nanos().to_string(),
            sha256: sha256.into(),
            source: source.into(),
            checked: false,
        })
    }

    /// The same, with `checked` as given.
    pub fn checked(self, checked: bool) -> Stamp {
        Stamp { checked, ..self }
    }

    /// The stamp of `path`, whether it still fits or not.
    pub fn load(path: &Path) -> Option<Stamp> {
        serde_json::from_slice(&fs::read(file(path)).ok()?).ok()
    }

    /// Whether the file has the size and time it had when it was hashed.
    pub fn fits(&self, path: &Path) -> bool {
        Stamp::of(path, &self.sha256, &self.source)
            .is_ok_and(|now| (now.bytes, now.modified) == (self.bytes, self.modified.clone()))
    }

    /// Writes the stamp of `path`.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let target = file(path);
        let write = |source| ModelError::Write { path: target.clone(), source };
        if let Some(parent) = target.parent() {
            disk::folder(parent)?;
        }
        let part = disk::beside(&target, &format!("{}.part", std::process::id()));
        fs::write(&part, serde_json::to_vec_pretty(self).unwrap_or_default()).map_err(write)?;
        fs::rename(&part, &target).map_err(write)
    }

    /// Forgets `path`.
    pub fn forget(path: &Path) -> Result<(), ModelError> {
        disk::remove(&file(path))
    }
}

fn file(path: &Path) -> PathBuf {
    let name = disk::beside(path, "json");
    path.with_file_name(".checked").join(name.file_name().unwrap_or_default())
}
