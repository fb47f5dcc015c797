//! OpenAI's streamed transcription: text as soon as it is recognised, then the whole.

use super::body::{Language, Logprob, Usage, languages, logprobs};
use super::request::{Asked, Body, Logprobs};
use crate::app::serve::admission::Admitted;
use crate::app::serve::error::{ApiError, ErrorBody};
use crate::app::serve::events::RunEvent;
use crate::app::serve::sse::{self, Sent};
use crate::app::serve::work::Work;
use crate::language::Lang;
use crate::outcome::Outcome;
use crate::speech::Segment;
use axum::response::Response;
use axum::response::sse::Event;
use serde::Serialize;
use utoipa::ToSchema;

/// Positions of Whisper's encoder a second of audio: what it counts audio in.
const AUDIO_TOKENS_PER_SECOND: f64 = 50.0;

/// An event of a streamed transcription; each is one `data:` line.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(super) enum TranscriptEvent {
    /// Text was recognised. The deltas in a row are the text.
    #[serde(rename = "transcript.text.delta")]
    Delta {
        delta: String,
        /// Probability of each token, when asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        logprobs: Option<Vec<Logprob>>,
    },
    /// The whole text.
    #[serde(rename = "transcript.text.done")]
    Done {
        text: String,
        /// Probability of each token, when asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        logprobs: Option<Vec<Logprob>>,
        /// Languages heard, for `gpt-transcribe`.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        languages: Option<Vec<Language>>,
        usage: StreamUsage,
    },
}

/// What the request took: as in a body that is not streamed, with the counts of tokens that typed clients require here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamUsage {
    #[serde(flatten)]
    duration: Usage,
    /// Positions of the encoder: 50 a second of audio.
    input_tokens: u64,
    /// Whisper's tokens of text.
    output_tokens: u64,
    total_tokens: u64,
    input_token_details: InputTokens,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InputTokens {
    audio_tokens: u64,
    text_tokens: u64,
}

/// Answers once there is something to send, so that a file that cannot be read is a plain error of HTTP. What goes wrong
/// after that is an event with an `error`, which OpenAI's clients throw. `place` is held to the end of the stream.
pub(super) async fn answer(mut work: Work, asked: Asked, place: Admitted) -> Result<Response, ApiError> {
    let mut deltas = Deltas { asked, language: None, begun: false };
    let Some(first) = deltas.next(&mut work).await else {
        let done = deltas.done(&work.outcome().await?);
        return Ok(sse::answer(futures_util::stream::iter([sent(&done)])));
    };
    Ok(sse::answer(async_stream::stream! {
        let _place = place;
        yield sent(&first);
        while let Some(delta) = deltas.next(&mut work).await {
            yield sent(&delta);
        }
        match work.outcome().await {
            Ok(outcome) => yield sent(&deltas.done(&outcome)),
            Err(error) => yield error_sent(&ApiError::from(error).body()),
        }
    }))
}

fn sent(event: &TranscriptEvent) -> Sent {
    Event::default().json_data(event)
}

fn error_sent(body: &ErrorBody) -> Sent {
    Event::default().json_data(body)
}

/// Segments to deltas that are, in a row, exactly the text of the transcript.
struct Deltas {
    asked: Asked,
    language: Option<Lang>,
    begun: bool,
}

impl Deltas {
    /// The next piece of text; none at the end of the run.
    async fn next(&mut self, work: &mut Work) -> Option<TranscriptEvent> {
        while let Some(event) = work.events.recv().await {
            match event {
                RunEvent::Language { language } => self.language = Some(language),
                RunEvent::Segment(segment) if !segment.text.is_empty() => return Some(self.delta(&segment)),
                _ => {}
            }
        }
        None
    }

    fn delta(&mut self, segment: &Segment) -> TranscriptEvent {
        let spaced = self.begun && !self.language.is_some_and(Lang::is_unspaced);
        self.begun = true;
        let delta = if spaced { format!(" {}", segment.text) } else { segment.text.clone() };
        TranscriptEvent::Delta { delta, logprobs: self.logprobs(std::slice::from_ref(segment)) }
    }

    fn done(&self, outcome: &Outcome) -> TranscriptEvent {
        let transcript = &outcome.transcript;
        let seconds = outcome.source.duration.unwrap_or(0.0).max(0.0);
        let audio_tokens = (seconds * AUDIO_TOKENS_PER_SECOND).ceil() as u64;
        let output_tokens = transcript.segments.iter().map(|segment| segment.tokens.len() as u64).sum();
        TranscriptEvent::Done {
            text: transcript.text(),
            logprobs: self.logprobs(&transcript.segments),
            languages: (self.asked.model == "gpt-transcribe").then(|| languages(transcript)),
            usage: StreamUsage {
                duration: Usage::of(outcome),
                input_tokens: audio_tokens,
                output_tokens,
                total_tokens: audio_tokens + output_tokens,
                input_token_details: InputTokens { audio_tokens, text_tokens: 0 },
            },
        }
    }

    fn logprobs(&self, segments: &[Segment]) -> Option<Vec<Logprob>> {
        (self.asked.body == Body::Json(Logprobs::Include)).then(|| logprobs(segments))
    }
}
