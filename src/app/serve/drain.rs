//! The end of the service, in this order: nothing new is taken; work under way has its grace time; what does not fit is
//! kept as a job; connections are closed and servers are stopped.
//!
//! It goes on listening meanwhile, so that whoever comes is told to come back later instead of finding nobody.

use super::body::watched;
use super::edge::Client;
use super::error::ApiError;
use super::form::Form;
use super::state::Service;
use super::upload::Audio;
use crate::error::Error;
use crate::language::{Lang, LanguageChoice};
use crate::outcome::{Plan, Task};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clap::ValueEnum;
use prometheus_client::metrics::counter::Counter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time to hand over what has not been finished: a file is renamed and a row is written.
const HANDOVER: Duration = Duration::from_secs(5);
/// Time for the last answers to leave.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often a wait looks again.
const TICK: Duration = Duration::from_millis(20);

/// How far the end has come, for those who work.
#[derive(Default)]
pub(super) struct Ending {
    /// The grace time is over: work that has its recording on disk becomes a job.
    pub over: CancellationToken,
    /// What has not been answered by now is refused.
    cut: CancellationToken,
    under_way: Arc<AtomicUsize>,
}

/// Counted while a request that changes or makes something is under way, to the last byte of its answer.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        UnderWay(count.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Refuses what comes while the service ends, and counts what is under way. Health and metrics stay open.
pub(super) async fn gate(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path.starts_with("/health") || path == "/metrics" {
        return next.run(request).await;
    }
    // Looked at after this is counted: either the end sees this request, or this request sees the end.
    let under_way = UnderWay::begin(&service.ending.under_way);
    if service.draining.is_cancelled() {
        return ApiError::draining().into_response();
    }
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        // They only look; somebody who watches a job would keep the service for ever.
        drop(under_way);
        return next.run(request).await;
    }
    tokio::select! {
        response = next.run(request) => response.map(|body| watched(body, Counter::default(), under_way)),
        () = service.ending.cut.cancelled() => ApiError::draining().into_response(),
    }
}

/// A request whose grace time is over: what it takes to go on with it later.
pub(super) struct Unfinished {
    pub client: Client,
    pub plan: Plan,
    pub audio: Audio,
}

impl Unfinished {
    /// The plan as the fields of a job's form.
    pub fn form(&self) -> Form {
        let plan = &self.plan;
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut fields = vec![
            field("cleanup", &name(&plan.clean)),
            field("to", plan.translate.map_or("none", Lang::code)),
            field("route", plan.force.as_deref().unwrap_or(&name(&plan.route))),
            field("word_times", if plan.word_times { "true" } else { "false" }),
            field("temperature", &plan.temperature.to_string()),
        ];
        if plan.task == Task::TranslateToEnglish {
            fields.push(field("task", "translate"));
        }
        let language = match plan.language {
            LanguageChoice::Fixed(lang) => lang.code(),
            LanguageChoice::Auto => "auto",
        };
        fields.push(field("language", language));
        fields.extend(plan.hint.iter().map(|hint| field("hint", hint)));
        fields.extend(plan.conversation.iter().map(|name| field("conversation", name)));
        fields.extend(plan.prompt.iter().map(|prompt| field("prompt", prompt)));
        fields.extend(plan.model.iter().map(|model| field("model", model)));
        fields.extend(plan.vocabulary.iter().map(|term| field("keywords[]", term)));
        Form(fields)
    }
}

fn name<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Hands a request over to the jobs: what its client is told.
pub(super) async fn keep(service: &Service, left: Unfinished) -> Error {
    let form = left.form();
    match service.jobs.adopt(&left.client, form, left.audio).await {
        Ok(id) => Error::Kept(id),
        Err(error) => {
            tracing::error!(error = error.message, "a request cannot be kept as a job");
            Error::Interrupted
        }
    }
}

/// Ends the service; returns when its servers have ended too.
pub(super) async fn end(service: &Service, handle: &axum_server::Handle<SocketAddr>) {
    service.draining.cancel();
    let grace = Duration::from_secs_f64(service.config.serve.grace_seconds);
    // Jobs keep; what they leave of the recognisers, the requests under way have.
    service.jobs.pause().await;
    if tokio::time::timeout(grace, idle(service)).await.is_err() {
        tracing::warn!("the grace time is over; what is not finished is kept as jobs");
        service.ending.over.cancel();
        if tokio::time::timeout(HANDOVER, idle(service)).await.is_err() {
            service.ending.cut.cancel();
            let _ = tokio::time::timeout(FAREWELL, idle(service)).await;
        }
    }
    handle.graceful_shutdown(Some(FAREWELL));
    let closed = async {
        while handle.connection_count() > 0 {
            tokio::time::sleep(TICK).await;
        }
    };
    // Connections that somebody only watched are cut off after that.
    let _ = tokio::time::timeout(2 * FAREWELL, closed).await;
    service.jobs.close().await;
    if let Ok(engine) = service.engine() {
        engine.stop().await;
    }
}

/// Returns when nothing is under way; sessions over WebSocket hold a place as every request with audio does.
async fn idle(service: &Service) {
    while service.ending.under_way.load(Ordering::Acquire) > 0 || service.admission.taken() > 0 {
        tokio::time::sleep(TICK).await;
    }
}
