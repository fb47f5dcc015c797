//! Text that is there already: the pipeline without the speech.

use super::admission::Admitted;
use super::error::ApiError;
use super::form::Form;
use super::pipeline::{self, Delivery, delivery};
use super::plan::{PlanFields, plan_from, with_header};
use super::problems::Problems;
use super::sse::ServerSentEvent;
use super::state::Service;
use super::work::Source;
use crate::app::text::transcript;
use crate::outcome::Outcome;
use crate::output::Format;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use utoipa::openapi::schema::{Object, Schema};
use utoipa::openapi::{RefOr, Type};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Longest text, bytes of UTF-8: some 20,000 words, two hours of speech.
const MAX_TEXT: usize = 128 << 10;
/// Longest body, bytes: JSON may take six for one of text.
const MAX_BODY: usize = 1 << 20;

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(text))
}

/// The body of `POST /v1/text`: the fields of a plan, flat or in `plan`, with `text` and `stream`.
struct TextRequest {
    text: String,
    /// Of the plan and of the answer. A field beside `plan` wins.
    form: Form,
}

/// Run the pipeline over a text
///
/// Cleanup, translation, intent and answer for text that is there already. Each line is a segment without times.
#[utoipa::path(
    post,
    path = "/v1/text",
    tag = "pipeline",
    request_body(content = TextRequest, content_type = "application/json"),
    responses(
        (
            status = 200,
            description = "The outcome, written as `format` asks for; events with `stream`.",
            content(
                (Outcome = "application/json"),
                (ServerSentEvent = "text/event-stream"),
                (String = "text/plain"),
                (String = "text/csv"),
                (String = "text/tab-separated-values"),
                (String = "text/markdown"),
                (String = "application/x-ndjson")
            )
        ),
        Problems
    )
)]
async fn text(State(service): State<Arc<Service>>, place: Admitted, request: Request) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let mut asked = read(request, Duration::from_secs_f64(service.config.serve.idle_timeout_seconds)).await?;
    if asked.text.trim().is_empty() {
        return Err(ApiError::bad_field("text", "text is empty"));
    }
    if asked.text.len() > MAX_TEXT {
        return Err(too_large().param("text"));
    }
    asked.form = with_header(asked.form, &headers);
    let plan = plan_from(&asked.form, &service.config)?;
    let delivery = delivery(&asked.form)?;
    if let Delivery::Body(format @ (Format::Srt | Format::Vtt | Format::Lrc), _) = delivery {
        return Err(ApiError::bad_field("format", format!("{format} needs times, and a text has none")));
    }
    let text = transcript(&asked.text, plan.language);
    pipeline::run(&service, place, plan, Source::Text { text, name: "text".to_owned() }, delivery).await
}

async fn read(request: Request, patience: Duration) -> Result<TextRequest, ApiError> {
    if !is_json(request.headers()) {
        let message = "send JSON with the content type application/json, such as {\"text\": \"…\"}";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|bytes: usize| bytes > MAX_BODY) {
        return Err(too_large());
    }
    let late = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
    let body = tokio::time::timeout(patience, collect(request.into_body())).await.map_err(late)??;
    let value: Value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("the body is no JSON: {error}")))?;
    TextRequest::deserialize(value).map_err(|error| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the JSON is not what it should be: {error}"))
    })
}

async fn collect(body: Body) -> Result<Vec<u8>, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut all = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let broken = |error| ApiError::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"));
        all.extend_from_slice(&chunk.map_err(broken)?);
        if all.len() > MAX_BODY {
            return Err(too_large());
        }
    }
    Ok(all)
}

fn too_large() -> ApiError {
    let message = format!("the text is longer than {MAX_TEXT} bytes: send it in parts");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("text_too_long")
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

impl<'de> Deserialize<'de> for TextRequest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let text = match fields.remove("text") {
            Some(Value::String(text)) => text,
            Some(_) => return Err(D::Error::custom("text is not a string")),
            None => return Err(D::Error::missing_field("text")),
        };
        let stream = match fields.remove("stream") {
            None | Some(Value::Null | Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some(("stream".to_owned(), "true".to_owned())),
            Some(_) => return Err(D::Error::custom("stream is not true or false")),
        };
        // A list would do for serde, field by field.
        if fields.get("plan").is_some_and(|plan| !plan.is_object() && !plan.is_null()) {
            return Err(D::Error::custom("plan is not an object"));
        }
        let plan = |value| PlanFields::deserialize(value).map(PlanFields::into_form).map_err(D::Error::custom);
        let mut form = fields.remove("plan").filter(|value| !value.is_null()).map_or(Ok(Form::default()), plan)?;
        form.0.extend(plan(Value::Object(fields))?.0);
        form.0.extend(stream);
        Ok(TextRequest { text, form })
    }
}

impl PartialSchema for TextRequest {
    fn schema() -> RefOr<Schema> {
        let mut object = match PlanFields::schema() {
            RefOr::T(Schema::Object(object)) => object,
            _ => Object::new(),
        };
        let text = Object::builder()
            .schema_type(Type::String)
            .description(Some("The text; at least one character that is not white space."))
            .pattern(Some(r"\S"))
            .max_length(Some(MAX_TEXT / 4));
        let stream =
            Object::builder().schema_type(Type::Boolean).description(Some("Events as each stage produces something."));
        let formats = ["json", "jsonl", "text", "tsv", "csv", "md"];
        let format = Object::builder()
            .schema_type(Type::String)
            .description(Some("What the answer is written as: what needs no times. `json` by default."))
            .enum_values(Some(formats));
        object.properties.insert("format".to_owned(), format.build().into());
        let mut plan = object.clone();
        plan.description = Some("The same fields in one. A field beside it wins.".to_owned());
        object.properties.insert("text".to_owned(), text.build().into());
        object.properties.insert("stream".to_owned(), stream.build().into());
        object.properties.insert("plan".to_owned(), plan.into());
        object.required.push("text".to_owned());
        object.into()
    }
}

impl ToSchema for TextRequest {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        PlanFields::schemas(schemas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(value: Value) -> Result<TextRequest, String> {
        TextRequest::deserialize(value).map_err(|error| error.to_string())
    }

    #[test]
    fn flat_fields_and_a_plan() {
        let asked = request(json!({"text": "hello", "stream": true, "cleanup": "tidy", "plan": {"to": "de"}})).unwrap();
        assert_eq!((asked.form.one("cleanup"), asked.form.one("to")), (Some("tidy"), Some("de")));
        assert!(asked.form.flag("stream").unwrap());
        let both = request(json!({"text": "a", "to": "fr", "plan": {"to": "de"}})).unwrap();
        assert_eq!(both.form.one("to"), Some("fr"));
    }

    #[test]
    fn what_has_the_wrong_shape_says_so() {
        for (value, word) in [
            (json!([]), "map"),
            (json!({"txt": "a"}), "text"),
            (json!({"text": 5}), "text"),
            (json!({"text": "a", "clenup": "tidy"}), "clenup"),
            (json!({"text": "a", "stream": "yes"}), "stream"),
            (json!({"text": "a", "plan": {"word_times": "yes"}}), "boolean"),
        ] {
            let error = request(value.clone()).err().unwrap_or_default();
            assert!(error.contains(word), "{value}: {error}");
        }
    }
}
