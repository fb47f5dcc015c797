//! A run of the pipeline that belongs to one request: its events come through a channel, and dropping it ends it.

use super::drain::{self, Unfinished};
use super::edge::Client;
use super::events::RunEvent;
use super::state::Service;
use super::upload::Audio;
use crate::agent::{Confirm, Suspended};
use crate::error::Error;
use crate::outcome::{Outcome, Plan};
use crate::pipeline::{self, Event, Run};
use crate::speech::Transcript;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What is worked on.
pub(super) enum Source {
    Audio(Audio),
    Text {
        text: Transcript,
        name: String,
    },
    /// An answer that waited for a person's word, and the word.
    Confirmed {
        suspended: Box<Suspended>,
        approved: bool,
    },
}

/// A run under way. Dropping it cancels the run: a recogniser is free within one pass of the encoder.
pub(super) struct Work {
    /// In order; ends when the run does.
    pub events: mpsc::UnboundedReceiver<RunEvent>,
    run: JoinHandle<Result<Outcome, Error>>,
    _cancel: DropGuard,
}

impl Work {
    /// Starts a run.
    pub fn start(service: Arc<Service>, client: &Client, plan: Plan, source: Source) -> Self {
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let (events_in, events) = mpsc::unbounded_channel();
        let (client, name) = (client.clone(), client.name.clone());
        let work = async move {
            let observer = move |event: Event<'_>| {
                // A client that has gone wants no events; its run is being cancelled.
                let _ = events_in.send(RunEvent::from(event));
            };
            let run = Run {
                caller: client.caller,
                owner: &name,
                confirm: Some(&Confirm::Later),
                ..Run::new(service.engine()?, &plan, &observer, &cancel)
            };
            let result = match source {
                Source::Audio(audio) => {
                    let work = pipeline::run_audio(run, audio.input(), &audio.name);
                    match service.ending.over.run_until_cancelled(work).await {
                        Some(result) => result,
                        // Nobody waits for it any more.
                        None if cancel.is_cancelled() => Err(Error::Interrupted),
                        None => {
                            cancel.cancel();
                            Err(drain::keep(&service, Unfinished { client, plan: plan.clone(), audio }).await)
                        }
                    }
                }
                Source::Confirmed { suspended, approved } => {
                    let work = pipeline::run_confirmation(run, *suspended, approved);
                    let done = service.ending.over.run_until_cancelled(work).await;
                    done.unwrap_or(Err(Error::Interrupted))
                }
                Source::Text { text, name } => {
                    let work = pipeline::run_text(run, text, &name);
                    let done = service.ending.over.run_until_cancelled(work).await;
                    done.unwrap_or(Err(Error::Interrupted))
                }
            };
            if let Ok(outcome) = &result {
                service.metrics.outcome(outcome);
                if service.config.serve.log_transcripts {
                    let text = outcome.transcript.text();
                    tracing::info!(target: "bestbox::access", client = name, text, "transcript");
                }
            }
            result
        };
        Work { events, run: tokio::spawn(work), _cancel: guard }
    }

    /// The outcome. Events that nobody read are dropped.
    pub async fn outcome(&mut self) -> Result<Outcome, Error> {
        let ended = (&mut self.run).await;
        ended.unwrap_or_else(|panic| Err(Error::Usage(format!("the run failed unexpectedly: {panic}"))))
    }
}
