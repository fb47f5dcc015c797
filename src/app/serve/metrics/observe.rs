//! The outermost layer: every request, from its head to the last byte of its answer.

use super::{Metrics, Service};
use crate::app::serve::body::watched;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use std::time::Instant;

/// Why a request was turned away; stands in the extensions of an error's response.
#[derive(Clone, Copy, Debug)]
pub(in crate::app::serve) struct Reason(pub &'static str);

/// Counts and measures.
pub(in crate::app::serve) async fn observe(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let mut exchange = Exchange::begin(service.clone(), method(request.method()), route);
    let received = service.metrics.received.clone();
    let response = next.run(request.map(|body| watched(body, received, ()))).await;
    exchange.answered(&response);
    response.map(|body| watched(body, service.metrics.sent.clone(), exchange))
}

/// A request under way.
struct Exchange {
    service: Arc<Service>,
    method: &'static str,
    route: String,
    began: Instant,
    /// None until there is one.
    status: Option<StatusCode>,
}

impl Exchange {
    fn begin(service: Arc<Service>, method: &'static str, route: String) -> Self {
        service.metrics.in_flight.inc();
        Exchange { service, method, route, began: Instant::now(), status: None }
    }

    fn answered(&mut self, response: &Response) {
        let status = response.status();
        self.status = Some(status);
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let reason = response.extensions().get::<Reason>().map_or("other", |reason| reason.0);
            self.metrics().rejected.get_or_create(&[("reason", reason.to_owned())]).inc();
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.service.metrics
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let metrics = self.metrics();
        metrics.in_flight.dec();
        let (method, route) = (("method", self.method.to_owned()), ("route", self.route.clone()));
        // 499: nginx's code for a client that has gone before there was an answer.
        let status = self.status.as_ref().map_or("499", StatusCode::as_str).to_owned();
        metrics.requests.get_or_create(&[method.clone(), route.clone(), ("status", status)]).inc();
        metrics.request_seconds.get_or_create(&[method, route]).observe(self.began.elapsed().as_secs_f64());
    }
}

/// Methods are a label, so only those that are served count.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
