//! The one place where sessions meet the recognisers.

use super::super::edge::Client;
use super::super::openai;
use super::super::state::Service;
use super::events::Failure;
use super::session::{Model, Work};
use crate::engine::{Engine, SpeechModels};
use crate::error::Error;
use crate::speech::queue::{Lane, Ticket};
use crate::speech::{SpeechError, Transcript};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Text of one utterance. Dropping the future ends the work within one pass of the encoder.
pub(super) async fn recognize(service: &Service, client: &Client, work: Work) -> Result<Transcript, Failure> {
    let engine = service.engine().map_err(|error| failure(&error))?;
    let models = engine.speech().map_err(|error| failure(&error))?;
    let lease = models.lease(work.model.as_deref()).await.map_err(|error| failure(&error))?;
    // Somebody is waiting for every word.
    let ticket = Ticket { lane: Lane::Short, caller: client.caller.0 };
    let text = lease.recognize(work.utterance, work.options, ticket, CancellationToken::new()).await;
    text.map_err(|error| failure(&error.into()))
}

/// Whether the recognisers have time for a look at what is still being spoken: no other short clip waits. Long files do
/// nearly always, and keep their share all the same.
pub(super) fn has_time(service: &Service) -> bool {
    let stats = service.engine().and_then(Engine::speech).map(SpeechModels::stats);
    stats.is_ok_and(|stats| stats.waiting_short == 0)
}

/// The model that a client names. Waits for the disk, on a thread of its own.
pub(super) fn select(service: &Service, asked: &str) -> Option<Model> {
    // OpenAI's names for models of this session alone; they stand for the configured one as the others do.
    if ["gpt-live-transcribe", "gpt-realtime-whisper"].contains(&asked) {
        return Some(None);
    }
    let looking = openai::select(&service.config, asked);
    tokio::task::block_in_place(|| Handle::current().block_on(looking)).ok()
}

fn failure(error: &Error) -> Failure {
    let message = error.to_string();
    match error {
        Error::Speech(SpeechError::EnglishOnly(_) | SpeechError::UnknownLanguage(_)) => {
            Failure { kind: "invalid_request_error", code: "invalid_language", message, param: Some("language") }
        }
        Error::Model(_) => {
            Failure { kind: "invalid_request_error", code: "model_not_found", message, param: Some("model") }
        }
        _ => Failure { kind: "server_error", code: "transcription_failed", message, param: None },
    }
}
