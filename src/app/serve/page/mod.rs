//! (to be written)

use super::state::Service;
use axum::Router;
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
}
