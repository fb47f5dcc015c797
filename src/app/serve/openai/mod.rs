//! OpenAI's audio API as of 2026, with what OpenAI itself retires: subtitles, word times, translations.

mod body;
mod models;
mod request;
mod stream;

pub(super) use body::VerboseJson;
pub(super) use models::select;

use super::admission::Admitted;
use super::error::ApiError;
use super::plan::fixed;
use super::problems::Problems;
use super::render::{self, Carry, rendered};
use super::sse::ServerSentEvent;
use super::state::Service;
use super::upload::receive;
use super::work::{Source, Work};
use crate::language::Lang;
use crate::outcome::{Outcome, Plan, Task};
use crate::output::{Answer, Format, TextChoice};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use body::{TranscriptionJson, Usage, languages, logprobs, verbose};
use request::{Asked, Body, Delivery, Granularities, Logprobs, TranscriptionForm, TranslationForm, asked};
use std::sync::Arc;
use stream::TranscriptEvent;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What the data of the events is.
#[derive(OpenApi)]
#[openapi(components(schemas(TranscriptEvent)))]
struct Events;

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(Events::openapi())
        .routes(routes!(transcriptions))
        .routes(routes!(translations))
        .routes(routes!(models::list))
        .routes(routes!(models::one))
}

/// Transcribe a recording
///
/// OpenAI's `audio/transcriptions`: the text as Whisper heard it, in the language spoken.
#[utoipa::path(
    post,
    path = "/v1/audio/transcriptions",
    tag = "audio",
    request_body(content = TranscriptionForm, content_type = "multipart/form-data"),
    responses(
        (
            status = 200,
            description = "The text, as `response_format` asks for; events with `stream`.",
            content(
                (TranscriptionAnswer = "application/json"),
                (String = "text/plain"),
                (String = "text/vtt"),
                (ServerSentEvent = "text/event-stream")
            )
        ),
        Problems
    )
)]
async fn transcriptions(
    State(service): State<Arc<Service>>,
    place: Admitted,
    request: Request,
) -> Result<Response, ApiError> {
    recognise(service, place, request, Task::Transcribe).await
}

/// Translate a recording to English
///
/// OpenAI's `audio/translations`: Whisper's own translation of what it heard.
#[utoipa::path(
    post,
    path = "/v1/audio/translations",
    tag = "audio",
    request_body(content = TranslationForm, content_type = "multipart/form-data"),
    responses(
        (
            status = 200,
            description = "The English text, as `response_format` asks for.",
            content(
                (TranscriptionAnswer = "application/json"),
                (String = "text/plain"),
                (String = "text/vtt")
            )
        ),
        Problems
    )
)]
async fn translations(
    State(service): State<Arc<Service>>,
    place: Admitted,
    request: Request,
) -> Result<Response, ApiError> {
    recognise(service, place, request, Task::TranslateToEnglish).await
}

/// `json` or `verbose_json`.
#[derive(utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answer in the OpenAPI document")]
enum TranscriptionAnswer {
    Verbose(VerboseJson),
    Json(TranscriptionJson),
}

/// The outcome of a plan as `verbose_json`, with words where their times were asked for.
pub(super) fn verbose_json(outcome: &Outcome, plan: &Plan) -> VerboseJson {
    let times = if plan.word_times { Granularities::Both } else { Granularities::Segments };
    verbose(outcome, plan.task, fixed(plan.language), times)
}

async fn recognise(service: Arc<Service>, place: Admitted, request: Request, task: Task) -> Result<Response, ApiError> {
    let upload = receive(&service, request).await?;
    let mut asked = asked(&upload.form, task, &service.config)?;
    asked.plan.model = select(&service.config, &asked.model).await?;
    let source = Source::Audio(upload.audio);
    let mut work = Work::start(service.clone(), &place.client, asked.plan.clone(), source);
    match asked.delivery {
        Delivery::Stream => stream::answer(work, asked, place).await,
        Delivery::AtOnce => whole(&service, &asked, work.outcome().await?),
    }
}

fn whole(service: &Service, asked: &Asked, mut outcome: Outcome) -> Result<Response, ApiError> {
    if asked.plan.task == Task::TranslateToEnglish {
        // Of the text, which is joined and laid out as English, whatever was spoken.
        outcome.transcript.language = Some(Lang::ENGLISH);
    }
    let format = match asked.body {
        Body::Json(include) => {
            let transcript = &outcome.transcript;
            let json = TranscriptionJson {
                text: transcript.text(),
                logprobs: (include == Logprobs::Include).then(|| logprobs(&transcript.segments)),
                languages: (asked.model == "gpt-transcribe").then(|| languages(transcript)),
                usage: Usage::of(&outcome),
            };
            return Ok(Json(json).into_response());
        }
        Body::Verbose(times) => {
            let spoken = fixed(asked.plan.language);
            return Ok(Json(verbose(&outcome, asked.plan.task, spoken, times)).into_response());
        }
        Body::Text => Format::Text,
        Body::Srt => Format::Srt,
        Body::Vtt => Format::Vtt,
    };
    let carry = Carry { text: TextChoice::Raw, answer: Answer::Omit };
    let mut body = rendered(&outcome, format, carry, &service.config)?;
    if let Some(language) = outcome.transcript.language.filter(|_| format == Format::Vtt) {
        // A comment of ours between the header and the first cue; OpenAI's subtitles have none.
        body = body.replacen(&format!("NOTE language: {language}\n\n"), "", 1);
    }
    Ok(render::answer(format, body))
}
