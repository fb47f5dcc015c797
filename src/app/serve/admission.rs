//! Who may bring audio: a bounded number of requests at once, decided from the head of a request.

use super::edge::Client;
use super::error::ApiError;
use super::state::Service;
use axum::extract::FromRequestParts;
use axum::http::{StatusCode, request::Parts};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Share of the newest request in the mean time that a place is held.
const NEWEST: f64 = 0.1;
/// Longest time that a client is told to wait, seconds.
const MAX_RETRY_AFTER: f64 = 120.0;

/// Places for requests with audio: uploading, waiting or in work.
pub(super) struct Admission {
    places: Arc<Semaphore>,
    total: usize,
    /// Mean time that a place is held, seconds, the newest ones counting most; none before the first.
    held: Mutex<Option<f64>>,
}

impl Admission {
    pub fn new(places: u32) -> Self {
        let total = places as usize;
        Admission { places: Arc::new(Semaphore::new(total)), total, held: Mutex::default() }
    }

    /// Requests that hold a place.
    pub fn taken(&self) -> usize {
        self.total - self.places.available_permits()
    }

    /// Whole seconds until a place of `places` is free again: by Little's law places become free at the rate
    /// `places / mean time that one is held`.
    fn retry_after(&self, places: usize) -> u64 {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(2.0);
        (held / places.max(1) as f64).clamp(1.0, MAX_RETRY_AFTER).ceil() as u64
    }

    fn released(&self, after: Duration) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let after = after.as_secs_f64();
        *held = Some(held.map_or(after, |mean| mean + NEWEST * (after - mean)));
    }
}

/// A place, decided before the body is read; given back when this is dropped, whatever became of the request.
pub(super) struct Admitted {
    /// Who asks.
    pub client: Client,
    service: Arc<Service>,
    since: Instant,
    _place: OwnedSemaphorePermit,
    _place_of_client: Option<OwnedSemaphorePermit>,
}

impl FromRequestParts<Arc<Service>> for Admitted {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, ApiError> {
        if service.draining.is_cancelled() {
            return Err(ApiError::draining());
        }
        service.engine()?;
        let client = Client::from_request_parts(parts, service).await?;
        let admission = &service.admission;
        let busy = |message: String, code, places| {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).code(code).retry_after(admission.retry_after(places))
        };
        let own = client.places.clone().map(Semaphore::try_acquire_owned).transpose().map_err(|_| {
            let message = "this key has as many requests under way as it may have; try again when one has ended";
            busy(message.to_owned(), "too_many_concurrent_requests", 1)
        })?;
        let place = admission.places.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{} requests are under way already; try again shortly", admission.total);
            busy(message, "queue_full", admission.total)
        })?;
        let (service, since) = (service.clone(), Instant::now());
        Ok(Admitted { client, service, since, _place: place, _place_of_client: own })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.service.admission.released(self.since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_from_how_long_places_are_held() {
        let admission = Admission::new(4);
        assert_eq!(admission.retry_after(4), 1, "nothing known yet");
        admission.released(Duration::from_secs(40));
        assert_eq!(admission.retry_after(4), 10);
        assert_eq!(admission.retry_after(1), 40);
        for _ in 0..100 {
            admission.released(Duration::from_secs(3600));
        }
        assert_eq!(admission.retry_after(4), 120, "never told to stay away for ever");
        for _ in 0..200 {
            admission.released(Duration::from_millis(10));
        }
        assert_eq!(admission.retry_after(4), 1, "never told to come back at once");
    }
}
