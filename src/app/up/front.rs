//! What clients of a tier talk to: one port that stays while servers come and go.
//!
//! A request waits while there is no server, and is sent again as long as no byte of an answer has come. So clients of
//! any make notice neither a crash, nor an upgrade, nor that the model was asleep.

use super::forward;
use super::tier::{Phase, Refusal, Tier};
use crate::servers::ServerError;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioTimer;
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, UNIX_EPOCH};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// For the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// Bounds of what a front holds.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Requests that wait at once.
    pub held: usize,
    /// Bytes of all requests under way.
    pub bytes: usize,
    /// How long a request waits.
    pub patience: Duration,
}

/// A front: what its requests share.
pub(super) struct Front {
    pub tier: Arc<Tier>,
    pub limits: Limits,
    /// What clients must send; none: anybody on this machine.
    pub key: Option<String>,
    /// One permit a KiB of request under way.
    pub room: Arc<Semaphore>,
    /// For requests that were cut off again and again.
    pub lane: Semaphore,
    pub http: reqwest::Client,
}

/// A front that listens.
pub(super) struct Listening {
    pub address: SocketAddr,
    listener: TcpListener,
}

/// A front that serves; dropping it closes the port, answers under way go on.
pub(super) struct Serving {
    pub address: SocketAddr,
    handle: axum_server::Handle<SocketAddr>,
    front: Shared,
}

/// The front in force: a reload may change its bounds and its key while it listens.
type Shared = Arc<RwLock<Arc<Front>>>;

/// Takes the port of a tier.
///
/// # Errors
/// When another program has it.
pub(super) fn listen(name: &str, host: &str, port: u16) -> Result<Listening, ServerError> {
    let address: std::net::IpAddr = host.trim_matches(['[', ']']).parse().map_err(|_| ServerError::Io {
        what: "listen on",
        path: host.into(),
        source: std::io::ErrorKind::InvalidInput.into(),
    })?;
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => ServerError::PortTaken { name: name.to_owned(), port },
        _ => ServerError::Io { what: "listen on", path: format!("{host}:{port}").into(), source },
    };
    let listener = TcpListener::bind((address, port)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(Listening { address, listener })
}

impl Front {
    pub fn new(tier: Arc<Tier>, limits: Limits, key: Option<String>) -> Result<Arc<Self>, ServerError> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(2))
            .no_proxy()
            .tls_certs_only([])
            // A kept connection may be one to a server that has just gone.
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .build()
            .map_err(|error| ServerError::Keeper { name: tier.name.to_owned(), reason: error.to_string() })?;
        let room = Arc::new(Semaphore::new((limits.bytes >> 10).max(1)));
        Ok(Arc::new(Front { tier, limits, key, room, lane: Semaphore::new(1), http }))
    }
}

impl Listening {
    /// Begins to answer.
    pub fn serve(self, front: Arc<Front>) -> Result<Serving, ServerError> {
        let name = front.tier.name;
        let front: Shared = Arc::new(RwLock::new(front));
        let handle = axum_server::Handle::new();
        let mut server = axum_server::from_tcp(self.listener)
            .map_err(|source| ServerError::Io { what: "listen on", path: self.address.to_string().into(), source })?
            .handle(handle.clone());
        server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let app = Router::new().fallback(answer).with_state(front.clone());
        tokio::spawn(async move {
            if let Err(error) = server.serve(app.into_make_service()).await {
                tracing::error!(%error, tier = name, "the front ended");
            }
        });
        Ok(Serving { handle, address: self.address, front })
    }
}

impl Serving {
    /// Other bounds and another key from the next request on.
    pub fn change(&self, front: Arc<Front>) {
        *self.front.write().unwrap_or_else(PoisonError::into_inner) = front;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Takes nothing new; connections end with the answer that is on its way.
        self.handle.graceful_shutdown(None);
    }
}

async fn answer(State(front): State<Shared>, request: Request) -> Response {
    let front = front.read().unwrap_or_else(PoisonError::into_inner).clone();
    let path = request.uri().path();
    if matches!(path, "/health" | "/v1/health") && matches!(*request.method(), Method::GET | Method::HEAD) {
        return health(&front.tier);
    }
    if let Some(refusal) = stranger(&front, request.method(), request.headers()) {
        return refusal;
    }
    forward::forward(&front, request).await
}

/// What a stranger is told; none for a friend.
fn stranger(front: &Front, method: &Method, headers: &HeaderMap) -> Option<Response> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some(key) = &front.key else {
        // Without a key any page in a browser could use this: by its own origin, or by a name that it has pointed here.
        let foreign = |host: &str| {
            // The last colon of an address in brackets without a port is its own.
            let host = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(host, _)| host);
            let host = host.trim_matches(['[', ']']);
            host != "localhost" && host.parse::<std::net::IpAddr>().is_err()
        };
        let origin = text(header::ORIGIN).map(|origin| origin.split("://").nth(1).unwrap_or("null"));
        let refused = text(header::HOST).is_some_and(foreign) || origin.is_some_and(foreign);
        let sentence = "pages of other sites may not use this server";
        return refused.then(|| error(StatusCode::FORBIDDEN, "forbidden", sentence, None));
    };
    // Browsers ask this without a key.
    if *method == Method::OPTIONS {
        return None;
    }
    let bearer = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    let given = bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok())).unwrap_or_default();
    let right = bool::from(given.trim().as_bytes().ct_eq(key.as_bytes()));
    (!right).then(|| error(StatusCode::UNAUTHORIZED, "invalid_api_key", "the API key is missing or wrong", None))
}

/// In llama-server's form, so that whoever waits for one waits for this: 200 when a request would be served, also by
/// waking the server up; 503 while it comes up or is left alone.
fn health(tier: &Tier) -> Response {
    let view = tier.view.borrow().clone();
    let since = view.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut about = json!({
        "tier": tier.name, "state": view.phase.word(), "since": since, "restarts": view.restarts, "model": view.model,
        "last_exit": view.last_exit, "front": tier.counted(),
    });
    let (status, mut body) = match &view.phase {
        Phase::Ready(backend) => {
            about["pid"] = json!(backend.pid);
            (StatusCode::OK, json!({"status": "ok"}))
        }
        Phase::Asleep => (StatusCode::OK, json!({"status": "ok"})),
        phase => {
            let message = match phase {
                Phase::Open(_) => "The server has failed too often and is left alone for a while",
                Phase::Stopped => "The server is ending",
                _ => "Loading model",
            };
            let error = json!({"code": 503, "message": message, "type": "unavailable_error"});
            (StatusCode::SERVICE_UNAVAILABLE, json!({"error": error}))
        }
    };
    body["bestbox"] = about;
    (status, axum::Json(body)).into_response()
}

/// An error in the form of OpenAI's API.
pub(super) fn error(status: StatusCode, code: &str, sentence: &str, wait: Option<Duration>) -> Response {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        503 => "service_unavailable",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let body = json!({"error": {"message": sentence, "type": kind, "param": null, "code": code}});
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = wait {
        let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

impl Refusal {
    /// As the client is told.
    pub fn response(&self, tier: &Tier) -> Response {
        tier.counters.refused.fetch_add(1, Ordering::Relaxed);
        let name = tier.name;
        let (code, sentence, wait) = match self {
            Refusal::Open(left) => {
                let view = tier.view.borrow();
                let why = view.last_exit.as_ref().map(|exit| format!(" (last: {exit})")).unwrap_or_default();
                ("circuit_open", format!("the {name} model server fails again and again{why}; try later"), *left)
            }
            Refusal::Full => {
                let wait = Duration::from_secs(2);
                ("too_many_waiting", format!("too many requests wait for the {name} model server"), wait)
            }
            Refusal::TooLong(waited) => (
                "not_ready",
                format!("the {name} model server was not there for {:.0} s", waited.as_secs_f64()),
                Duration::from_secs(5),
            ),
            Refusal::Ending => ("ending", format!("the {name} model server is ending"), Duration::from_secs(10)),
        };
        error(StatusCode::SERVICE_UNAVAILABLE, code, &sentence, Some(wait))
    }
}
