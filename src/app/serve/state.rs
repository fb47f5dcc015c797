//! What all requests share.

use super::admission::Admission;
use super::drain::Ending;
use super::jobs::Jobs;
use super::lock::DataLock;
use super::metrics::Metrics;
use super::upload::{Uploads, data_folder};
use crate::config::Config;
use crate::engine::Engine;
use crate::error::Error;
use std::sync::OnceLock;
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;

/// One running service.
pub(super) struct Service {
    /// Models and servers, once they are there: the service listens first and loads then.
    engine: OnceLock<Engine>,
    /// Validated configuration.
    pub config: Config,
    /// Who may bring audio, and how many at once.
    pub admission: Admission,
    /// Where uploads stay while they are in work.
    pub uploads: Uploads,
    /// Long recordings.
    pub jobs: Jobs,
    /// What Prometheus reads.
    pub metrics: Metrics,
    /// When it began.
    pub started: SystemTime,
    /// Fires when the service begins to end: nothing new is taken.
    pub draining: CancellationToken,
    /// What follows.
    pub ending: Ending,
    _lock: DataLock,
}

impl Service {
    /// A service that has no engine yet.
    pub fn new(config: Config) -> Result<Self, Error> {
        let lock = DataLock::take(&data_folder(&config.serve))?;
        let uploads = Uploads::open(&config.serve)?;
        uploads.purge();
        let admission = Admission::new(config.serve.max_requests);
        let jobs = Jobs::new(&uploads, &config.serve);
        Ok(Service {
            engine: OnceLock::new(),
            config,
            admission,
            uploads,
            jobs,
            metrics: Metrics::new(),
            started: SystemTime::now(),
            draining: CancellationToken::new(),
            ending: Ending::default(),
            _lock: lock,
        })
    }

    /// Models and servers.
    ///
    /// # Errors
    /// [`Error::Loading`] (503) until they are there.
    pub fn engine(&self) -> Result<&Engine, Error> {
        self.engine.get().ok_or(Error::Loading)
    }

    /// From now on there is an engine.
    pub fn loaded(&self, engine: Engine) {
        if let Ok(models) = engine.speech() {
            models.watch(self.metrics.recognition.watcher());
        }
        if self.engine.set(engine).is_err() {
            tracing::error!("a second engine for one service");
        }
    }
}
