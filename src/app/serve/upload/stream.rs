//! The bytes of a form on their way to its parser: one piece at a time, and never more than the limits.

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::Stream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use super::super::error::ApiError;

/// Most bytes that the parser may hold without finding the beginning of a part: far more than headers need.
const MAX_AHEAD: usize = 256 << 10;

/// Bytes that went into the parser since something last came out of it.
#[derive(Clone, Default)]
pub(super) struct Ahead(Arc<AtomicUsize>);

impl Ahead {
    /// Something came out.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Why the stream ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the form is too large")]
    TooLarge,
    #[error("no part begins")]
    NoPart,
    #[error("the body broke off")]
    Broken,
}

/// A body that hands out one piece a poll. The parser takes all it can get before it looks at it, so a fast sender
/// would fill the memory otherwise.
pub(super) struct Paced<S> {
    inner: S,
    left: u64,
    ahead: Ahead,
    /// The piece before has just been handed out.
    paused: bool,
}

impl<S> Paced<S> {
    /// `limit`: bytes of the whole body.
    pub fn new(inner: S, limit: u64, ahead: Ahead) -> Self {
        Paced { inner, left: limit, ahead, paused: false }
    }
}

impl<S: Stream<Item = Result<Bytes, axum::Error>> + Unpin> Stream for Paced<S> {
    type Item = Result<Bytes, Refused>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.paused) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let bytes = match Pin::new(&mut self.inner).poll_next(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(Refused::Broken))),
            Poll::Ready(Some(Ok(bytes))) => bytes,
        };
        self.paused = true;
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return Poll::Ready(Some(Err(Refused::TooLarge)));
        };
        self.left = left;
        if self.ahead.0.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len() > MAX_AHEAD {
            return Poll::Ready(Some(Err(Refused::NoPart)));
        }
        Poll::Ready(Some(Ok(bytes)))
    }
}

/// What a client is told about a form that cannot be read.
pub(super) fn malformed(error: &multer::Error, limit: u64) -> ApiError {
    let bad = |message: String| ApiError::new(StatusCode::BAD_REQUEST, message).code("malformed_form");
    match error {
        multer::Error::StreamReadFailed(cause) => match cause.downcast_ref() {
            Some(Refused::TooLarge) => {
                let message = format!("the request is larger than the {limit} bytes that are allowed");
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).param("file").code("file_too_large")
            }
            Some(Refused::NoPart) => bad("no part of the form begins where one should; check the boundary".to_owned()),
            _ => bad("the request broke off before the form was complete; send it again".to_owned()),
        },
        multer::Error::IncompleteStream
        | multer::Error::IncompleteHeaders
        | multer::Error::IncompleteFieldData { .. } => {
            bad("the form ends too early, or its boundary is not the one that Content-Type names".to_owned())
        }
        error => bad(format!("the form is malformed: {error}")),
    }
}
