//! The models on this machine: finding, listing, checking, removing.

use super::catalog::{self, Model, Role};
use super::disk;
use super::error::ModelError;
use super::ggml::Precision;
use super::import::{self, Imported};
use super::stamp::Stamp;
use super::{Event, Progress};
use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Where models are: the cache, which `pull`, `import` and `rm` write to, and the user's own folders, only read.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) cache: PathBuf,
    folders: Vec<PathBuf>,
}

/// One line of `models list`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Listed {
    /// Catalogue name; the file name for a file that is not in the catalogue.
    pub name: String,
    /// What it is for; `None` when the file says nothing.
    pub role: Option<Role>,
    /// Size: of the file when it is here, else what the catalogue says.
    pub bytes: u64,
    /// Where the file is; `None`: not here.
    pub path: Option<PathBuf>,
    /// How far it can be trusted.
    pub state: State,
    /// SPDX name; empty when unknown.
    pub licence: String,
    /// Language codes, or `multilingual`.
    pub languages: Vec<String>,
}

/// How far a model can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In the catalogue, not on this machine.
    NotHere,
    /// Part of it was downloaded; `pull` goes on from there.
    Partial,
    /// Here, and its SHA-256 is the one pinned, or the one its publisher stated when it was pulled.
    Checked,
    /// Here, not hashed since it last changed; that is done on first use.
    Unchecked,
    /// Here, with nothing to check it against: a file of the user's.
    NotPinned,
}

impl Store {
    /// Models in `cache` (see [`super::cache_dir`]) and in `folders`.
    pub fn new(cache: impl Into<PathBuf>, folders: Vec<PathBuf>) -> Store {
        Store { cache: cache.into(), folders }
    }

    /// The folder that `pull` and `import` write to.
    pub fn models(&self) -> PathBuf {
        self.cache.join("models")
    }

    /// The file for `spec`, ready to use as `role`: a catalogue name, a file name in one of the folders, or a path. A
    /// file of the catalogue in the cache is hashed on first use after a change.
    ///
    /// # Errors
    /// [`ModelError`], which says what to run when the model is missing or damaged.
    pub fn resolve(&self, spec: &str, role: Role) -> Result<PathBuf, ModelError> {
        let path = self.locate(spec)?;
        check_kind(&path, role)?;
        if let Some(model) = self.pinned_by_catalogue(&path) {
            self.check(model, &path, &CancellationToken::new())?;
        }
        Ok(path)
    }

    /// As [`Store::resolve`] for a name that a stranger gave: a catalogue name or the name of a file in one of the model
    /// folders. Never a path, never a file anywhere else, and no error tells where anything is.
    ///
    /// # Errors
    /// [`ModelError::Missing`] for a model of the catalogue that is not here, [`ModelError::NotOffered`] for all else.
    pub fn resolve_named(&self, name: &str, role: Role) -> Result<PathBuf, ModelError> {
        let not_offered = || ModelError::NotOffered { name: name.chars().take(80).collect() };
        let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_.+ ".contains(c));
        if !plain || name.starts_with('.') {
            return Err(not_offered());
        }
        let path = match self.locate(name) {
            Err(ModelError::Missing { name: known }) if catalog::find(&known).is_some_and(|m| m.role == role) => {
                return Err(ModelError::Missing { name: known });
            }
            path => path.map_err(|_| not_offered())?,
        };
        // `locate` also looks in the working folder.
        let inside = |folder: &Path| path.parent() == Some(folder);
        if !self.folders.iter().any(|folder| inside(folder)) && !inside(&self.models()) {
            return Err(not_offered());
        }
        if check_kind(&path, role).is_err() {
            return Err(not_offered());
        }
        if let Some(model) = self.pinned_by_catalogue(&path) {
            self.check(model, &path, &CancellationToken::new()).map_err(|error| {
                // For the operator; the stranger is not told of files.
                tracing::warn!(%error, "a model that was asked for cannot be used");
                not_offered()
            })?;
        }
        Ok(path)
    }

    /// The file for `spec` without any check, for `models path`.
    ///
    /// # Errors
    /// [`ModelError`] when it is not on this machine.
    pub fn locate(&self, spec: &str) -> Result<PathBuf, ModelError> {
        let home = directories::BaseDirs::new().map(|d| d.home_dir().to_owned());
        let given = match (spec.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(spec),
        };
        if given.components().count() > 1 || given.is_absolute() {
            return if given.is_file() {
                Ok(given)
            } else if given.join("model.bin").is_file() {
                Err(ModelError::NotImported(given))
            } else {
                Err(ModelError::NoFile(given))
            };
        }
        let known = catalog::find(spec);
        let names = known.map(|m| m.file.clone()).into_iter();
        let names: Vec<_> = names
            .chain(["", ".gguf", ".bin"].iter().map(|end| format!("{spec}{end}")))
            .chain([format!("ggml-{spec}.bin")])
            .collect();
        let folders = self.folders.iter().cloned().chain([self.models(), PathBuf::new()]);
        let found = folders.flat_map(|f| names.iter().map(move |n| f.join(n))).find(|p| p.is_file());
        found.ok_or_else(|| match known {
            Some(model) => ModelError::Missing { name: model.name.clone() },
            None if given.join("model.bin").is_file() => ModelError::NotImported(given),
            None => ModelError::Unknown { name: spec.into(), nearest: catalog::nearest(spec) },
        })
    }

    /// Every model of the catalogue, then the other model files in the folders.
    pub fn list(&self) -> Vec<Listed> {
        let mut listed: Vec<Listed> = catalog::all().iter().map(|m| self.listed(m)).collect();
        let known: Vec<PathBuf> = listed.iter().filter_map(|l| l.path.clone()).collect();
        for folder in self.folders.iter().cloned().chain([self.models()]) {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
            paths.sort();
            for path in paths.into_iter().filter(|p| !known.contains(p)) {
                let Some(role) = kind(&path) else { continue };
                listed.push(Listed {
                    name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                    role: Some(role),
                    bytes: fs::metadata(&path).map_or(0, |m| m.len()),
                    path: Some(path),
                    state: State::NotPinned,
                    licence: String::new(),
                    languages: Vec::new(),
                });
            }
        }
        listed
    }

    fn listed(&self, model: &Model) -> Listed {
        let path = self.locate(&model.name).ok();
        let state = match &path {
            None if disk::beside(&self.models().join(&model.file), "part").exists() => State::Partial,
            None => State::NotHere,
            // In a folder of the user's it may be a model of his own.
            Some(path) if path.parent() != Some(&self.models()) => State::NotPinned,
            Some(path) => match (Stamp::load(path).filter(|s| s.fits(path)), &model.sha256) {
                (Some(stamp), Some(pinned)) if stamp.sha256 == *pinned => State::Checked,
                (Some(stamp), None) if stamp.checked => State::Checked,
                (_, None) => State::NotPinned,
                (_, Some(_)) => State::Unchecked,
            },
        };
        Listed {
            name: model.name.clone(),
            role: Some(model.role),
            bytes: path.as_ref().and_then(|p| fs::metadata(p).ok()).map_or(model.bytes, |m| m.len()),
            path,
            state,
            licence: model.licence.clone(),
            languages: model.languages.clone(),
        }
    }

    /// Hashes the model `spec` now, whatever was remembered, and returns its file, state and SHA-256.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] when it is not what it should be.
    pub fn verify(&self, spec: &str, cancel: &CancellationToken) -> Result<(PathBuf, State, String), ModelError> {
        let path = self.locate(spec)?;
        let found = disk::sha256(&path, cancel)?;
        let Some(model) = self.pinned_by_catalogue(&path).or_else(|| catalog::find(spec)) else {
            return Ok((path, State::NotPinned, found));
        };
        let state = compare(model, &path, &found)?;
        Ok((path, state, found))
    }

    /// Removes a model from the cache, with what was remembered and half downloaded. Returns the bytes freed.
    ///
    /// # Errors
    /// [`ModelError`] when it is not in the cache, or another process is pulling it.
    pub fn remove(&self, spec: &str) -> Result<u64, ModelError> {
        let file = match catalog::find(spec) {
            Some(model) => self.models().join(&model.file),
            None => self.locate(spec)?,
        };
        if file.parent() != Some(&self.models()) {
            return Err(ModelError::Unknown { name: spec.into(), nearest: catalog::nearest(spec) });
        }
        let lock = self.lock_file(&file)?;
        if lock.try_lock().is_err() {
            return Err(ModelError::Busy { name: spec.into() });
        }
        let all = [
            file.clone(),
            disk::beside(&file, "part"),
            disk::beside(&file, "part.json"),
            disk::beside(&file, "import"),
        ];
        let freed: u64 = all.iter().filter_map(|p| fs::metadata(p).ok()).map(|m| m.len()).sum();
        if !all.iter().any(|p| p.exists()) {
            return Err(ModelError::Missing { name: spec.into() });
        }
        all.iter().try_for_each(|p| disk::remove(p))?;
        Stamp::forget(&file)?;
        Ok(freed)
    }

    /// Imports the CTranslate2 folder `folder` (what faster-whisper uses) as `ggml-NAME.bin`; without a name that of the folder and the
    /// type, such as `ggml-faster-whisper-small-q8_0.bin`.
    ///
    /// # Errors
    /// [`ModelError`] when the folder is damaged or of another kind, or the result cannot be written.
    pub fn import(
        &self,
        folder: &Path,
        precision: Precision,
        name: Option<&str>,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<Imported, ModelError> {
        let read = |source| ModelError::Read { path: folder.into(), source };
        let full = folder.canonicalize().map_err(read)?;
        let own = full.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let own = format!("{own}-{precision}");
        let clean: String = name
            .unwrap_or(&own)
            .chars()
            .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' })
            .collect();
        let clean = clean.trim_start_matches('.').trim_start_matches("ggml-").trim_end_matches(".bin");
        let target = self.models().join(format!("ggml-{clean}.bin"));
        disk::folder(&self.models())?;
        let _lock = self.lock(&target, &target.display().to_string(), progress, cancel)?;
        let size = fs::metadata(folder.join("model.bin")).map_or(0, |m| m.len());
        disk::require(&self.models(), size)?;
        let done = import::import(folder, &target, precision, &mut |done, total| {
            progress(Event::Importing { done, total });
            !cancel.is_cancelled()
        })?;
        let Some(done) = done else { return Err(ModelError::Cancelled) };
        Stamp::of(&target, &done.sha256, &format!("imported from {}", full.display()))?.save(&target)?;
        Ok(done)
    }

    /// The catalogue's model when `path` is its file in the cache: those are checked. The same name in a folder of the
    /// user's may be a model of his own.
    fn pinned_by_catalogue(&self, path: &Path) -> Option<&'static Model> {
        let name = path.file_name()?.to_str()?;
        let model = catalog::all().iter().find(|m| m.file == name)?;
        (path.parent() == Some(&self.models())).then_some(model)
    }

    /// Checks the file of a catalogue model unless that was done since it last changed.
    pub(super) fn check(&self, model: &Model, path: &Path, cancel: &CancellationToken) -> Result<(), ModelError> {
        let stamp = Stamp::load(path);
        let right = |s: &Stamp| model.sha256.as_ref().is_none_or(|sha| *sha == s.sha256);
        if stamp.as_ref().is_some_and(|s| right(s) && s.fits(path)) {
            return Ok(());
        }
        let found = disk::sha256(path, cancel)?;
        let state = compare(model, path, &found)?;
        let source = stamp.map_or_else(|| "found in the models folder".into(), |s| s.source);
        let stamp = Stamp::of(path, &found, &source).map(|s| s.checked(state == State::Checked));
        // Only a saving of time: a models folder that cannot be written is hashed at each start.
        if let Err(error) = stamp.and_then(|s| s.save(path)) {
            tracing::debug!(%error, "cannot remember that the model was checked");
        }
        Ok(())
    }

    /// Waits for the right to write `file`; no two processes ever have it.
    pub(super) fn lock(
        &self,
        file: &Path,
        name: &str,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<File, ModelError> {
        let lock = self.lock_file(file)?;
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(ModelError::Write { path: file.into(), source }),
            }
            if !std::mem::replace(&mut told, true) {
                progress(Event::Waiting { name });
            }
            if cancel.is_cancelled() {
                return Err(ModelError::Cancelled);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Lock files are never removed: another process may hold the one that would be unlinked.
    fn lock_file(&self, file: &Path) -> Result<File, ModelError> {
        let folder = self.cache.join("run");
        disk::folder(&folder)?;
        let name = disk::beside(file, "lock");
        let path = folder.join(name.file_name().unwrap_or_default());
        let open = fs::OpenOptions::new().create(true).append(true).open(&path);
        open.map_err(|source| ModelError::Write { path, source })
    }
}

/// Holds a hash against the pinned one, or against the one remembered from the first pull.
fn compare(model: &Model, path: &Path, found: &str) -> Result<State, ModelError> {
    let remembered = Stamp::load(path).filter(|s| s.checked).map(|s| s.sha256);
    match model.sha256.clone().or(remembered) {
        None => Ok(State::NotPinned),
        Some(expected) if expected == found => Ok(State::Checked),
        Some(expected) => {
            Err(ModelError::Damaged { name: model.name.clone(), path: path.into(), expected, found: found.into() })
        }
    }
}

/// What a file is by its first four bytes.
fn kind(path: &Path) -> Option<Role> {
    let mut magic = [0; 4];
    if path.extension().is_none_or(|e| e != "gguf" && e != "bin") {
        return None;
    }
    File::open(path).ok()?.read_exact(&mut magic).ok()?;
    match &magic {
        b"GGUF" => Some(Role::Llm),
        b"lmgg" => Some(Role::Whisper),
        _ => None,
    }
}

fn check_kind(path: &Path, wanted: Role) -> Result<(), ModelError> {
    let mut magic = Vec::new();
    let file = File::open(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
    file.take(4).read_to_end(&mut magic).map_err(|source| ModelError::Read { path: path.into(), source })?;
    let found = match (magic.as_slice(), wanted) {
        (b"GGUF", Role::Llm) | (b"lmgg", Role::Whisper | Role::Vad) => return Ok(()),
        (b"GGUF", _) => "is a language model (GGUF)",
        (b"lmgg", _) => "is a speech model (ggml)",
        _ => "is neither GGUF nor ggml",
    };
    Err(ModelError::WrongKind { path: path.into(), wanted, found })
}
