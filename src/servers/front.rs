//! `bestbox up` tells the other bestbox of this user where its fronts are: a lock that it holds for its life, and a
//! private file beside it, one pair a tier.

use super::registry::{Process, fingerprint, open_lock, random_key};
use super::{Launcher, Port, ServerError, ServerSettings};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A tier that `bestbox up` runs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Front {
    /// The `bestbox up`.
    pub process: Process,
    /// Such as `http://127.0.0.1:8081`.
    pub url: String,
    /// What clients send as bearer token, if anything.
    pub key: Option<String>,
    /// Which settings its server has.
    pub fingerprint: String,
    /// Reloads that were asked for so far, and why the last one was refused, if it was.
    pub reloads: u32,
    pub refused: Option<String>,
}

/// The right to be the `bestbox up` of a tier.
#[derive(Debug)]
pub struct FrontLock {
    file: PathBuf,
    /// Held, not read.
    _lock: File,
}

impl Front {
    /// What `up` says about a tier that it begins to run.
    pub fn new(url: String, key: Option<String>, settings: &ServerSettings) -> Option<Self> {
        let process = Process::of(std::process::id())?;
        Some(Front { process, url, key, fingerprint: identity(settings), reloads: 0, refused: None })
    }

    /// The tier's front, if a `bestbox up` runs it.
    pub fn of(run_dir: &Path, tier: &str) -> Option<Front> {
        let front: Front = serde_json::from_slice(&fs::read(file(run_dir, tier)).ok()?).ok()?;
        // Shared, so that those who only look do not see each other.
        let look = open_lock(&lock_file(run_dir, tier)).map(|file| file.try_lock_shared());
        let held = matches!(look, Ok(Err(TryLockError::WouldBlock)));
        (held && front.process.is_running()).then_some(front)
    }

    /// The front that serves what `settings` ask for.
    pub fn serving(settings: &ServerSettings) -> Option<Front> {
        Front::of(&settings.run_dir, &settings.name).filter(|front| front.fingerprint == identity(settings))
    }
}

impl FrontLock {
    /// Takes it for `tier`; none while another `bestbox up` has it.
    ///
    /// # Errors
    /// When the registry's folder cannot be written.
    pub fn take(run_dir: &Path, tier: &str) -> Result<Option<Self>, ServerError> {
        make_dir(run_dir)?;
        let path = lock_file(run_dir, tier);
        let lock = open_lock(&path).map_err(|source| ServerError::Io { what: "open", path: path.clone(), source })?;
        // Somebody may be looking at this very moment.
        for _ in 0..40 {
            match lock.try_lock() {
                Ok(()) => return Ok(Some(FrontLock { file: file(run_dir, tier), _lock: lock })),
                Err(TryLockError::WouldBlock) if Front::of(run_dir, tier).is_some() => return Ok(None),
                Err(TryLockError::WouldBlock) => std::thread::sleep(std::time::Duration::from_millis(25)),
                Err(TryLockError::Error(source)) => return Err(ServerError::Io { what: "lock", path, source }),
            }
        }
        Ok(None)
    }

    /// Tells everybody.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn publish(&self, front: &Front) -> Result<(), ServerError> {
        let part = self.file.with_extension("part");
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(&serde_json::to_vec(front)?)?;
            fs::rename(&part, &self.file)
        };
        write().map_err(|source| ServerError::Io { what: "write", path: self.file.clone(), source })
    }
}

impl Drop for FrontLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// The key of the fronts: made once, then kept, so that other programs can be given it.
///
/// # Errors
/// When its file cannot be read or written.
pub fn front_key(path: &Path) -> Result<String, ServerError> {
    let io = |what, source| ServerError::Io { what, path: path.to_path_buf(), source };
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(io("read", error)),
    }
    if let Some(dir) = path.parent() {
        make_dir(dir)?;
    }
    let key = random_key()?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| io("write", error))?;
    file.write_all(format!("{key}\n").as_bytes()).map_err(|error| io("write", error))?;
    Ok(key)
}

/// What the server is, whatever its port and whatever runs it.
fn identity(settings: &ServerSettings) -> String {
    fingerprint(&ServerSettings { port: Port::Any, launcher: Launcher::Native, api_key: None, ..settings.clone() })
}

fn make_dir(dir: &Path) -> Result<(), ServerError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| ServerError::Io { what: "create", path: dir.to_path_buf(), source })
}

fn file(run_dir: &Path, tier: &str) -> PathBuf {
    run_dir.join(format!("up-{tier}.json"))
}

fn lock_file(run_dir: &Path, tier: &str) -> PathBuf {
    run_dir.join(format!("up-{tier}.lock"))
}
