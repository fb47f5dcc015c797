//! `GET /v1/jobs/{id}/events`: what has happened and what happens, as server-sent events.
//!
//! Events are read from the database, where they stand before anybody hears of them. So whoever comes late or comes back
//! sees the same, in the same order, under the same numbers.

use super::store::StoredEvent;
use crate::app::serve::edge::Client;
use crate::app::serve::error::{ApiError, ErrorBody};
use crate::app::serve::events::RunEvent;
use crate::app::serve::sse::{self, ServerSentEvent};
use crate::app::serve::state::Service;
use async_stream::stream;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// Everything that happened to a job and what happens until it is over: `opened`, `language`, `segment`, `cleaned`,
/// `translated`, `intent`, `reply.delta`, `progress`, `warning`, and last `done` with the outcome, `error` or
/// `cancelled`. Each has its number as `id`: with `Last-Event-ID` only later ones are sent, and 204 when none will come.
/// An `intent` begins the answer anew; `restarted` begins everything anew (the service's models were changed).
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "jobs",
    params(
        ("id" = String, Path, description = "The job's id"),
        ("Last-Event-ID" = Option<u32>, Header, description = "Number of the last event that was seen"),
    ),
    responses(
        (status = 200, description = "Events; each data line is JSON with its `type`", body = ServerSentEvent,
            content_type = "text/event-stream"),
        (status = 204, description = "Nothing comes after that event"),
        (status = 400, description = "A header is wrong", body = ErrorBody),
        (status = 401, description = "A key is needed", body = ErrorBody),
        (status = 403, description = "Not from here", body = ErrorBody),
        (status = 404, description = "No such job", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The disk cannot be used", body = ErrorBody),
    )
)]
pub(super) async fn job_events(
    State(service): State<Arc<Service>>,
    client: Client,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut seen = last_seen(&headers);
    let job = service.jobs.own(&id, &client).await?;
    // From before the first look, so that nothing falls between.
    let mut news = service.jobs.journal.news();
    let mut ready = service.jobs.store.events(&job.id, seen).await?;
    if job.status.is_over() && ready.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let events = stream! {
        loop {
            let more = !ready.is_empty();
            for event in ready.drain(..) {
                seen = event.seq;
                let last = matches!(event.kind.as_str(), "done" | "error" | "cancelled");
                if event.kind != "void" {
                    yield Ok(shown(&service, &id, event).await);
                }
                if last {
                    return;
                }
            }
            if !more && !wait(&service, &id, &mut news).await {
                return;
            }
            match service.jobs.store.events(&id, seen).await {
                Ok(events) => ready = events,
                Err(error) => {
                    yield RunEvent::from(Err(ApiError::from(error))).sent();
                    return;
                }
            }
        }
    };
    let mut response = sse::answer(events);
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A header that is no number of ours comes from another stream: everything is told again.
fn last_seen(headers: &HeaderMap) -> i64 {
    let value = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    value.and_then(|value| value.trim().parse::<u32>().ok()).map_or(0, i64::from)
}

/// Returns when there may be more of a job; false when there will not be: it was deleted, or the service ends.
async fn wait(service: &Service, id: &str, news: &mut tokio::sync::broadcast::Receiver<super::journal::Id>) -> bool {
    loop {
        let news = tokio::select! {
            news = news.recv() => news,
            () = service.draining.cancelled() => return false,
        };
        match news {
            Ok(job) if *job != *id => continue,
            // Too many at once to tell: look.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return false,
        }
        return matches!(service.jobs.store.find(id).await, Ok(Some(_)));
    }
}

async fn shown(service: &Service, id: &str, event: StoredEvent) -> Event {
    let data = match event.kind.as_str() {
        // The result is stored once, with the job.
        "done" => {
            let outcome = service.jobs.store.outcome(id).await.ok().flatten();
            format!("{{\"type\":\"done\",\"outcome\":{}}}", outcome.as_deref().unwrap_or("null"))
        }
        _ => event.data,
    };
    Event::default().id(event.seq.to_string()).event(event.kind).data(data)
}
