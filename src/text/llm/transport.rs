//! Requests, retries and errors: everything about HTTP that is not about language models.
//! Owns the connection pool of one server. Fails safely: bodies are bounded, keys never reach a message.

use super::usage::{Meter, Usage};
use super::wire::Counts;
use super::{Endpoint, LlmError, Secret};
use crate::outcome::Tier;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Largest answer that is read. The largest real one (512 token probabilities, or a few thousand words) is under 1 MB.
pub(super) const MAX_BODY: usize = 16 << 20;
/// Largest error page that is read: enough to quote from.
const MAX_ERROR_BODY: usize = 64 << 10;
/// Tries of one request where the server is busy or not there. Waits of 0.2, 0.4 and 0.8 s on average.
const TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// One server over HTTP.
#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    base: Url,
    tier: Tier,
    key: Option<Secret>,
    /// Microseconds spent waiting for whole answers.
    waited: AtomicU64,
    meter: Meter,
}

/// What came instead of an answer.
enum Failure {
    /// Worth another try after the wait the server asked for, if it did.
    Busy(LlmError, Option<Duration>),
    Final(LlmError),
}

impl Transport {
    /// Builds the connection pool; does not connect.
    pub fn new(endpoint: &Endpoint) -> Result<Self, LlmError> {
        let tier = endpoint.tier;
        let unusable = |url: &str, reason: String| LlmError::Unreachable { tier, url: url.to_owned(), reason };
        let base = base_url(&endpoint.base_url).map_err(|reason| unusable("its base_url", reason))?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(endpoint.connect_timeout)
            // A redirect would carry the text to a server nobody configured.
            .redirect(reqwest::redirect::Policy::none())
            // llama-server closes idle connections after 5 s; a request sent at that moment would be lost.
            .pool_idle_timeout(Duration::from_secs(2))
            .tcp_nodelay(true);
        if is_local(&base) {
            // A proxy from the environment is for the outside world.
            builder = builder.no_proxy();
        }
        // Err means that somebody installed one before: as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if base.scheme() == "http" {
            // No TLS here, so a machine without CA certificates must not be an error.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| unusable(base.as_str(), chain(&error)))?;
        Ok(Transport {
            http,
            base,
            tier,
            key: endpoint.key.clone(),
            waited: AtomicU64::new(0),
            meter: Meter::default(),
        })
    }

    /// Posts JSON and reads a JSON answer whole.
    pub async fn post(&self, path: &str, body: &Value, deadline: Instant) -> Result<Value, LlmError> {
        let begun = Instant::now();
        let response = self.open(path, body, deadline).await?;
        let answer = self.json(response).await;
        self.waited.fetch_add(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        if let Ok(answer) = &answer {
            let mut counts = Counts::default();
            counts.read(answer);
            self.count(counts);
        }
        answer
    }

    /// Adds the tokens of an answer to what was used; answers without any (a count of tokens, a page) do not count.
    pub fn count(&self, counts: Counts) {
        if counts != Counts::default() {
            self.meter.add(counts);
        }
    }

    /// What the calls so far have cost.
    pub fn usage(&self) -> Usage {
        self.meter.usage()
    }

    /// Milliseconds that `post` has waited for answers, all callers added up.
    pub fn waited_ms(&self) -> f64 {
        self.waited.load(Ordering::Relaxed) as f64 / 1000.0
    }

    /// Gets JSON.
    pub async fn get(&self, path: &str, deadline: Instant) -> Result<Value, LlmError> {
        let response = self.send(path, None, deadline).await?;
        self.json(response).await
    }

    /// Posts JSON; the answer's headers have come with a success status, its body has not.
    pub async fn open(&self, path: &str, body: &Value, deadline: Instant) -> Result<Response, LlmError> {
        self.send(path, Some(body), deadline).await
    }

    /// Reads a whole answer as JSON.
    pub async fn json(&self, response: Response) -> Result<Value, LlmError> {
        let kind = content_type(&response);
        let (bytes, whole) = self.read(response, MAX_BODY).await?;
        if !whole {
            return Err(self.garbage(format!("more than {} MB", MAX_BODY >> 20)));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            if kind.contains("json") || kind.is_empty() {
                self.garbage(format!("not valid JSON ({error})"))
            } else {
                self.garbage(format!("{kind} instead of JSON; is base_url right?"))
            }
        })
    }

    /// An answer that makes no sense, with the key taken out of the reason.
    pub fn garbage(&self, reason: impl Into<String>) -> LlmError {
        LlmError::Garbage { tier: self.tier, reason: self.redact(&reason.into()) }
    }

    /// The time limit that was hit, as an error.
    pub fn timeout(&self, limit: Duration) -> LlmError {
        LlmError::Timeout { tier: self.tier, seconds: limit.as_secs_f64() }
    }

    /// An error that the server put into JSON, by status or inside a stream.
    pub fn refused(&self, status: u16, body: &Value) -> LlmError {
        let error = body.get("error").unwrap_or(body);
        let text = |key: &str| error.get(key).and_then(Value::as_str);
        let message = error.as_str().or(text("message")).or(text("detail")).unwrap_or("no reason given");
        let codes = [text("type"), text("code")];
        let too_long = codes.iter().flatten().any(|code| {
            // llama.cpp; OpenAI.
            *code == "exceed_context_size_error" || *code == "context_length_exceeded"
        });
        // vLLM and others that give no code.
        if too_long || (status == 400 && message.contains("maximum context length")) {
            return LlmError::TooLong { tier: self.tier };
        }
        LlmError::Status { tier: self.tier, status, message: self.redact(&shortened(message)) }
    }

    /// A connection that failed, as an error.
    pub fn broken(&self, error: reqwest::Error) -> LlmError {
        let reason = self.redact(&chain(&error.without_url()));
        LlmError::Unreachable { tier: self.tier, url: self.shown_url(), reason }
    }

    /// One try at the health page: every answer is a sign of life, but 503.
    pub async fn alive(&self) -> Result<(), LlmError> {
        match self.once("/health", None).await {
            Ok(_) | Err(Failure::Final(LlmError::Status { .. })) => Ok(()),
            Err(Failure::Busy(LlmError::Status { status: 429, .. }, _)) => Ok(()),
            Err(Failure::Final(error) | Failure::Busy(error, _)) => Err(error),
        }
    }

    async fn send(&self, path: &str, body: Option<&Value>, deadline: Instant) -> Result<Response, LlmError> {
        let mut wait = FIRST_WAIT;
        let mut attempt = 1;
        loop {
            let (error, asked) = match self.once(path, body).await {
                Ok(response) => return Ok(response),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Busy(error, asked)) => (error, asked),
            };
            // Jitter of a half either way: callers that failed together do not come back together.
            let pause = asked.unwrap_or_else(|| wait.mul_f64(0.5 + fastrand::f64()));
            if attempt >= TRIES || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(tier = self.tier.name(), %error, ?pause, "trying again");
            tokio::time::sleep(pause).await;
            wait *= 2;
            attempt += 1;
        }
    }

    async fn once(&self, path: &str, body: Option<&Value>) -> Result<Response, Failure> {
        let url = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let mut request = match body {
            Some(body) => self.http.post(url).json(body),
            None => self.http.get(url),
        };
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if is_refused(&error) => return Err(Failure::Busy(self.broken(error), None)),
            Err(error) => return Err(Failure::Final(self.broken(error))),
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let asked = retry_after(&response);
        let error = self.status_error(response).await;
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Err(Failure::Busy(error, asked)),
            _ => Err(Failure::Final(error)),
        }
    }

    async fn status_error(&self, response: Response) -> LlmError {
        let status = response.status();
        let kind = content_type(&response);
        // The status says enough where the body cannot be read.
        let bytes = self.read(response, MAX_ERROR_BODY).await.map(|(bytes, _)| bytes).unwrap_or_default();
        if let Ok(body) = serde_json::from_slice::<Value>(&bytes) {
            return self.refused(status.as_u16(), &body);
        }
        let message = match String::from_utf8_lossy(&bytes).trim() {
            "" => status.canonical_reason().unwrap_or("no reason given").to_owned(),
            _ if kind.contains("html") => "an HTML page; is base_url right?".to_owned(),
            text => self.redact(&shortened(text)),
        };
        LlmError::Status { tier: self.tier, status: status.as_u16(), message }
    }

    /// Up to `limit` bytes, and whether that was all.
    async fn read(&self, mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), LlmError> {
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Ok((bytes, true)),
                Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => {
                    bytes.extend_from_slice(&chunk[..limit - bytes.len()]);
                    return Ok((bytes, false));
                }
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Err(error) => return Err(self.garbage(format!("cut short ({})", chain(&error.without_url())))),
            }
        }
    }

    fn shown_url(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// Servers echo keys ("invalid key sk-…"); messages go to logs.
    fn redact(&self, text: &str) -> String {
        match &self.key {
            Some(key) if !key.expose().is_empty() => text.replace(key.expose(), "***"),
            _ => text.to_owned(),
        }
    }
}

/// Lower-case media type without parameters; empty where there is none.
pub(super) fn content_type(response: &Response) -> String {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The scheme, host, port and path before `/v1`.
fn base_url(given: &str) -> Result<Url, String> {
    let trimmed = given.trim().trim_end_matches('/');
    let root = trimmed.strip_suffix("/v1").unwrap_or(trimmed);
    // The text is not quoted where it cannot be parsed: a key could stand in it.
    let url = Url::parse(root).map_err(|error| format!("it is not a URL ({error}); write http://HOST:PORT"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it must be http://HOST:PORT or https://HOST".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("credentials do not belong in it; set the key instead".to_owned());
    }
    Ok(url)
}

fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Nothing listens there: the only broken connection of which it is certain that the request was not seen.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        source = cause.source();
    }
    false
}

/// `Retry-After` in either of its forms (RFC 9110, 10.2.3): seconds, or a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// One line of at most 300 characters.
fn shortened(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
