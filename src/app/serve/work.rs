//! A run of the pipeline that belongs to one request: its events come through a channel, and dropping it ends it.

use super::drain::{self, Unfinished};
use super::edge::Client;
use super::state::Service;
use super::upload::Audio;
use crate::error::Error;
use crate::language::Lang;
use crate::outcome::{Cue, Intent, Outcome, Plan, Warning};
use crate::pipeline::{self, Event, Run};
use crate::speech::{Segment, Transcript};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What happened, to be sent on. The owned form of [`Event`].
#[derive(Clone, Debug)]
pub(super) enum Happened {
    Opened { format: String, duration: Option<f64> },
    Progress { seconds: f64 },
    Language(Lang),
    Segment(Segment),
    Cleaned(Vec<Cue>),
    Translated(Vec<Cue>),
    Intent(Intent),
    ReplyDelta(String),
    Warning(Warning),
}

/// What is worked on.
pub(super) enum Source {
    Audio(Audio),
    Text { text: Transcript, name: String },
}

/// A run under way. Dropping it cancels the run: a recogniser is free within one pass of the encoder.
pub(super) struct Work {
    /// In order; ends when the run does.
    pub events: mpsc::UnboundedReceiver<Happened>,
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
                let _ = events_in.send(Happened::from(event));
            };
            let run = Run { caller: client.caller, ..Run::new(service.engine()?, &plan, &observer, &cancel) };
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

impl From<Event<'_>> for Happened {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Opened { format, duration } => Happened::Opened { format: format.to_owned(), duration },
            Event::Progress { seconds } => Happened::Progress { seconds },
            Event::Language(lang) => Happened::Language(lang),
            Event::Segment(segment) => Happened::Segment(segment.clone()),
            Event::Cleaned(cues) => Happened::Cleaned(cues.to_vec()),
            Event::Translated(cues) => Happened::Translated(cues.to_vec()),
            Event::Intent(intent) => Happened::Intent(intent.clone()),
            Event::ReplyDelta(delta) => Happened::ReplyDelta(delta.to_owned()),
            Event::Warning(warning) => Happened::Warning(warning.clone()),
        }
    }
}
