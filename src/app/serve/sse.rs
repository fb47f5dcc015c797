//! Server-sent events (HTML standard, 9.2). A comment every 15 s keeps the connection through proxies and tells a
//! client that it is still there; parsers drop comments.

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Response, Sse};
use futures_util::Stream;
use std::time::Duration;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream yields: an event, or why its data is no JSON (which ends the stream).
pub(super) type Sent = Result<Event, axum::Error>;

/// The answer that sends `events` as they come. Dropping it drops them.
pub(super) fn answer(events: impl Stream<Item = Sent> + Send + 'static) -> Response {
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // nginx would hold events back until its buffer is full.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
