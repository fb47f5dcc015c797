//! One service a data folder: two would remove each other's uploads and run the same jobs.

use crate::error::Error;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

/// The right to a data folder. The kernel gives it back when this process ends, however it ends.
pub(super) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the folder, which is made if it is not there.
    ///
    /// # Errors
    /// When another service has it, or it cannot be written to.
    pub fn take(folder: &Path) -> Result<Self, Error> {
        let shown = folder.display();
        let unusable = |error| Error::Usage(format!("cannot use the folder {shown}: {error}; set serve.data_dir"));
        std::fs::create_dir_all(folder).map_err(unusable)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(folder.join("lock")).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(DataLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Usage(format!(
                "another bestbox serve uses the data folder {shown}; end it, or set serve.data_dir to another folder"
            ))),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_service_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let first = DataLock::take(&data).expect("the folder is free");
        let refused = DataLock::take(&data).err().expect("it is taken").to_string();
        assert!(refused.contains("another bestbox serve") && refused.contains("serve.data_dir"), "{refused}");
        drop(first);
        DataLock::take(&data).expect("it is free again");
    }
}
