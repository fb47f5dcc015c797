//! The whole pipeline in one request, and the answers it shares with text.

use super::admission::Admitted;
use super::error::ApiError;
use super::events::RunEvent;
use super::form::Form;
use super::plan::{FormatName, PlanFields, SpeechTask, TextName, format_from, plan_from, with_header, with_model};
use super::problems::Problems;
use super::render::{self, Carry, rendered};
use super::sse::{self, ServerSentEvent};
use super::state::Service;
use super::upload::receive;
use super::work::{Source, Work};
use crate::config::Config;
use crate::outcome::{Outcome, Plan, Style};
use crate::output::{Answer, Format};
use axum::extract::{Request, State};
use axum::response::Response;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(pipeline))
}

/// The form of `POST /v1/pipeline`. What is absent is as configured; fields that are not in here are ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form in the OpenAPI document")]
struct PipelineForm {
    /// The recording: WAV, MP3, FLAC, OGG, Opus, M4A, MP4, WebM, AIFF, CAF and others, told by its content.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// Events as each stage produces something, instead of one answer at the end.
    stream: Option<bool>,
    /// The fields below in one, as JSON. A field beside it wins.
    #[schema(content_media_type = "application/json")]
    plan: Option<PlanFields>,
    /// How far cleanup may go. Also `style`.
    cleanup: Option<Style>,
    /// Language to translate to, a code or an English name; `none`: no translation. Also `translate_to`.
    #[schema(example = "de")]
    to: Option<String>,
    /// What happens with the text: `text`, `intent` (decided only), `auto` (the intent decides), `agent`, or the name of
    /// a route, such as `agent/calendar`, that is taken whatever is said.
    #[schema(example = "auto")]
    route: Option<String>,
    /// A route that is likely, by its name; weaker than `route`.
    #[schema(example = "note")]
    hint: Option<String>,
    /// Language spoken, a code or an English name; `auto`: heard.
    #[schema(example = "en")]
    language: Option<String>,
    /// Whisper's own task: text in the language spoken, or in English.
    task: Option<SpeechTask>,
    /// Text before the recording, for Whisper.
    #[schema(max_length = 20000)]
    prompt: Option<String>,
    /// Names and jargon, separated by commas or line ends.
    vocabulary: Option<String>,
    /// Names and jargon, one each.
    #[schema(rename = "keywords[]", max_items = 1000)]
    keywords: Option<Vec<String>>,
    /// Times for every word.
    word_times: Option<bool>,
    /// Speech model: a name of `/v1/models`.
    #[schema(example = "default")]
    model: Option<String>,
    /// Temperature of Whisper's first attempt; 0 is greedy.
    #[schema(minimum = 0, maximum = 1)]
    temperature: Option<f32>,
    /// Conversation that the answer goes on with. Also the header `X-Conversation-Id`.
    #[schema(max_length = 128)]
    conversation: Option<String>,
    /// What the answer is written as; `json` by default.
    format: Option<FormatName>,
    /// Which text the formats other than JSON carry; the best there is by default.
    text_choice: Option<TextName>,
}

/// Run the whole pipeline over a recording
///
/// Recognition, cleanup, translation, intent and answer, as `plan` asks. With `stream` events come as each stage
/// produces something; the last one is `done` with the outcome, or `error`.
#[utoipa::path(
    post,
    path = "/v1/pipeline",
    tag = "pipeline",
    request_body(content = PipelineForm, content_type = "multipart/form-data"),
    responses(
        (
            status = 200,
            description = "The outcome, written as `format` asks for; events with `stream`.",
            content(
                (Outcome = "application/json"),
                (ServerSentEvent = "text/event-stream"),
                (String = "text/plain"),
                (String = "text/vtt"),
                (String = "text/csv"),
                (String = "text/tab-separated-values"),
                (String = "text/markdown"),
                (String = "application/x-ndjson")
            )
        ),
        Problems
    )
)]
async fn pipeline(
    State(service): State<Arc<Service>>,
    place: Admitted,
    request: Request,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let mut upload = receive(&service, request).await?;
    upload.form = with_header(upload.form, &headers);
    let plan = plan_from(&upload.form, &service.config)?;
    let delivery = delivery(&upload.form)?;
    let plan = with_model(plan, &service.config).await?;
    run(&service, place, plan, Source::Audio(upload.audio), delivery).await
}

/// How an outcome reaches the client.
pub(super) enum Delivery {
    Events,
    Body(Format, Carry),
}

/// How the form wants its answer.
///
/// # Errors
/// 400 that names the field.
pub(super) fn delivery(form: &Form) -> Result<Delivery, ApiError> {
    let (format, text) = format_from(form)?;
    match (form.flag("stream")?, format) {
        (false, _) => Ok(Delivery::Body(format, Carry { text, answer: Answer::Append })),
        (true, Format::Json) => Ok(Delivery::Events),
        (true, _) => Err(ApiError::bad_field("format", "stream sends events in JSON: leave format out")),
    }
}

/// Runs the plan and answers. `place` is held until the answer is complete.
pub(super) async fn run(
    service: &Arc<Service>,
    place: Admitted,
    plan: Plan,
    source: Source,
    delivery: Delivery,
) -> Result<Response, ApiError> {
    let mut work = Work::start(service.clone(), &place.client, plan, source);
    match delivery {
        Delivery::Events => events(work, place).await,
        Delivery::Body(format, carry) => body(&work.outcome().await?, format, carry, &service.config),
    }
}

fn body(outcome: &Outcome, format: Format, carry: Carry, config: &Config) -> Result<Response, ApiError> {
    Ok(render::answer(format, rendered(outcome, format, carry, config)?))
}

/// Answers once something more than the opening of the file has happened, so that a file that cannot be read is a plain
/// error of HTTP.
async fn events(mut work: Work, place: Admitted) -> Result<Response, ApiError> {
    let mut first = Vec::new();
    loop {
        match work.events.recv().await {
            Some(opened @ RunEvent::Opened { .. }) => first.push(opened),
            Some(event) => break first.push(event),
            None => {
                first.push(RunEvent::Done { outcome: Box::new(work.outcome().await?) });
                return Ok(sse::answer(futures_util::stream::iter(first.into_iter().map(|event| event.sent()))));
            }
        }
    }
    Ok(sse::answer(async_stream::stream! {
        let _place = place;
        for event in first {
            yield event.sent();
        }
        while let Some(event) = work.events.recv().await {
            yield event.sent();
        }
        yield RunEvent::from(work.outcome().await.map_err(ApiError::from)).sent();
    }))
}
