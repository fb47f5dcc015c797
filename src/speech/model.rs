//! A model as the recogniser threads see it: what makes recognisers of it, and those that are idle.

use super::whisper::{Model, WhisperRecognizer};
use super::{Recognizer, SpeechError};
use std::sync::{Arc, Mutex, PoisonError, Weak};

type Make = dyn Fn() -> Result<Box<dyn Recognizer>, SpeechError> + Send + Sync;

/// A loaded model with its recognisers, at most one a thread of the pool. Cheap to clone; with the last clone the model
/// is gone and its memory free: the threads keep nothing, they take a recogniser for a job and put it back.
#[derive(Clone)]
pub struct PoolModel(Arc<Inner>);

struct Inner {
    make: Box<Make>,
    // std: held for a push or a pop.
    idle: Mutex<Vec<Box<dyn Recognizer>>>,
}

/// Says when a model is really gone.
pub struct Remains(Weak<Inner>);

impl Remains {
    /// Whether every recogniser, job and handle of the model is gone.
    pub fn are_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl PoolModel {
    /// A model whose recognisers `make` makes; also to replace one that panicked.
    pub fn new<F>(make: F) -> Self
    where
        F: Fn() -> Result<Box<dyn Recognizer>, SpeechError> + Send + Sync + 'static,
    {
        PoolModel(Arc::new(Inner { make: Box::new(make), idle: Mutex::default() }))
    }

    /// A Whisper model whose recognisers compute with `threads` threads each.
    pub fn whisper(model: Model, threads: usize) -> Self {
        PoolModel::new(move || Ok(Box::new(WhisperRecognizer::new(model.clone(), threads)?) as Box<dyn Recognizer>))
    }

    /// Makes recognisers ahead of the first job, until `count` are idle.
    ///
    /// # Errors
    /// What making one gives, such as [`SpeechError::Failed`] when the memory is not there.
    pub fn prepare(&self, count: usize) -> Result<(), SpeechError> {
        // The lock must not be held while one is made.
        let idle = self.idle().len();
        for _ in idle..count {
            let made = (self.0.make)()?;
            self.put_back(made);
        }
        Ok(())
    }

    /// Tells when this model is gone.
    pub fn remains(&self) -> Remains {
        Remains(Arc::downgrade(&self.0))
    }

    /// A recogniser for one job.
    pub(super) fn take(&self) -> Result<Box<dyn Recognizer>, SpeechError> {
        let idle = self.idle().pop();
        idle.map_or_else(|| (self.0.make)(), Ok)
    }

    /// Gives it back.
    pub(super) fn put_back(&self, recognizer: Box<dyn Recognizer>) {
        self.idle().push(recognizer);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Recognizer>>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
