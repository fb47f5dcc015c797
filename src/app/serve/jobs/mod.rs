//! Long recordings as jobs: an id at once, the text when it is there, and nothing lost in between.
//!
//! ```text
//! upload -> fsync -> <data>/jobs/ID/audio -> row -> 202          runner -> pipeline -> journal -> SQLite -> events
//! ```
//!
//! The order is what makes it safe. Audio is in place before its row, so a row is never without audio and audio without
//! a row is removed at the next start. What is recognised is written down before it is shown, so whoever saw it will
//! find it again; a killed service repeats at most the utterance that was in flight.

mod checkpoint;
mod create;
mod events;
mod files;
mod handlers;
mod journal;
mod plan;
mod queue;
mod result;
mod retention;
mod runner;
mod store;
mod webhook;
mod wire;

use super::edge::Client;
use super::error::ApiError;
use super::form::Form;
use super::state::Service;
use super::upload::{Audio, Uploads};
use crate::config::{JobsConfig, ServeConfig};
use crate::error::Error;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
pub(super) use wire::{Job, JobStatus};

/// How long the end of the service waits for a disk that takes nothing.
const CLOSE: Duration = Duration::from_secs(5);

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(handlers::list_jobs, create::create_job))
        .routes(routes!(handlers::get_job, handlers::delete_job))
        .routes(routes!(handlers::cancel_job))
        .routes(routes!(result::job_result))
        .routes(routes!(handlers::job_audio))
        .routes(routes!(events::job_events))
}

/// All jobs of a service.
pub(super) struct Jobs {
    store: Arc<Store>,
    files: files::Files,
    journal: journal::Journal,
    runner: runner::Runner,
    hooks: webhook::Hooks,
    config: JobsConfig,
    /// Ends what goes on in the background.
    ending: CancellationToken,
}

impl Jobs {
    /// Touches nothing yet: see [`Jobs::open`].
    pub fn new(uploads: &Uploads, config: &ServeConfig) -> Self {
        let root = uploads.root();
        Jobs {
            store: Arc::new(Store::new(root)),
            files: files::Files::new(root),
            journal: journal::Journal::new(),
            runner: runner::Runner::default(),
            hooks: webhook::Hooks::new(&config.jobs),
            config: config.jobs.clone(),
            ending: CancellationToken::new(),
        }
    }

    /// Opens the database and puts in order what an earlier process left: what it had in work is queued again, uploads
    /// that never became a job are removed. From then on jobs may be made and asked for.
    pub async fn open(&self) -> Result<(), Error> {
        outlive_file_limits();
        let opened = async {
            self.files.open().map_err(|source| Error::Usage(format!("cannot make the folder of jobs: {source}")))?;
            let failed = |error: StoreError| Error::Usage(error.to_string());
            self.store.open().await.map_err(failed)?;
            self.store.recover().await.map_err(failed)?;
            let known: HashSet<String> = self.store.ids().await.map_err(failed)?.into_iter().collect();
            self.files
                .remove_orphans(&known)
                .map_err(|source| Error::Usage(format!("cannot read the folder of jobs: {source}")))
        };
        opened.await?;
        self.journal.start(self.store.clone());
        Ok(())
    }

    /// Works on jobs from now on: the engine is there.
    pub fn start(&self, service: &Arc<Service>) {
        self.runner.start(service.clone());
        let service = service.clone();
        tokio::spawn(async move {
            let jobs = &service.jobs;
            tokio::join!(retention::watch(jobs, &jobs.ending), webhook::deliver(jobs, &jobs.ending));
        });
    }

    /// The service begins to end: what is in work goes back to the queue with all that is done of it, within one pass
    /// of the encoder. Jobs may still be made.
    pub async fn pause(&self) {
        self.ending.cancel();
        self.runner.stop().await;
    }

    /// The last thing: everything is written.
    pub async fn close(&self) {
        self.journal.close(CLOSE).await;
        self.store.close().await;
    }

    /// Makes a job of a request whose audio is here already: one that does not fit into the grace time. The job's id.
    ///
    /// # Errors
    /// 503 when it cannot be stored.
    pub async fn adopt(&self, client: &Client, form: Form, audio: Audio) -> Result<String, ApiError> {
        let wanted = create::Wanted { client: client.name.clone(), form, audio, idempotency: None, webhook: None };
        Ok(self.create(wanted).await?.id)
    }

    /// How many jobs there are of each status.
    pub async fn counts(&self) -> Vec<(JobStatus, u64)> {
        self.store.counts().await.unwrap_or_default()
    }

    /// Removes a job that is over or given up, with all that belongs to it.
    async fn forget(&self, id: &str) -> Result<(), StoreError> {
        self.store.delete(id).await?;
        self.files.remove(id);
        self.journal.announce(&journal::Id::from(id));
        Ok(())
    }

    /// As clients see it.
    fn seen(&self, stored: store::Stored) -> Job {
        let running = stored.status == JobStatus::Running;
        let pace = self.runner.pace(&stored.id).filter(|_| running);
        Job::of(stored, pace, self.journal.stalled().filter(|_| running))
    }
}

/// Makes a limit on the size of files (`ulimit -f`, `LimitFSIZE=`) an error of whoever writes, as a full disk is, where
/// the signal's default would end the service.
fn outlive_file_limits() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // The handler stays when its receiver goes.
        if let Err(error) = signal(SignalKind::from_raw(libc::SIGXFSZ)) {
            tracing::warn!(%error, "a limit on the size of files would end the service");
        }
    }
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
