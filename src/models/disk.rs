//! Small file-system helpers of this module.

use super::ModelError;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// `path` with `.suffix` behind its name: next to it, so that the last step is a rename.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// What to do about a full disk or a folder that cannot be written; empty for any other error.
pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space (`bestbox models list` shows sizes, `bestbox models rm NAME` removes one) or set BESTBOX_CACHE to a folder on another disk"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; set BESTBOX_CACHE to a folder that you may write to"
        }
        _ => "",
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of a file.
///
/// # Errors
/// When it cannot be read, or `cancel` came first.
pub(super) fn sha256(path: &Path, cancel: &CancellationToken) -> Result<String, ModelError> {
    let read = |source| ModelError::Read { path: path.into(), source };
    let mut file = File::open(path).map_err(read)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        if cancel.is_cancelled() {
            return Err(ModelError::Cancelled);
        }
        match file.read(&mut buffer).map_err(read)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Bytes that this user may still write to the disk that holds `folder`; `None` where the system does not say.
pub fn free(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let stat = nix::sys::statvfs::statvfs(folder).ok()?;
        // The C types differ between systems.
        #[allow(clippy::unnecessary_cast)]
        Some(stat.blocks_available() as u64 * stat.fragment_size() as u64)
    }
    #[cfg(not(unix))]
    {
        _ = folder;
        None
    }
}

/// Bytes in a file, or in all files of a folder and those below it.
pub(super) fn used(path: &Path) -> u64 {
    let Ok(data) = fs::symlink_metadata(path) else { return 0 };
    if !data.is_dir() {
        return data.len();
    }
    fs::read_dir(path).map_or(0, |entries| entries.flatten().map(|e| used(&e.path())).sum())
}

/// Fails early when `needed` bytes will not fit on the disk of `folder`.
pub(super) fn require(folder: &Path, needed: u64) -> Result<(), ModelError> {
    match free(folder) {
        Some(free) if free < needed => Err(ModelError::Full { folder: folder.into(), needed, free }),
        _ => Ok(()),
    }
}

/// Makes a folder and those above it.
pub(super) fn folder(path: &Path) -> Result<(), ModelError> {
    fs::create_dir_all(path).map_err(|source| ModelError::Write { path: path.into(), source })
}

/// Removes a file; one that is not there is fine.
pub(super) fn remove(path: &Path) -> Result<(), ModelError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(ModelError::Write { path: path.into(), source }),
        _ => Ok(()),
    }
}

/// A folder for work in progress, empty at first and gone at the end. Its name is fixed, so what a killed process left
/// is cleared by the next one; the caller holds the lock that makes that safe.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub fn new(path: PathBuf) -> Result<Scratch, ModelError> {
        let scratch = Scratch(path);
        scratch.clear();
        folder(&scratch.0)?;
        Ok(scratch)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    fn clear(&self) {
        // A folder that stays is cleared by the next user of its name.
        _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.clear();
    }
}
