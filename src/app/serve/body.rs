//! Bodies that are counted while they pass, and that hold something until they have passed.

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body that counts its bytes and drops `with` when it is over, or when nobody wants the rest.
struct Watched<T> {
    body: Body,
    bytes: Counter,
    _with: T,
}

/// The same body; its bytes are added to `bytes` as they pass, and `with` lives as long as it does.
pub(super) fn watched<T: Send + Unpin + 'static>(body: Body, bytes: Counter, with: T) -> Body {
    Body::new(Watched { body, bytes, _with: with })
}

impl<T: Unpin> HttpBody for Watched<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.bytes.inc_by(data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
