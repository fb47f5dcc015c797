//! Works the queue off: so many jobs at once, each through the same pipeline as every request, with its work written
//! down utterance by utterance.

use super::checkpoint::Work;
use super::journal::{Ended, Id, What};
use super::plan;
use super::store::{StoreError, Stored, now_ms};
use super::wire::{JobStatus, Pace};
use crate::app::serve::edge::Client;
use crate::app::serve::error::ApiError;
use crate::app::serve::form::Form;
use crate::app::serve::state::Service;
use crate::audio::Input;
use crate::engine::Engine;
use crate::outcome::{Outcome, Plan};
use crate::pipeline::{self, Run};
use axum::http::StatusCode;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// How often the queue is looked at without a reason: postponed jobs come due.
const LOOK: Duration = Duration::from_secs(5);
/// Attempts that may end for a reason that passes (no room to decode, no memory for a model) before a job has failed.
const MAX_TRIES: i64 = 20;
/// Longest time between two such attempts, milliseconds.
const MAX_DELAY_MS: i64 = 60_000;

/// Which jobs are in work.
#[derive(Default)]
pub(super) struct Runner {
    active: Mutex<HashMap<Id, Active>>,
    wake: Notify,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// A job in work.
#[derive(Clone)]
struct Active {
    cancel: CancellationToken,
    /// Fires as well when it is its owner who gives it up.
    unwanted: CancellationToken,
    pace: Pace,
}

impl Runner {
    /// Begins to work; needs the engine. A second call does nothing.
    pub fn start(&self, service: Arc<Service>) {
        let mut task = lock(&self.task);
        if task.is_none() {
            *task = Some(tokio::spawn(supervise(service)));
        }
    }

    /// There may be something to do.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ends the work on a job; false when it is not in work.
    pub fn cancel(&self, id: &str) -> bool {
        let active = lock(&self.active);
        let Some(active) = active.get(id) else { return false };
        active.unwanted.cancel();
        active.cancel.cancel();
        true
    }

    /// How fast a job in work gets on.
    pub fn pace(&self, id: &str) -> Option<Pace> {
        lock(&self.active).get(id).map(|active| active.pace)
    }

    /// Takes nothing new, gives what is in work back to the queue, and returns when that is done.
    pub async fn stop(&self) {
        self.stop.cancel();
        let task = lock(&self.task).take();
        if let Some(task) = task {
            // A panic in there is logged by the runtime.
            let _ = task.await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn supervise(service: Arc<Service>) {
    let runner = &service.jobs.runner;
    let most = service.config.serve.jobs.concurrent as usize;
    let mut running = JoinSet::new();
    loop {
        while running.len() < most && !runner.stop.is_cancelled() {
            match service.jobs.store.take_next().await {
                Ok(Some(job)) => {
                    let pace = Pace { begun: now_ms(), from: job.seconds };
                    let (cancel, unwanted) = (runner.stop.child_token(), CancellationToken::new());
                    let active = Active { cancel, unwanted, pace };
                    lock(&runner.active).insert(Id::from(job.id.as_str()), active.clone());
                    running.spawn(work(service.clone(), job, active));
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the next job cannot be taken up yet");
                    break;
                }
            }
        }
        tokio::select! {
            () = runner.stop.cancelled() => break,
            () = runner.wake.notified() => {}
            Some(_) = running.join_next(), if !running.is_empty() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    while running.join_next().await.is_some() {}
}

/// One job from where it stands to its end, or until it is given up.
async fn work(service: Arc<Service>, job: Stored, active: Active) {
    let jobs = &service.jobs;
    let (id, tries) = (Id::from(job.id.as_str()), job.tries);
    let run = tokio::spawn(run(service.clone(), job, active.cancel.clone()));
    let result = run.await.unwrap_or_else(|panic| {
        let message = format!("the work on this recording ended unexpectedly: {panic}");
        Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message))
    });
    let given_up = active.cancel.is_cancelled();
    let ended = match result {
        result if active.unwanted.is_cancelled() => {
            // What was recognised until then is kept, as everywhere.
            let outcome = result.ok();
            Some(Ended { status: JobStatus::Cancelled, error: None, ..finished(outcome.as_ref()) })
        }
        _ if given_up => None,
        Ok(outcome) => Some(finished(Some(&outcome))),
        Err(error) if error.status == StatusCode::SERVICE_UNAVAILABLE && tries + 1 < MAX_TRIES => {
            let delay = (5_000 << tries.clamp(0, 10)).min(MAX_DELAY_MS);
            tracing::warn!(job = &*id, error = error.message, "a job waits");
            if let Err(error) = jobs.store.postpone(&id, &error.message, now_ms() + delay).await {
                tracing::error!(job = &*id, %error, "a job cannot be postponed; it goes on at the next start");
            }
            lock(&jobs.runner.active).remove(&id);
            return;
        }
        Err(error) => Some(Ended::failed(&error)),
    };
    if let Some(ended) = ended {
        let status = ended.status;
        // While the disk is full this waits, and with it the job's place; the end of the service ends the wait.
        let written = jobs.journal.write(&id, What::Ended(ended));
        if jobs.runner.stop.run_until_cancelled(written).await.is_some() {
            tracing::info!(job = &*id, status = status.name(), "a job is over");
        }
    } else if let Err(error) = jobs.store.requeue(&id).await {
        tracing::error!(job = &*id, %error, "a job cannot be given back to the queue; it goes on at the next start");
    }
    lock(&jobs.runner.active).remove(&id);
}

fn finished(outcome: Option<&Outcome>) -> Ended {
    let seconds = outcome.and_then(|outcome| outcome.source.duration);
    let outcome = outcome.and_then(|outcome| serde_json::to_string(outcome).ok());
    Ended { status: JobStatus::Finished, error: None, outcome, seconds }
}

async fn run(service: Arc<Service>, job: Stored, cancel: CancellationToken) -> Result<Outcome, ApiError> {
    let (engine, jobs) = (service.engine()?, &service.jobs);
    let form: Form = serde_json::from_str(&job.form).map_err(StoreError::Damaged)?;
    let plan = plan::of(&form, &service.config).await?;
    let kept = jobs.store.kept(&job.id, &basis(engine, &plan)).await?;
    let told = jobs.store.told(&job.id).await?;
    let id = Id::from(job.id.as_str());
    let work = Work::new((id, &jobs.journal, cancel.clone()), kept, &told)?;
    tracing::info!(job = job.id, attempt = job.attempts, recalled = work.recalled(), "a job begins");
    let audio = jobs.files.audio(&job.id);
    if !audio.exists() {
        let message = "the stored audio of this job is gone; send it again";
        return Err(ApiError::new(StatusCode::GONE, message).code("audio_gone"));
    }
    let observer = |event: pipeline::Event<'_>| work.observe(event);
    let caller = Client::named(job.client).caller;
    let run = Run { caller, checkpoint: Some(&work), ..Run::new(engine, &plan, &observer, &cancel) };
    let outcome = pipeline::run_audio(run, Input::File(audio), &job.name).await?;
    service.metrics.outcome(&outcome);
    Ok(outcome)
}

/// What recognised utterances depend on. Under another basis they start at other samples or say other words.
fn basis(engine: &Engine, plan: &Plan) -> String {
    let all = format!("{plan:?} {:?} {}", engine.vad_settings(), engine.config().speech.model);
    super::hex(&Sha256::digest(all))
}
