//! Which speech models are loaded, who uses them, and which goes when another needs its room. No threads, no clock and no
//! files in here.

use crate::speech::SpeechError;
use crate::speech::model::PoolModel;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A model that was loaded ahead of its first use stays at least so long, so that it is there for that use even where
/// unused models go at once.
const FIRST_USE: Duration = Duration::from_secs(10);

/// A model file somebody wants to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The file, links resolved: one model is loaded once, whatever it was called.
    pub path: PathBuf,
    /// What it is called in lists and messages.
    pub name: String,
    /// Memory it takes.
    pub bytes: u64,
}

/// How a load ended; none before.
pub(super) type Ended = Option<Result<PoolModel, Arc<SpeechError>>>;

/// A use of an entry, to be given back.
#[derive(Clone, Debug)]
pub(super) struct Use {
    path: PathBuf,
    id: u64,
}

/// What somebody who wants a model has to do.
pub(super) enum Claim {
    /// Use it.
    Ready(PoolModel, Use),
    /// Wait for the load that is going on.
    Loading(watch::Receiver<Ended>, Use),
    /// Drop these models, then load it and say so with [`Shelf::loaded`].
    Load(Vec<PoolModel>, watch::Receiver<Ended>, Use),
    /// Wait until somebody gives a model back.
    NoRoom,
}

/// A loaded model, or one that is being loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedModel {
    /// Catalogue name, or file name.
    pub name: String,
    /// Memory it takes: weights and the working memory of every recogniser.
    pub bytes: u64,
    /// Runs that use it now.
    pub users: usize,
    /// How far it is.
    pub state: LoadState,
    /// Seconds since it was last used; 0 while it is in use.
    pub idle_seconds: f64,
}

/// How far a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadState {
    /// Being read.
    Loading,
    /// Ready for work.
    Ready,
}

pub(super) struct Shelf {
    /// Bytes that all entries may take together; 0: no limit.
    allowed: u64,
    entries: HashMap<PathBuf, Entry>,
    next_id: u64,
}

struct Entry {
    id: u64,
    wanted: Wanted,
    users: usize,
    /// When it was last given back, or loaded.
    since: Instant,
    first_use: FirstUse,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstUse {
    ToCome,
    Over,
}

enum State {
    Loading(watch::Sender<Ended>),
    Ready(PoolModel),
}

impl Shelf {
    pub fn new(allowed: u64) -> Self {
        Shelf { allowed, entries: HashMap::new(), next_id: 0 }
    }

    /// Whether a model is ready, so that its file need not be looked at again.
    pub fn is_ready(&self, path: &Path) -> bool {
        self.entries.get(path).is_some_and(|entry| matches!(entry.state, State::Ready(_)))
    }

    /// Begins a use of a model.
    pub fn claim(&mut self, wanted: &Wanted, now: Instant) -> Claim {
        if let Some(entry) = self.entries.get_mut(&wanted.path) {
            entry.users += 1;
            let used = Use { path: wanted.path.clone(), id: entry.id };
            return match &entry.state {
                State::Ready(model) => {
                    entry.first_use = FirstUse::Over;
                    Claim::Ready(model.clone(), used)
                }
                State::Loading(ended) => Claim::Loading(ended.subscribe(), used),
            };
        }
        let Some(out) = self.make_room(wanted.bytes) else { return Claim::NoRoom };
        let (ending, ended) = watch::channel(None);
        let id = self.next_id;
        self.next_id += 1;
        let (state, first_use) = (State::Loading(ending), FirstUse::ToCome);
        let entry = Entry { id, wanted: wanted.clone(), users: 1, since: now, first_use, state };
        self.entries.insert(wanted.path.clone(), entry);
        Claim::Load(out, ended, Use { path: wanted.path.clone(), id })
    }

    /// The load that `Claim::Load` asked for has ended.
    pub fn loaded(&mut self, used: &Use, result: Result<PoolModel, Arc<SpeechError>>, now: Instant) {
        let Some(entry) = self.entry(used) else { return };
        let before = match &result {
            Ok(model) => {
                entry.since = now;
                std::mem::replace(&mut entry.state, State::Ready(model.clone()))
            }
            Err(_) => match self.entries.remove(&used.path) {
                Some(entry) => entry.state,
                None => return,
            },
        };
        if let State::Loading(ended) = before {
            ended.send_replace(Some(result));
        }
    }

    /// A model that was waited for is being worked with.
    pub fn begun(&mut self, used: &Use) {
        if let Some(entry) = self.entry(used) {
            entry.first_use = FirstUse::Over;
        }
    }

    /// Ends a use.
    pub fn give_back(&mut self, used: &Use, now: Instant) {
        if let Some(entry) = self.entry(used) {
            entry.users -= 1;
            entry.since = now;
        }
    }

    /// Ends a use that was none, such as loading a model ahead of its first use.
    pub fn spare(&mut self, used: &Use) {
        if let Some(entry) = self.entry(used) {
            entry.first_use = FirstUse::ToCome;
        }
    }

    /// Takes out what has not been used for `keep_alive`; and when the next one is due.
    pub fn expire(&mut self, keep_alive: Duration, now: Instant) -> (Vec<(Wanted, PoolModel)>, Option<Instant>) {
        let due = |entry: &Entry| {
            let idle = if entry.first_use == FirstUse::Over { keep_alive } else { keep_alive.max(FIRST_USE) };
            entry.is_idle().then(|| entry.since + idle)
        };
        let over = self.entries.values().filter(|entry| due(entry).is_some_and(|at| at <= now));
        let over: Vec<PathBuf> = over.map(|entry| entry.wanted.path.clone()).collect();
        let out = over.iter().filter_map(|path| self.take_out(path)).collect();
        (out, self.entries.values().filter_map(due).min())
    }

    /// Takes out the model that `is_it` says of, unless it is in use; the number of its users then.
    pub fn remove(&mut self, is_it: impl Fn(&Wanted) -> bool) -> Option<Result<(Wanted, PoolModel), usize>> {
        let entry = self.entries.values().find(|entry| is_it(&entry.wanted))?;
        let (path, users) = (entry.wanted.path.clone(), entry.users);
        Some(self.take_out(&path).ok_or(users))
    }

    /// What is loaded, by name.
    pub fn list(&self, now: Instant) -> Vec<LoadedModel> {
        let mut list: Vec<LoadedModel> = self.entries.values().map(|entry| entry.describe(now)).collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// Takes out the longest unused models until `bytes` more fit; none, and nothing taken out, when they never would.
    fn make_room(&mut self, bytes: u64) -> Option<Vec<PoolModel>> {
        let taken: u64 = self.entries.values().map(|entry| entry.wanted.bytes).sum();
        let missing = match self.allowed {
            0 => 0,
            allowed => (taken + bytes).saturating_sub(allowed),
        };
        let mut idle: Vec<&Entry> = self.entries.values().filter(|entry| entry.is_idle()).collect();
        idle.sort_by_key(|entry| entry.since);
        let (mut freed, mut out) = (0, Vec::new());
        for entry in idle {
            if freed >= missing {
                break;
            }
            freed += entry.wanted.bytes;
            out.push((entry.wanted.path.clone(), entry.wanted.bytes));
        }
        if freed < missing {
            return None;
        }
        // A large one at the end may have made the small ones before it unnecessary: these stay.
        let mut spare = freed - missing;
        for at in (0..out.len()).rev() {
            if out[at].1 <= spare {
                spare -= out.remove(at).1;
            }
        }
        Some(out.iter().filter_map(|(path, _)| self.take_out(path)).map(|(_, model)| model).collect())
    }

    fn take_out(&mut self, path: &Path) -> Option<(Wanted, PoolModel)> {
        self.entries.get(path).filter(|entry| entry.is_idle())?;
        match self.entries.remove(path)? {
            Entry { wanted, state: State::Ready(model), .. } => Some((wanted, model)),
            Entry { .. } => None,
        }
    }

    /// The entry of a use, if it is still the same.
    fn entry(&mut self, used: &Use) -> Option<&mut Entry> {
        self.entries.get_mut(&used.path).filter(|entry| entry.id == used.id)
    }
}

impl Entry {
    /// Loaded and not in use.
    fn is_idle(&self) -> bool {
        self.users == 0 && matches!(self.state, State::Ready(_))
    }

    fn describe(&self, now: Instant) -> LoadedModel {
        let idle = if self.users > 0 { Duration::ZERO } else { now.saturating_duration_since(self.since) };
        LoadedModel {
            name: self.wanted.name.clone(),
            bytes: self.wanted.bytes,
            users: self.users,
            state: if matches!(self.state, State::Ready(_)) { LoadState::Ready } else { LoadState::Loading },
            idle_seconds: idle.as_secs_f64(),
        }
    }
}
