//! The one place where sessions meet the recognisers.

use super::super::edge::Client;
use super::super::state::Service;
use super::events::Failure;
use super::session::Work;
use crate::engine::Engine;
use crate::error::Error;
use crate::speech::{SpeechError, Transcript};
use tokio_util::sync::CancellationToken;

/// Text of one utterance. Dropping the future ends the work within one pass of the encoder.
pub(super) async fn recognize(service: &Service, _client: &Client, work: Work) -> Result<Transcript, Failure> {
    let engine = service.engine().map_err(|error| failure(&error))?;
    let recognizers = engine.recognizers().map_err(|error| failure(&error))?;
    let text = recognizers.recognize(work.utterance, work.options, CancellationToken::new()).await;
    text.map_err(|error| failure(&error.into()))
}

/// Whether the recognisers have time for a look at what is still being spoken: nothing else waits.
pub(super) fn has_time(service: &Service) -> bool {
    service.engine().and_then(Engine::recognizers).is_ok_and(|recognizers| recognizers.waiting() == 0)
}

/// Whether a client may name this model.
pub(super) fn knows(service: &Service, model: &str) -> bool {
    // OpenAI's own names stand for the configured model.
    const ALIASES: [&str; 4] = ["whisper-1", "gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper"];
    let alias = ALIASES.contains(&model)
        || ["gpt-4o-transcribe", "gpt-4o-mini-transcribe"].iter().any(|known| model.starts_with(known));
    alias || model == service.config.speech.model
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
