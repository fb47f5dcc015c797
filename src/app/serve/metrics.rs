//! What Prometheus reads.

use super::state::Service;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;

/// All metrics of the service.
#[derive(Default)]
pub(super) struct Metrics {}

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
}
