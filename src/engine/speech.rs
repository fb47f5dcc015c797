//! Speech models by name: loaded when somebody asks for one, kept while in use and some time after, several at once within
//! a memory budget. One set of recogniser threads works for all of them.

use super::settings;
use super::shelf::{Claim, Ended, Shelf, Use, Wanted};
use crate::config::Config;
use crate::error::Error;
use crate::language::Lang;
use crate::models::{ModelError, Role, Store, catalog};
use crate::speech::model::PoolModel;
use crate::speech::queue::Ticket;
use crate::speech::whisper::{Footprint, Model};
use crate::speech::worker::{PoolStats, Recognizers, Turn, Watcher};
use crate::speech::{SpeechError, SpeechOptions, Transcript, Utterance};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use super::shelf::{LoadState, LoadedModel};

/// How long somebody waits for room before being told to come back: a few utterances of a run that is about to end, and
/// less than clients and proxies wait for a first byte.
const ROOM_WAIT: Duration = Duration::from_secs(20);

/// How long the memory of an unloaded model is waited for: the one utterance in work on it at most.
const RELEASE_WAIT: Duration = Duration::from_secs(30);

/// The speech models of an engine. Cheap to clone.
#[derive(Clone)]
pub struct SpeechModels(Arc<Inner>);

/// A speech model on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct InstalledModel {
    /// Catalogue name, or file name: what a request calls it.
    pub name: String,
    /// Size of the file, bytes.
    pub bytes: u64,
    /// Language codes, or `multilingual`; empty where nobody knows.
    pub languages: Vec<String>,
    /// When the file was last changed, seconds since 1970; 0 where nobody knows.
    pub changed: u64,
    /// Set while it is loaded or being loaded.
    pub loaded: Option<LoadedModel>,
}

/// What became of [`SpeechModels::unload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unloaded {
    /// Its memory is free.
    Done,
    /// So many runs use it, or it is still being loaded: nothing was done.
    InUse(usize),
    /// It was not loaded.
    NotLoaded,
}

/// A model that stays loaded as long as this lives.
pub struct Lease {
    model: PoolModel,
    name: String,
    held: Held,
}

impl Lease {
    /// Catalogue name, or file name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Text of one utterance when it is its turn. Dropping the future gives the place up at once, or ends the work.
    ///
    /// # Errors
    /// See [`SpeechError`].
    pub async fn recognize(
        &self,
        utterance: Utterance,
        options: SpeechOptions,
        ticket: Ticket,
        cancel: CancellationToken,
    ) -> Result<Transcript, SpeechError> {
        let pool = &self.held.models.0.pool;
        pool.recognize_by(&self.model, utterance, options, Turn { ticket, cancel }).await
    }

    /// Language of one utterance, with its probability, when it is its turn.
    ///
    /// # Errors
    /// See [`SpeechError`].
    pub async fn detect_language(
        &self,
        utterance: Utterance,
        ticket: Ticket,
        cancel: CancellationToken,
    ) -> Result<(Lang, f32), SpeechError> {
        let pool = &self.held.models.0.pool;
        pool.detect_language_by(&self.model, utterance, Turn { ticket, cancel }).await
    }
}

/// The file for a name.
type Find = Box<dyn Fn(Option<&str>) -> Result<Wanted, Error> + Send + Sync>;
/// A file to a model.
type Load = Box<dyn Fn(&Wanted) -> Result<PoolModel, SpeechError> + Send + Sync>;

/// Where models come from; tests have their own.
pub(super) struct Source {
    /// The file for a name of a client's, or the configured one.
    pub find: Find,
    /// Reads the file and makes the recognisers.
    pub load: Load,
}

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long an unused model stays; `None`: for ever.
    pub keep_alive: Option<Duration>,
    /// Bytes that all models may take together; 0: no limit.
    pub memory: u64,
    /// How long somebody waits for room.
    pub room_wait: Duration,
}

struct Inner {
    source: Source,
    limits: Limits,
    pool: Recognizers,
    store: Store,
    // std: held for a few steps over a handful of entries.
    shelf: Mutex<Shelf>,
    /// Fires whenever a model was loaded or given back.
    changed: watch::Sender<()>,
    /// The configured model's file, once it was found.
    configured: Mutex<Option<Wanted>>,
}

impl SpeechModels {
    /// The models of a configuration; none is loaded. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`SpeechError::Failed`] when there is no thread to be had.
    pub(super) fn new(config: &Config, store: &Store) -> Result<Self, SpeechError> {
        let seconds = config.speech.keep_alive_seconds;
        let limits = Limits {
            keep_alive: (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds)),
            memory: config.speech.memory_bytes,
            room_wait: ROOM_WAIT,
        };
        let pool = settings::pool(config);
        let (of, files) = (config.clone(), store.clone());
        let find = move |name: Option<&str>| find(&of, &files, name);
        let of = config.clone();
        let load = move |wanted: &Wanted| {
            let model = Model::load(&settings::model(&of, wanted.path.clone()))?;
            let model = PoolModel::whisper(model, pool.threads_each);
            model.prepare(pool.recognizers)?;
            Ok(model)
        };
        let source = Source { find: Box::new(find), load: Box::new(load) };
        Ok(Self::with(source, limits, Recognizers::start_empty(pool)?, store.clone()))
    }

    pub(super) fn with(source: Source, limits: Limits, pool: Recognizers, store: Store) -> Self {
        let (changed, changes) = watch::channel(());
        let shelf = Mutex::new(Shelf::new(limits.memory));
        let inner = Arc::new(Inner { source, limits, pool, store, shelf, changed, configured: Mutex::default() });
        if let Some(keep_alive) = limits.keep_alive {
            tokio::spawn(unload_unused(Arc::downgrade(&inner), keep_alive, changes));
        }
        SpeechModels(inner)
    }

    /// Loads the configured model ahead of its first use.
    ///
    /// # Errors
    /// As [`SpeechModels::lease`].
    pub(super) async fn preload(&self) -> Result<(), Error> {
        let wanted = self.find(None).await?;
        let (_, held) = self.hold(&wanted).await?;
        held.untouched();
        Ok(())
    }

    /// A model, loaded when it is not: `model` as a client names it, `None`: the configured one. Several who wait for
    /// the same model wait for one load. Dropping the future gives up the wait, not the load.
    ///
    /// # Errors
    /// [`ModelError`] for a name that is not offered, a model that is not here or too large; [`ModelError::NoRoom`] when
    /// the models in use left no room for some time; [`SpeechError`] when the file cannot be used.
    pub async fn lease(&self, model: Option<&str>) -> Result<Lease, Error> {
        let wanted = self.find(model).await?;
        let (model, held) = self.hold(&wanted).await?;
        Ok(Lease { model, name: wanted.name, held })
    }

    /// Every speech model on this machine, by name, with what is loaded.
    pub async fn list(&self) -> Vec<InstalledModel> {
        let models = self.clone();
        tokio::task::spawn_blocking(move || models.installed()).await.unwrap_or_default()
    }

    /// What is loaded or being loaded, by name.
    pub fn loaded(&self) -> Vec<LoadedModel> {
        self.shelf().list(Instant::now())
    }

    /// Unloads a model by the name that [`SpeechModels::loaded`] gives, unless it is in use.
    pub async fn unload(&self, name: &str) -> Unloaded {
        let removed = self.shelf().remove(|wanted| wanted.name == name);
        match removed {
            Some(Ok((wanted, model))) => {
                release(&wanted.name, model).await;
                self.0.changed.send_replace(());
                Unloaded::Done
            }
            Some(Err(users)) => Unloaded::InUse(users),
            None => Unloaded::NotLoaded,
        }
    }

    /// The recogniser threads and their queue at this moment.
    pub fn stats(&self) -> PoolStats {
        self.0.pool.stats()
    }

    /// From now on `watcher` is told of every utterance that went through a recogniser. There is one.
    pub fn watch(&self, watcher: Watcher) {
        self.0.pool.watch(watcher);
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn configured(&self) -> MutexGuard<'_, Option<Wanted>> {
        self.0.configured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file behind a name. Looks at the disk, but for the configured model when that is loaded.
    async fn find(&self, model: Option<&str>) -> Result<Wanted, Error> {
        if model.is_none() {
            let known = self.configured().clone();
            if let Some(wanted) = known.filter(|wanted| self.shelf().is_ready(&wanted.path)) {
                return Ok(wanted);
            }
        }
        let (inner, name) = (self.0.clone(), model.map(ToOwned::to_owned));
        let looking = tokio::task::spawn_blocking(move || (inner.source.find)(name.as_deref()));
        let wanted = looking.await.map_err(|panic| Error::Usage(format!("looking for a model failed: {panic}")))??;
        if model.is_none() {
            *self.configured() = Some(wanted.clone());
        }
        Ok(wanted)
    }

    /// Begins a use of a model and waits until it can be worked with.
    async fn hold(&self, wanted: &Wanted) -> Result<(PoolModel, Held), Error> {
        let (needed, allowed) = (wanted.bytes, self.0.limits.memory);
        if allowed > 0 && needed > allowed {
            return Err(ModelError::TooLarge { name: wanted.name.clone(), needed, allowed }.into());
        }
        let deadline = tokio::time::Instant::now() + self.0.limits.room_wait;
        let mut changes = self.0.changed.subscribe();
        let (mut ended, held) = loop {
            let claim = self.shelf().claim(wanted, Instant::now());
            match claim {
                Claim::Ready(model, used) => return Ok((model, self.held(used))),
                Claim::Loading(ended, used) => break (ended, self.held(used)),
                Claim::Load(out, ended, used) => {
                    tokio::spawn(self.clone().load(wanted.clone(), out, used.clone()));
                    break (ended, self.held(used));
                }
                Claim::NoRoom => {
                    // The sender lives in `self`: only the deadline ends this.
                    if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                        return Err(ModelError::NoRoom { name: wanted.name.clone(), needed, allowed }.into());
                    }
                }
            }
        };
        let ended: Ended = ended.wait_for(Option::is_some).await.map(|ended| ended.clone()).unwrap_or_default();
        match ended {
            Some(Ok(model)) => {
                self.shelf().begun(&held.used);
                Ok((model, held))
            }
            Some(Err(error)) => Err(Error::Speech(SpeechError::Load(error))),
            None => Err(Error::Speech(SpeechError::Stopped)),
        }
    }

    /// A load; its own task, so that nobody who gives up takes it from the others.
    async fn load(self, wanted: Wanted, out: Vec<PoolModel>, used: Use) {
        for model in out {
            release("the longest unused one", model).await;
        }
        let begun = Instant::now();
        let (inner, what) = (self.0.clone(), wanted.clone());
        let loading = tokio::task::spawn_blocking(move || (inner.source.load)(&what)).await;
        let result = loading
            .unwrap_or_else(|panic| Err(SpeechError::Failed { doing: "loading the model", why: panic.to_string() }));
        match &result {
            Ok(_) => {
                let seconds = begun.elapsed().as_secs_f64();
                tracing::info!(model = wanted.name, bytes = wanted.bytes, seconds, "speech model loaded");
            }
            Err(error) => tracing::warn!(model = wanted.name, %error, "a speech model cannot be loaded"),
        }
        self.shelf().loaded(&used, result.map_err(Arc::new), Instant::now());
        self.0.changed.send_replace(());
    }

    fn held(&self, used: Use) -> Held {
        Held { models: self.clone(), used }
    }

    fn installed(&self) -> Vec<InstalledModel> {
        let mut loaded = self.loaded();
        let mut take = |name: &str| loaded.iter().position(|l| l.name == name).map(|at| loaded.swap_remove(at));
        let listed = self.0.store.list().into_iter().filter(|listed| listed.role == Some(Role::Whisper));
        let mut list: Vec<InstalledModel> = listed
            .filter_map(|listed| {
                let path = listed.path?;
                let loaded = take(&listed.name);
                let (bytes, languages) = (listed.bytes, listed.languages);
                Some(InstalledModel { name: listed.name, bytes, languages, changed: changed(&path), loaded })
            })
            .collect();
        // The operator's own, wherever it is.
        if let Ok(wanted) = (self.0.source.find)(None)
            && list.iter().all(|model| model.name != wanted.name)
        {
            let loaded = take(&wanted.name);
            let bytes = std::fs::metadata(&wanted.path).map_or(0, |meta| meta.len());
            let (changed, languages) = (changed(&wanted.path), Vec::new());
            list.push(InstalledModel { name: wanted.name, bytes, languages, changed, loaded });
        }
        list.sort_by(|a, b| a.name.cmp(&b.name));
        // Of two files with one name only the first folder's can be asked for.
        list.dedup_by(|a, b| a.name == b.name);
        list
    }
}

/// A use of a model, given back when dropped.
struct Held {
    models: SpeechModels,
    used: Use,
}

impl Held {
    /// Ends a use that was none: the first one is still to come.
    fn untouched(self) {
        self.models.shelf().spare(&self.used);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.models.shelf().give_back(&self.used, Instant::now());
        self.models.0.changed.send_replace(());
    }
}

/// Unloads what nobody has used for `keep_alive`; ends with the models.
async fn unload_unused(models: Weak<Inner>, keep_alive: Duration, mut changes: watch::Receiver<()>) {
    loop {
        let Some(inner) = models.upgrade() else { return };
        let (out, next) = SpeechModels(inner).shelf().expire(keep_alive, Instant::now());
        for (wanted, model) in out {
            release(&wanted.name, model).await;
        }
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Frees a model off the async threads, and waits until an utterance that is still in work on it is done.
async fn release(name: &str, model: PoolModel) {
    tracing::info!(model = name, "speech model unloaded");
    let remains = model.remains();
    // A panic while freeing leaves nothing to be done.
    let _ = tokio::task::spawn_blocking(move || drop(model)).await;
    let begun = Instant::now();
    while !remains.are_gone() && begun.elapsed() < RELEASE_WAIT {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The file for a client's name, or the configured one, which may be anywhere.
fn find(config: &Config, store: &Store, name: Option<&str>) -> Result<Wanted, Error> {
    let speech = &config.speech;
    let configured = |name: &str| name == speech.model || name == called(Path::new(&speech.model));
    let recognizers = settings::pool(config).recognizers;
    let (path, bytes) = match name.filter(|name| !configured(name)) {
        Some(name) => {
            let path = store.resolve_named(name, Role::Whisper)?;
            let footprint = Footprint::of(&path).map_err(|error| {
                // For the operator; a client is not told of files.
                tracing::warn!(%error, "a model that was asked for cannot be used");
                ModelError::NotOffered { name: called(&path) }
            })?;
            (path, footprint.total(recognizers))
        }
        None => {
            let path = store.resolve(&speech.model, Role::Whisper)?;
            let footprint = Footprint::of(&path)?;
            (path, footprint.total(recognizers))
        }
    };
    let name = called(&path);
    let path = path.canonicalize().unwrap_or(path);
    Ok(Wanted { path, name, bytes })
}

/// What a model file is called: its catalogue name, or its file name.
fn called(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let known = catalog::all().iter().find(|model| model.file == file);
    known.map_or_else(|| file.clone().into_owned(), |model| model.name.clone())
}

fn changed(path: &Path) -> u64 {
    let changed = std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let since = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
