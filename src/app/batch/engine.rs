//! The engine, started when the first file needs it: a run with nothing to do loads nothing.

use super::progress::Progress;
use super::wanted::Wanted;
use crate::app::session;
use crate::audio::Channels;
use crate::config::Config;
use crate::engine::{Engine, Needs, Start, Upkeep};
use crate::error::Error;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// At most one engine for the life of the process.
pub(super) struct Engines {
    cell: OnceCell<Engine>,
    config: Config,
    loading: OnceLock<Duration>,
}

/// What the recognisers did.
pub(super) struct Busy {
    pub recognizers: usize,
    /// Seconds that they worked, all added up.
    pub seconds: f64,
    /// Seconds until they could.
    pub loading: f64,
}

impl Engines {
    pub fn new(config: Config) -> Self {
        Engines { cell: OnceCell::new(), config, loading: OnceLock::new() }
    }

    /// What the recognisers did; none where none was needed.
    pub fn busy(&self) -> Option<Busy> {
        let stats = self.cell.get()?.speech().ok()?.stats();
        let loading = self.loading.get().map_or(0.0, Duration::as_secs_f64);
        Some(Busy { recognizers: stats.recognizers, seconds: stats.busy_seconds, loading })
    }

    /// Files whose recognition may be under way at once: one more than there are recognisers, so that none waits for a
    /// decoder to start.
    pub fn listening(&self) -> usize {
        self.config.speech.recognizers as usize + 1
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// # Errors
    /// No speech model, or the run was given up meanwhile.
    pub async fn get(&self, wanted: &Wanted, progress: &Progress, stop: &CancellationToken) -> Result<&Engine, Error> {
        let start = || async {
            let start = Start {
                config: self.config.clone(),
                needs: Needs::of(&wanted.plan, &self.config, true),
                channels: Channels::Average,
                program: session::program()?,
                notice: progress.notice(),
                upkeep: Upkeep::Kept,
            };
            let begun = Instant::now();
            let engine = tokio::select! {
                engine = Engine::start(start) => engine,
                () = stop.cancelled() => Err(Error::Interrupted),
            };
            self.loading.get_or_init(|| begun.elapsed());
            engine
        };
        self.cell.get_or_try_init(start).await
    }

    /// Stops the servers that were started.
    pub async fn stop(&self) {
        if let Some(engine) = self.cell.get() {
            engine.stop().await;
        }
    }
}
