//! A request's body while it is read: slow senders are given up, and what nobody wanted is taken in a little longer.

use crate::config::ServeConfig;
use axum::BoxError;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{Version, header};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Bytes and time for which the rest of a refused body is taken in and thrown away. A connection that is closed with
/// unread bytes in it is reset, and the reset can overtake the answer that says why.
const LINGER_BYTES: usize = 64 << 20;
const LINGER: Duration = Duration::from_secs(10);

/// How long a sender is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    idle: Duration,
    bytes_per_second: u64,
}

/// What is known of a body from outside.
#[derive(Debug, Default)]
pub(super) struct Passed {
    bytes: AtomicU64,
    slow: AtomicBool,
}

/// A sender that is too slow.
#[derive(Debug, thiserror::Error)]
#[error("the sender is too slow")]
struct TooSlow;

/// A body that is read under [`Patience`].
pub(super) struct Watched {
    inner: Body,
    patience: Patience,
    passed: Arc<Passed>,
    /// Runs while the sender is waited for; made at the first wait.
    timer: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    waited: Duration,
    /// Whether its sender may be sending: one that waits for `100 Continue` is not until it is told.
    sending: bool,
    /// Nothing more will come, or what comes is not to be taken in.
    over: bool,
}

impl Patience {
    pub fn new(config: &ServeConfig) -> Self {
        let idle = Duration::from_secs_f64(config.idle_timeout_seconds);
        Patience { idle, bytes_per_second: config.min_bytes_per_second }
    }

    /// Whether `bytes` are too few for `waited`. The time that we take to store them does not count.
    fn is_over(&self, bytes: u64, waited: Duration) -> bool {
        waited > self.idle && (bytes as f64) < self.bytes_per_second as f64 * waited.as_secs_f64()
    }
}

impl Passed {
    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the body was given up because its sender was too slow.
    pub fn too_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }
}

impl Watched {
    /// The same request with its body watched.
    pub fn wrap(request: Request, patience: Patience, passed: Arc<Passed>) -> Request {
        let (parts, inner) = request.into_parts();
        let sending = !parts.headers.contains_key(header::EXPECT);
        // HTTP/2 ends one stream without the others.
        let over = parts.version >= Version::HTTP_2 || inner.is_end_stream();
        let (timer, waiting_since, waited) = (None, None, Duration::ZERO);
        let watched = Watched { inner, patience, passed, timer, waiting_since, waited, sending, over };
        Request::from_parts(parts, Body::new(watched))
    }

    fn give_up(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.over = true;
        self.passed.slow.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(Box::new(TooSlow))))
    }

    /// Still waiting: whether that has lasted too long.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(now + self.patience.idle),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(now + self.patience.idle))),
            }
        }
        match self.timer.as_mut().map(|timer| timer.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => self.give_up(),
            _ => Poll::Pending,
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.sending = true;
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Pending => self.wait(cx),
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(since) = self.waiting_since.take() {
                    self.waited += since.elapsed();
                }
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                let bytes = self.passed.bytes.fetch_add(length, Ordering::Relaxed) + length;
                if self.patience.is_over(bytes, self.waited) {
                    return self.give_up();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.over = true;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.over = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.over || !self.sending || self.inner.is_end_stream() {
            return;
        }
        let rest = std::mem::take(&mut self.inner);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LINGER, linger(rest)));
        }
    }
}

/// Reads and forgets, up to a limit.
async fn linger(body: Body) {
    let (mut body, mut left) = (body.into_data_stream(), LINGER_BYTES);
    while let Some(Ok(bytes)) = body.next().await {
        left = left.saturating_sub(bytes.len());
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(body: Body, idle: Duration, bytes_per_second: u64) -> (Body, Arc<Passed>) {
        let passed = Arc::new(Passed::default());
        let request = Watched::wrap(Request::new(body), Patience { idle, bytes_per_second }, passed.clone());
        (request.into_body(), passed)
    }

    /// `count` pieces of `size` bytes, one every `pause`.
    fn sender(count: usize, size: usize, pause: Duration) -> Body {
        let pieces = futures_util::stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, BoxError>(Bytes::from(vec![0; size]))
        });
        Body::from_stream(pieces)
    }

    #[tokio::test]
    async fn a_sender_that_stops_is_given_up() {
        let (body, passed) = watched(sender(5, 1000, Duration::from_secs(5)), Duration::from_millis(100), 0);
        let began = Instant::now();
        assert!(axum::body::to_bytes(body, 1 << 20).await.is_err());
        assert!(passed.too_slow() && passed.bytes() == 0 && began.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_trickle_is_given_up_after_the_grace_time_and_a_slow_line_is_not() {
        let (idle, pause) = (Duration::from_millis(300), Duration::from_millis(50));
        let (body, passed) = watched(sender(100, 1, pause), idle, 1000);
        assert!(axum::body::to_bytes(body, 1 << 20).await.is_err());
        assert!(passed.too_slow() && passed.bytes() <= 8, "{passed:?}");
        let (body, passed) = watched(sender(20, 1000, pause), idle, 1000);
        assert_eq!(axum::body::to_bytes(body, 1 << 20).await.expect("all of it").len(), 20_000);
        assert!(!passed.too_slow());
    }
}
