//! One request through a front: held until there is a server, sent, sent again where nothing of an answer had come.

use super::front::{Front, error};
use super::tier::{Entered, Lease, Refusal};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header, request};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// Largest body of a request.
const MAX_BODY: usize = 32 << 20;
/// What is set aside for a body that does not say its length.
const UNKNOWN_BODY: usize = 4 << 20;
/// For a whole body to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// An answer of a known length up to this is read to its end before it is passed on, so that it can be asked for anew
/// until then.
const WHOLE: u64 = 8 << 20;
/// A request that was in work on so many servers when they failed probably is why. Servers that were killed from outside do
/// not count: those are nobody's fault, and the request's patience is bound enough.
const MAX_DEATHS: u32 = 5;
/// Requests that were cut off so often go one at a time, so that a slow machine finishes at least that one before its
/// server ends again.
const ALONE_AFTER: u32 = 2;
/// Between a failure and the next try; its owner notices the end of a server in this time.
const PAUSE: Duration = Duration::from_millis(60);

/// Fields that are about one connection (RFC 9110, 7.6.1), and what this front decides itself.
const OWN: [HeaderName; 11] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::EXPECT,
];

/// Nothing of an answer has come.
enum Broken {
    /// The server was not reached, so it has not seen the request.
    Unreached,
    /// It was in work there.
    Cut,
}

/// What lives as long as the answer does.
struct Held {
    _entered: Entered,
    _lease: Lease,
    _room: OwnedSemaphorePermit,
}

/// Answers a request from the tier's server.
pub(super) async fn forward(front: &Front, request: Request) -> Response {
    let tier = &front.tier;
    let entered = tier.enter();
    let (parts, body) = request.into_parts();
    let (body, room) = match receive(front, &parts.headers, body).await {
        Ok(received) => received,
        Err(refusal) => {
            tier.counters.refused.fetch_add(1, Ordering::Relaxed);
            return refusal;
        }
    };
    let mut patience = front.limits.patience;
    let (mut cuts, mut deaths) = (0, 0);
    // On which server it was cut off.
    let mut cut_on = None;
    loop {
        // Held until an answer has begun.
        let began = Instant::now();
        let _alone = match cuts >= ALONE_AFTER {
            true => tokio::time::timeout(patience, front.lane.acquire()).await.ok(),
            false => None,
        };
        patience = patience.saturating_sub(began.elapsed());
        let lease = match tier.lease(&mut patience, front.limits.held).await {
            Ok(lease) => lease,
            Err(refusal) => return refusal.response(tier),
        };
        if let Some(pid) = cut_on.take()
            && (lease.0.pid == pid || !tier.was_killed())
        {
            deaths += 1;
            if deaths >= MAX_DEATHS {
                let sentence = format!("{deaths} {} model servers failed while they worked on this", tier.name);
                return error(StatusCode::BAD_GATEWAY, "server_ended", &sentence, None);
            }
        }
        match attempt(front, &parts, &body, &lease).await {
            Ok((response, first)) => {
                lease.served();
                let held = Held { _entered: entered, _lease: lease, _room: room };
                return pass(response, first, held);
            }
            Err(broken) => {
                tier.trouble.notify_one();
                if matches!(broken, Broken::Cut) {
                    cuts += 1;
                    cut_on = Some(lease.0.pid);
                }
                drop(lease);
                if patience.is_zero() {
                    return Refusal::TooLong(front.limits.patience).response(tier);
                }
                tier.counters.resent.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
                patience = patience.saturating_sub(PAUSE);
            }
        }
    }
}

/// The whole body, and its share of the room.
async fn receive(front: &Front, headers: &HeaderMap, body: Body) -> Result<(Bytes, OwnedSemaphorePermit), Response> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let limit = length.unwrap_or(if chunked { UNKNOWN_BODY } else { 0 });
    let too_large = || {
        let sentence = format!("a request may have {} MB", MAX_BODY >> 20);
        error(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", &sentence, None)
    };
    if limit > MAX_BODY || (limit >> 10) > (front.limits.bytes >> 10) {
        return Err(too_large());
    }
    let permits = u32::try_from((limit >> 10) + usize::from(limit > 0)).unwrap_or(u32::MAX);
    let permits = permits.min(u32::try_from(front.limits.bytes >> 10).unwrap_or(u32::MAX));
    let room = front.room.clone().try_acquire_many_owned(permits).map_err(|_| {
        let sentence = "the requests under way are too large together; try again";
        error(StatusCode::SERVICE_UNAVAILABLE, "too_many_bytes", sentence, Some(Duration::from_secs(2)))
    })?;
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok((bytes, room)),
        Ok(Err(_)) if length.is_none() => Err(too_large()),
        Ok(Err(_)) => Err(error(StatusCode::BAD_REQUEST, "incomplete", "the request was cut short", None)),
        Err(_elapsed) => Err(error(StatusCode::REQUEST_TIMEOUT, "timeout", "the request did not come in time", None)),
    }
}

/// Sends the request, and returns with the first piece of its answer: from then on it cannot be sent again.
async fn attempt(
    front: &Front,
    parts: &request::Parts,
    body: &Bytes,
    lease: &Lease,
) -> Result<(reqwest::Response, Bytes), Broken> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers.clone();
    OWN.iter().for_each(|name| drop(headers.remove(name)));
    headers.remove("x-api-key");
    headers.remove("keep-alive");
    let request = front
        .http
        .request(parts.method.clone(), format!("{}{path}", lease.0.url))
        .headers(headers)
        .bearer_auth(&lease.0.key)
        .body(body.clone());
    let broken = |error: reqwest::Error| if error.is_connect() { Broken::Unreached } else { Broken::Cut };
    let mut response = request.send().await.map_err(broken)?;
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        // It has been started again behind our back; nothing else that llama-server does is a 503.
        return Err(Broken::Unreached);
    }
    let whole = response.content_length().filter(|length| *length <= WHOLE);
    let mut first = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(|_| Broken::Cut)? {
        first.extend_from_slice(&piece);
        if whole.is_none() {
            break;
        }
    }
    Ok((response, first.freeze()))
}

/// The answer, piece by piece as it comes; a client that hangs up drops it, and with it the connection to the server,
/// which then stops generating.
fn pass(mut response: reqwest::Response, first: Bytes, held: Held) -> Response {
    let mut head = Response::builder().status(response.status());
    if let Some(headers) = head.headers_mut() {
        *headers = response.headers().clone();
        OWN.iter().for_each(|name| drop(headers.remove(name)));
        headers.remove("keep-alive");
    }
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let events = kind.starts_with("text/event-stream");
    let body = if response.content_length().is_some_and(|length| length <= WHOLE) {
        Body::from(first)
    } else {
        Body::from_stream(async_stream::stream! {
            // Until the client has all of it.
            let _held = held;
            yield Ok(first);
            loop {
                match response.chunk().await {
                    Ok(Some(piece)) => yield Ok(piece),
                    Ok(None) => break,
                    Err(error) => {
                        if events {
                            // Otherwise half an answer would look like a whole one to a careless client.
                            yield Ok(Bytes::from_static(CUT_EVENT));
                            // What has not left when a body fails is thrown away.
                            tokio::time::sleep(PAUSE).await;
                        }
                        yield Err(error);
                        break;
                    }
                }
            }
        })
    };
    head.body(body).unwrap_or_else(|_| error(StatusCode::BAD_GATEWAY, "bad_answer", "the answer makes no sense", None))
}

/// What a stream ends with when its server has ended in the middle.
const CUT_EVENT: &[u8] = b"\n\ndata: {\"error\":{\"message\":\"the model server ended in the middle of this answer; \
ask again\",\"type\":\"server_error\",\"param\":null,\"code\":\"server_ended\"}}\n\n";
