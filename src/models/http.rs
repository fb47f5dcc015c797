//! Files from Hugging Face over plain HTTP, resumed where they stopped.

use super::catalog::Model;
use super::disk;
use super::error::ModelError;
use super::{Event, Progress};
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, LOCATION, RANGE};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// To connect. A machine without a route to Hugging Face goes on to the next source quickly.
const CONNECT: Duration = Duration::from_secs(3);
/// Without a byte.
const IDLE: Duration = Duration::from_secs(30);
/// Attempts that bring not one byte before this source is given up.
const ATTEMPTS: u32 = 5;

/// Why a file did not come.
pub(super) enum Failure {
    /// The host cannot be reached at all: not worth another try in this run.
    Unreachable(String),
    /// This file, this time.
    Other(ModelError),
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Failure::Other(error)
    }
}

/// What the server says about the file; kept next to a partial download so that two versions are never mixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stated {
    /// Of a large file: its `X-Linked-Etag`.
    sha256: Option<String>,
    etag: Option<String>,
    bytes: Option<u64>,
}

/// Downloads `url` to `part`, going on where an earlier try stopped. Returns the SHA-256 that the server states.
pub(super) async fn download(
    url: &Url,
    part: &Path,
    model: &Model,
    progress: Progress<'_>,
    cancel: &CancellationToken,
) -> Result<Option<String>, Failure> {
    let work = fetch(url, part, model, progress);
    tokio::select! {
        () = cancel.cancelled() => Err(ModelError::Cancelled.into()),
        done = work => done,
    }
}

async fn fetch(url: &Url, part: &Path, model: &Model, progress: Progress<'_>) -> Result<Option<String>, Failure> {
    let stated = state(url).await?;
    if let (Some(said), Some(pinned)) = (&stated.sha256, &model.sha256)
        && said != pinned
    {
        let text = format!("{url} is not the pinned file (SHA-256 {said})");
        return Err(ModelError::Source(text).into());
    }
    let note = disk::beside(part, "json");
    let before = fs::read(&note).ok().and_then(|b| serde_json::from_slice::<Stated>(&b).ok());
    if before.as_ref() != Some(&stated) {
        disk::remove(part)?;
        let write = |source| ModelError::Write { path: note.clone(), source };
        fs::write(&note, serde_json::to_vec(&stated).unwrap_or_default()).map_err(write)?;
    }
    let have = fs::metadata(part).map_or(0, |m| m.len());
    let total = stated.bytes.unwrap_or(model.bytes);
    if let Some(folder) = part.parent() {
        disk::require(folder, total.saturating_sub(have))?;
    }
    let client = client(redirect::Policy::limited(10))?;
    let mut left = ATTEMPTS;
    loop {
        let have = fs::metadata(part).map_or(0, |m| m.len());
        if stated.bytes == Some(have) {
            return Ok(stated.sha256);
        }
        let error = match stream(&client, url, part, total, progress).await {
            Ok(()) if stated.bytes.is_none_or(|b| fs::metadata(part).is_ok_and(|m| m.len() == b)) => {
                return Ok(stated.sha256);
            }
            Ok(()) => format!("{url} ended too early"),
            Err(Failure::Other(ModelError::Source(text))) => text,
            Err(other) => return Err(other),
        };
        // A transfer that moves may break off any number of times; one that does not is given up.
        let moved = fs::metadata(part).map_or(0, |m| m.len()) > have;
        left = if moved { ATTEMPTS } else { left - 1 };
        if left == 0 {
            return Err(ModelError::Source(format!("{error}; what came is kept for the next try")).into());
        }
        tokio::time::sleep(Duration::from_millis(250 << (ATTEMPTS - left))).await;
    }
}

/// One request for what is missing of `part`.
async fn stream(client: &Client, url: &Url, part: &Path, total: u64, progress: Progress<'_>) -> Result<(), Failure> {
    let have = fs::metadata(part).map_or(0, |m| m.len());
    let mut request = authorised(client.get(url.clone()));
    if have > 0 {
        request = request.header(RANGE, format!("bytes={have}-"));
    }
    let mut response = request.send().await.map_err(|e| Failure::Other(ModelError::Source(cause(url, &e))))?;
    let start = match response.status() {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT if range_start(response.headers()) == Some(have) => have,
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT => {
            disk::remove(part)?;
            return Err(ModelError::Source(format!("{url} cannot be resumed at byte {have}")).into());
        }
        status => return Err(ModelError::Source(refusal(url, status)).into()),
    };
    let write = |source| ModelError::Write { path: part.into(), source };
    let mut file = open(part, start).map_err(write)?;
    let mut done = start;
    loop {
        let chunk = response.chunk().await.map_err(|e| Failure::Other(ModelError::Source(cause(url, &e))))?;
        let Some(chunk) = chunk else { break };
        file.write_all(&chunk).map_err(write)?;
        done += chunk.len() as u64;
        progress(Event::Bytes { done, total });
    }
    file.sync_all().map_err(write)?;
    Ok(())
}

fn open(part: &Path, start: u64) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    if start == 0 {
        options.write(true).create(true).truncate(true)
    } else {
        options.append(true)
    };
    options.open(part)
}

/// Asks what the file is. Large files are redirected to a store; only the first answer carries the SHA-256.
async fn state(url: &Url) -> Result<Stated, Failure> {
    let client = client(redirect::Policy::none())?;
    let mut url = url.clone();
    for _ in 0..5 {
        let response = match authorised(client.head(url.clone())).send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() || error.is_timeout() => {
                return Err(Failure::Unreachable(cause(&url, &error)));
            }
            Err(error) => return Err(ModelError::Source(cause(&url, &error)).into()),
        };
        let status = response.status();
        let linked = response.headers().contains_key("x-linked-etag");
        if status.is_redirection() && !linked {
            url = next(&response, &url)?;
        } else if status.is_success() || linked {
            return Ok(stated(response.headers(), status.is_success()));
        } else {
            return Err(ModelError::Source(refusal(&url, status)).into());
        }
    }
    Err(ModelError::Source(format!("{url} redirects in a circle")).into())
}

fn next(response: &Response, url: &Url) -> Result<Url, ModelError> {
    let target = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
    let target = target.and_then(|l| url.join(l).ok());
    target.ok_or_else(|| ModelError::Source(format!("{url} redirects to nowhere")))
}

/// `whole`: the answer is the file's own, so its length is the file's; that of a redirection is not.
fn stated(headers: &HeaderMap, whole: bool) -> Stated {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let etag = text("x-linked-etag").or_else(|| text(ETAG.as_str()));
    let bare = etag.as_deref().map(|e| e.trim_start_matches("W/").trim_matches('"').to_lowercase());
    Stated {
        sha256: bare.filter(|e| e.len() == 64 && e.bytes().all(|b| b.is_ascii_hexdigit())),
        bytes: text("x-linked-size")
            .or_else(|| text("content-length").filter(|_| whole))
            .and_then(|n| n.parse().ok())
            .filter(|&n| n > 0),
        etag,
    }
}

/// First byte of `Content-Range: bytes 100-199/200`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn client(policy: redirect::Policy) -> Result<Client, ModelError> {
    // Does nothing when the program has chosen a provider already.
    _ = rustls::crypto::ring::default_provider().install_default();
    let agent = concat!("bestbox/", env!("CARGO_PKG_VERSION"));
    let builder = Client::builder().connect_timeout(CONNECT).read_timeout(IDLE).redirect(policy).user_agent(agent);
    builder.build().map_err(|e| ModelError::Source(format!("cannot set up HTTPS: {e}")))
}

/// The user's token, for gated models; reqwest drops it when a redirect leaves the host.
fn authorised(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    match std::env::var("HF_TOKEN") {
        Ok(token) if !token.trim().is_empty() => request.bearer_auth(token.trim()),
        _ => request,
    }
}

fn refusal(url: &Url, status: StatusCode) -> String {
    match status {
        StatusCode::NOT_FOUND => format!("{url} is not there (any more)"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!("{url} is refused ({status}): accept the model's terms on its page and set HF_TOKEN")
        }
        status => format!("{url} answers {status}"),
    }
}

/// The innermost reason: "dns error: …" rather than "error sending request".
fn cause(url: &Url, error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    format!("{} cannot be reached ({inner})", url.host_str().unwrap_or("Hugging Face"))
}
