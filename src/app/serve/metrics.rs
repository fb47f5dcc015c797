//! What Prometheus reads, in the OpenMetrics text format. Labels come from closed sets (route templates, states, reason
//! codes), so that no client can make them grow.

mod observe;
mod speech;

use super::state::Service;
use crate::engine::{TierState, TierStatus};
use crate::outcome::{Outcome, Tier};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use observe::{Reason, observe};

/// Upper bounds of seconds: from a cache hit to a long recording.
const SECONDS: [f64; 18] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];
/// Upper bounds of seconds of work a second of audio.
const RATIOS: [f64; 12] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0];
/// The format that `encode` writes.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels<const N: usize> = [(&'static str, String); N];
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// All metrics of the service.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Labels<3>, Counter>,
    request_seconds: Histograms<2>,
    in_flight: Gauge,
    received: Counter,
    sent: Counter,
    rejected: Family<Labels<1>, Counter>,
    audio: Counter<f64, AtomicU64>,
    real_time_factor: Histogram,
    stages: Histograms<1>,
    fallbacks: Family<Labels<1>, Counter>,
    tier_up: Family<Labels<1>, Gauge>,
    tier_restarts: Family<Labels<1>, Counter>,
    places_taken: Gauge,
    jobs: Family<Labels<1>, Gauge>,
    /// The recognisers.
    pub recognition: speech::Recognition,
    resident: Gauge,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            in_flight: Gauge::default(),
            received: Counter::default(),
            sent: Counter::default(),
            rejected: Family::default(),
            audio: Counter::default(),
            real_time_factor: Histogram::new(RATIOS),
            stages: Family::new_with_constructor(seconds),
            fallbacks: Family::default(),
            tier_up: Family::default(),
            tier_restarts: Family::default(),
            places_taken: Gauge::default(),
            jobs: Family::default(),
            recognition: speech::Recognition::new(),
            resident: Gauge::default(),
            registry: Registry::default(),
        };
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("bestbox_build", "What is running", build);
        let started = Gauge::<f64, AtomicU64>::default();
        started.set(UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64());
        let help = "When the service started, since 1970";
        registry.register_with_unit("process_start_time", help, Unit::Seconds, started);
        metrics.register(&mut registry);
        Metrics { registry, ..metrics }
    }

    fn register(&self, registry: &mut Registry) {
        let all = registry;
        all.register("bestbox_http_requests", "Requests answered", self.requests.clone());
        let help = "From the head of a request to the last byte of its answer";
        all.register_with_unit("bestbox_http_request_duration", help, Unit::Seconds, self.request_seconds.clone());
        all.register("bestbox_http_requests_in_flight", "Requests under way", self.in_flight.clone());
        all.register_with_unit("bestbox_http_received", "Bodies of requests", Unit::Bytes, self.received.clone());
        all.register_with_unit("bestbox_http_sent", "Bodies of answers", Unit::Bytes, self.sent.clone());
        all.register("bestbox_rejected", "Requests turned away for load or state, by reason", self.rejected.clone());
        let help = "Requests with audio: uploading, waiting or in work";
        all.register("bestbox_places_taken", help, self.places_taken.clone());
        all.register_with_unit("bestbox_audio", "Audio worked through", Unit::Seconds, self.audio.clone());
        let help = "Seconds of recognition a second of audio, for each recording";
        all.register("bestbox_real_time_factor", help, self.real_time_factor.clone());
        let help = "Stages of a run; they overlap";
        all.register_with_unit("bestbox_stage_duration", help, Unit::Seconds, self.stages.clone());
        let help = "What did not work, by the code of the warning";
        all.register("bestbox_fallbacks", help, self.fallbacks.clone());
        all.register("bestbox_tier_up", "Whether a language model serves", self.tier_up.clone());
        let help = "How often a language model has come back";
        all.register("bestbox_tier_restarts", help, self.tier_restarts.clone());
        all.register("bestbox_jobs", "Long recordings, by where they stand", self.jobs.clone());
        self.recognition.register(all);
        all.register_with_unit("process_resident_memory", "Resident memory", Unit::Bytes, self.resident.clone());
    }

    /// A run has come to its end.
    pub fn outcome(&self, outcome: &Outcome) {
        let timings = &outcome.timings;
        self.audio.inc_by(timings.audio_s.max(0.0));
        if let Some(ms) = timings.recognize_ms.filter(|_| timings.audio_s > 0.0) {
            self.real_time_factor.observe(ms / 1000.0 / timings.audio_s);
        }
        let stages = [
            ("decode", timings.decode_ms),
            ("vad", timings.vad_ms),
            ("recognise", timings.recognize_ms),
            ("clean", timings.clean_ms),
            ("translate", timings.translate_ms),
            ("intent", timings.intent_ms),
            ("reply_first", timings.reply_first_ms),
            ("reply", timings.reply_ms),
            ("total", Some(timings.total_ms)),
        ];
        for (stage, ms) in stages {
            if let Some(ms) = ms {
                self.stages.get_or_create(&[("stage", stage.to_owned())]).observe(ms / 1000.0);
            }
        }
        for warning in &outcome.warnings {
            // The name that it has in JSON.
            let name = serde_json::to_value(warning.code).ok();
            if let Some(name) = name.as_ref().and_then(serde_json::Value::as_str) {
                self.fallbacks.get_or_create(&[("reason", name.to_owned())]).inc();
            }
        }
    }

    /// Everything in the text format.
    fn text(&self, service: &Service) -> String {
        self.places_taken.set(count(service.admission.taken()));
        self.resident.set(resident_bytes().unwrap_or_default());
        if let Ok(engine) = service.engine() {
            if let Ok(models) = engine.speech() {
                self.recognition.update(models);
            }
            for tier in [Tier::Light, Tier::Heavy] {
                self.tier(&engine.tier_status(tier));
            }
        }
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }

    /// A tier that is not used has no series.
    fn tier(&self, status: &TierStatus) {
        if status.state == TierState::Off {
            return;
        }
        let labels = [("tier", status.tier.name().to_owned())];
        self.tier_up.get_or_create(&labels).set(i64::from(status.state == TierState::Up));
        let restarts = self.tier_restarts.get_or_create_owned(&labels);
        restarts.inner().store(u64::from(status.restarts), Ordering::Relaxed);
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// Everything that is counted and measured, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, description = "OpenMetrics text.", body = String,
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"))
)]
async fn metrics(State(service): State<Arc<Service>>) -> Response {
    for (status, jobs) in service.jobs.counts().await {
        let labels = [("status", status.name().to_owned())];
        service.metrics.jobs.get_or_create(&labels).set(i64::try_from(jobs).unwrap_or(i64::MAX));
    }
    ([(header::CONTENT_TYPE, FORMAT)], service.metrics.text(&service)).into_response()
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Resident memory of this process (field 2 of proc_pid_statm(5), in pages).
#[cfg(target_os = "linux")]
fn resident_bytes() -> Option<i64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse::<i64>().ok()?;
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * size)
}

#[cfg(not(target_os = "linux"))]
fn resident_bytes() -> Option<i64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Warning, WarningCode};

    #[test]
    fn an_outcome_is_counted_by_stage_and_by_reason() {
        let metrics = Metrics::new();
        let mut outcome: Outcome = serde_json::from_str(EMPTY).expect("an outcome");
        outcome.timings.audio_s = 10.0;
        outcome.timings.recognize_ms = Some(2500.0);
        outcome.timings.intent_ms = Some(40.0);
        outcome.warnings = vec![Warning::new(WarningCode::CleanupUnavailable, "no server")];
        metrics.outcome(&outcome);
        metrics.outcome(&outcome);
        let mut text = String::new();
        encode(&mut text, &metrics.registry).expect("text");
        for line in [
            "bestbox_audio_seconds_total 20.0",
            "bestbox_fallbacks_total{reason=\"cleanup-unavailable\"} 2",
            "bestbox_real_time_factor_bucket{le=\"0.2\"} 0",
            "bestbox_real_time_factor_bucket{le=\"0.35\"} 2",
            "bestbox_stage_duration_seconds_sum{stage=\"recognise\"} 5.0",
            "bestbox_stage_duration_seconds_count{stage=\"intent\"} 2",
        ] {
            assert!(text.lines().any(|have| have == line), "no {line} in\n{text}");
        }
        assert!(!text.contains("stage=\"translate\""), "a stage that did not run\n{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    const EMPTY: &str = r#"{"schema":1,"source":{"name":"a","duration":null,"format":null},
        "transcript":{"language":null,"segments":[]},"cleaned":null,"translated":null,"intent":null,"reply":null,
        "warnings":[],"timings":{}}"#;
}
