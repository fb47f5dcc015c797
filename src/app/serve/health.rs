//! Whether the service lives, and whether it is worth sending it anything. Open to everybody: says no secrets.

use super::error::{ApiError, ErrorDetail};
use super::state::Service;
use crate::engine::{Engine, TierState, TierStatus};
use crate::error::Error;
use crate::outcome::Tier;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready)).routes(routes!(health))
}

/// It answers, so it lives.
#[derive(Debug, Serialize, ToSchema)]
struct Live {
    /// `ok`
    status: &'static str,
}

/// How the service is.
#[derive(Debug, Serialize, ToSchema)]
struct Ready {
    status: Status,
    model: ModelHealth,
    tiers: TiersHealth,
    queue: QueueHealth,
    /// Whether the service is ending and takes nothing new.
    draining: bool,
    /// Version of bestbox.
    version: &'static str,
    /// With status 503: the same as every error says.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDetail>,
}

/// In one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// Everything works.
    Ok,
    /// Speech is recognised; a language model is down, and its steps are done without it.
    Degraded,
    /// The speech model is being loaded.
    Loading,
    /// The service is ending.
    Draining,
}

/// The configured speech model.
#[derive(Debug, Serialize, ToSchema)]
struct ModelHealth {
    /// Its name.
    name: String,
    /// Whether speech can be recognised.
    loaded: bool,
}

/// The language models.
#[derive(Debug, Serialize, ToSchema)]
struct TiersHealth {
    light: TierHealth,
    heavy: TierHealth,
}

/// A language model.
#[derive(Debug, Serialize, ToSchema)]
struct TierHealth {
    state: TierWord,
    /// Why it is down.
    reason: Option<String>,
    /// Since when it is like this, seconds since 1970.
    since: u64,
    /// How often it has come back after it was up.
    restarts: u32,
    /// Its name.
    model: String,
    /// Whether bestbox starts and stops its server.
    managed: bool,
}

/// How a language model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum TierWord {
    /// Not used.
    Off,
    /// Started when it is needed.
    Waiting,
    /// Coming up.
    Starting,
    /// Serving.
    Up,
    /// Not serving; it is tried again by itself.
    Down,
}

/// How much there is to do.
#[derive(Debug, Serialize, ToSchema)]
struct QueueHealth {
    /// Requests with audio: uploading, waiting or in work.
    requests: usize,
    /// Most of them at once.
    places: usize,
}

/// The process lives and answers.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "It lives.", body = Live)))]
async fn live() -> Json<Live> {
    Json(Live { status: "ok" })
}

/// Whether speech can be recognised, and how everything else is.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses(
        (status = 200, description = "Speech can be recognised; `degraded` where a language model is down.", body = Ready),
        (status = 503, description = "Loading, or ending.", body = Ready, headers(("retry-after" = u64)))
    )
)]
async fn ready(State(service): State<Arc<Service>>) -> Response {
    report(&service)
}

/// The same as `/health/ready`, where clients of llama.cpp and whisper.cpp look for it.
#[utoipa::path(
    get, path = "/health", tag = "health",
    responses(
        (status = 200, description = "Speech can be recognised; `degraded` where a language model is down.", body = Ready),
        (status = 503, description = "Loading, or ending.", body = Ready, headers(("retry-after" = u64)))
    )
)]
async fn health(State(service): State<Arc<Service>>) -> Response {
    report(&service)
}

fn report(service: &Service) -> Response {
    let engine = service.engine().ok();
    let tier =
        |tier| engine.map_or_else(|| not_yet(service, tier), |engine| TierHealth::from(engine.tier_status(tier)));
    let tiers = TiersHealth { light: tier(Tier::Light), heavy: tier(Tier::Heavy) };
    let draining = service.draining.is_cancelled();
    let status = match engine {
        _ if draining => Status::Draining,
        None => Status::Loading,
        Some(_) if [&tiers.light, &tiers.heavy].iter().any(|tier| tier.state == TierWord::Down) => Status::Degraded,
        Some(_) => Status::Ok,
    };
    let refusal = match status {
        Status::Draining => Some(ApiError::draining()),
        Status::Loading => Some(Error::Loading.into()),
        Status::Ok | Status::Degraded => None,
    };
    let report = Ready {
        status,
        model: ModelHealth {
            name: file_name(&service.config.speech.model),
            loaded: engine.is_some_and(Engine::speaks),
        },
        tiers,
        queue: QueueHealth { requests: service.admission.taken(), places: service.config.serve.max_requests as usize },
        draining,
        version: env!("CARGO_PKG_VERSION"),
        error: refusal.as_ref().map(|refusal| refusal.body().error),
    };
    let code = refusal.as_ref().map_or(StatusCode::OK, |refusal| refusal.status);
    let mut response = (code, Json(report)).into_response();
    if let Some(seconds) = refusal.and_then(|refusal| refusal.retry_after) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A tier before there is an engine to ask.
fn not_yet(service: &Service, tier: Tier) -> TierHealth {
    let settings = service.config.tier(tier);
    TierHealth {
        state: TierWord::Waiting,
        reason: None,
        since: seconds(service.started),
        restarts: 0,
        model: file_name(&settings.model),
        managed: settings.manage,
    }
}

impl From<TierStatus> for TierHealth {
    fn from(status: TierStatus) -> Self {
        let state = match status.state {
            TierState::Off => TierWord::Off,
            TierState::Waiting => TierWord::Waiting,
            TierState::Starting => TierWord::Starting,
            TierState::Up => TierWord::Up,
            TierState::Down => TierWord::Down,
        };
        TierHealth {
            state,
            reason: status.reason,
            since: seconds(status.since),
            restarts: status.restarts,
            model: status.model,
            managed: status.managed,
        }
    }
}

fn seconds(at: std::time::SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Where a model is on this machine is nobody's business.
fn file_name(model: &str) -> String {
    Path::new(model).file_name().unwrap_or_default().to_string_lossy().into_owned()
}
