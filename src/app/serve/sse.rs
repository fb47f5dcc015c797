//! Server-sent events (HTML standard, 9.2). A comment every 15 s keeps the connection through proxies and tells a
//! client that it is still there; parsers drop comments.

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Response, Sse};
use futures_util::Stream;
use std::time::Duration;
use utoipa::ToSchema;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A server-sent event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes streams in the OpenAPI document")]
pub(super) struct ServerSentEvent {
    /// Its number, where a stream can be taken up again (`Last-Event-ID`).
    #[schema(nullable = false)]
    id: Option<String>,
    /// What happened; OpenAI's endpoint leaves it out.
    #[schema(nullable = false)]
    event: Option<String>,
    /// JSON: a `RunEvent`; of `audio/transcriptions` a `TranscriptEvent`.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// What a stream yields: an event, or why its data is no JSON (which ends the stream).
pub(super) type Sent = Result<Event, axum::Error>;

/// The answer that sends `events` as they come. Dropping it drops them.
pub(super) fn answer(events: impl Stream<Item = Sent> + Send + 'static) -> Response {
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // nginx would hold events back until its buffer is full.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
