//! One line a request: who, what, how it ended. Neither what was said nor keys: no header, no body, no value of a query.

use super::super::metrics::Reason;
use super::body::Passed;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

/// Header that names a request, in both directions.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name of a request that a client may give.
const MAX_ID: usize = 128;
/// nginx's number for a client that hung up before it was answered.
const HUNG_UP: u16 = 499;

/// The client's name, once it is known.
#[derive(Clone, Default)]
pub(super) struct Name(Arc<OnceLock<String>>);

impl Name {
    pub fn set(&self, name: &str) {
        self.0.get_or_init(|| name.to_owned());
    }
}

/// The client's own name for the request where that is sane, a new one otherwise.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        (1..=MAX_ID).contains(&bytes.len()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(b))
    };
    let given = headers.get(REQUEST_ID).filter(sane).cloned();
    given.unwrap_or_else(|| {
        HeaderValue::from_str(&uuid::Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("unnamed"))
    })
}

/// What is logged when the request has ended: its response sent, or the client gone.
pub(super) struct Line {
    id: HeaderValue,
    name: Name,
    method: Method,
    route: String,
    query: String,
    status: Option<StatusCode>,
    code: Option<&'static str>,
    received: Arc<Passed>,
    sent: u64,
    began: Instant,
}

impl Line {
    pub fn begin(request: &Request, id: &HeaderValue, received: Arc<Passed>) -> Self {
        // The template of the route; what leads nowhere may be anything, a key that was pasted wrongly too.
        let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str);
        Line {
            id: id.clone(),
            name: Name::default(),
            method: request.method().clone(),
            route: route.to_owned(),
            query: names(request.uri().query().unwrap_or_default()),
            status: None,
            code: None,
            received,
            sent: 0,
            began: Instant::now(),
        }
    }

    /// Where the client's name is to be put.
    pub fn name(&self) -> Name {
        self.name.clone()
    }

    /// The response with this line attached to the end of its body.
    pub fn finish(mut self, response: Response) -> Response {
        self.status = Some(response.status());
        self.code = response.extensions().get::<Reason>().map(|reason| reason.0);
        response.map(|inner| Body::new(Logged { inner, line: self }))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let id = self.id.to_str().unwrap_or_default();
        let client = self.name.0.get().map_or("-", String::as_str);
        let status = self.status.map_or(HUNG_UP, |status| status.as_u16());
        let (method, route, query, code) = (&self.method, &self.route, &self.query, self.code.unwrap_or_default());
        let (received, sent) = (self.received.bytes(), self.sent);
        let ms = self.began.elapsed().as_millis() as u64;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(target: "bestbox::access", id, client, %method, route, query, status, code, received, sent, ms)
            };
        }
        // Somebody asks for these every few seconds.
        if route.starts_with("/health") || route == "/metrics" { line!(debug) } else { line!(info) }
    }
}

/// The names of a query's fields, without their values.
fn names(query: &str) -> String {
    let names = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name);
    let plain =
        |name: &&str| name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_[]-".contains(&b));
    names.filter(plain).take(16).collect::<Vec<_>>().join(",")
}

/// A response's body that counts what is sent.
struct Logged {
    inner: Body,
    line: Line,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.line.sent += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_request_id_is_kept_and_another_replaced() {
        let id = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(text).expect("a value"));
            request_id(&headers)
        };
        assert_eq!(id("req_42-a.b:c"), "req_42-a.b:c");
        for odd in ["", "a b", "a\"b", "<x>", &"a".repeat(129)] {
            let new = id(odd);
            assert_ne!(new, odd);
            assert_eq!(new.len(), 36);
        }
    }

    #[test]
    fn of_a_query_only_names_are_logged() {
        assert_eq!(names("format=srt&key=bb_secret&x"), "format,key");
        assert_eq!(names("bb%5Fsecret=1&=2&a\nb=3"), "");
    }
}
