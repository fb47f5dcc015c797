//! Who may bring audio: a bounded number of requests at once, decided from the head of a request.

use super::edge::Client;
use super::error::ApiError;
use super::state::Service;
use axum::extract::FromRequestParts;
use axum::http::{StatusCode, request::Parts};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for requests with audio: uploading, waiting or in work.
pub(super) struct Admission {
    places: Arc<Semaphore>,
    total: usize,
}

impl Admission {
    pub fn new(places: u32) -> Self {
        Admission { places: Arc::new(Semaphore::new(places as usize)), total: places as usize }
    }

    /// Requests that hold a place.
    pub fn taken(&self) -> usize {
        self.total - self.places.available_permits()
    }
}

/// A place, decided before the body is read; given back when this is dropped, whatever became of the request.
pub(super) struct Admitted {
    /// Who asks.
    pub client: Client,
    _place: OwnedSemaphorePermit,
}

impl FromRequestParts<Arc<Service>> for Admitted {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, ApiError> {
        if service.draining.is_cancelled() {
            return Err(ApiError::draining());
        }
        service.engine()?;
        let client = Client::from_request_parts(parts, service).await?;
        let place = service.admission.places.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{} requests are waiting already; try again shortly", service.admission.total);
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).code("queue_full").retry_after(2)
        })?;
        Ok(Admitted { client, _place: place })
    }
}
