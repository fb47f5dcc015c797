//! Small file-system helpers of this module.

use std::io;
use std::path::{Path, PathBuf};

/// The name a file has until it is complete: next to `target`, so that the last step is a rename. It names the process
/// because two processes may write the same target.
pub(super) fn temporary(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    target.with_file_name(name)
}

/// What to do about a full disk, empty for any other error.
pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space (`bestbox models list` shows sizes, `bestbox models rm NAME` removes one), or set BESTBOX_CACHE to another disk"
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
