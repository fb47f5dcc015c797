//! `[serve]`: the HTTP service.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[serve]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Address to listen on. Anything but this machine itself needs `keys`, or `insecure`.
    pub host: String,
    /// Port to listen on; 0: any free one.
    pub port: u16,
    /// Whether anybody who reaches the port may use the service, on any address.
    pub insecure: bool,
    /// Folder of jobs and uploads, private to the user; empty: in the platform's folder for state.
    pub data_dir: PathBuf,
    /// Largest upload, bytes.
    pub max_upload_bytes: u64,
    /// Requests with audio that are accepted at once: uploading, waiting or in work. More get 429.
    pub max_requests: u32,
    /// Connections at once; more are turned away.
    pub max_connections: u32,
    /// Bytes that stay free on the disk of `data_dir`; uploads that would take them get 503.
    pub min_free_bytes: u64,
    /// Seconds without a byte after which a sender is given up.
    pub idle_timeout_seconds: f64,
    /// Slowest sender, bytes a second on average over the time that it is waited for, after `idle_timeout_seconds` of
    /// such time; 0: any.
    pub min_bytes_per_second: u64,
    /// Seconds for the head of a request, counted from the end of the one before on the same connection.
    pub header_timeout_seconds: f64,
    /// Seconds that work under way has after SIGTERM; the rest is kept as jobs.
    pub grace_seconds: f64,
    /// Requests a minute from one address without a key; 0: no limit.
    pub requests_per_minute: u32,
    /// Names this service is reached by besides those of this machine itself, such as `speech.example.org`; `*`: any.
    pub hosts: Vec<String>,
    /// Origins whose pages may call the service, such as `https://app.example.org`; none by default.
    pub cors_origins: Vec<String>,
    /// Whether transcripts may stand in the log.
    pub log_transcripts: bool,
    /// Keys of the service's users; made with `bestbox keys new NAME`.
    pub keys: Vec<KeyConfig>,
    /// TLS.
    pub tls: TlsConfig,
    /// Long recordings.
    pub jobs: JobsConfig,
    /// Speech while it is spoken.
    pub realtime: RealtimeConfig,
}

impl Default for ServeConfig {
    fn default() -> Self {
        ServeConfig {
            host: "127.0.0.1".into(),
            port: 8000,
            insecure: false,
            data_dir: PathBuf::new(),
            max_upload_bytes: 2 << 30,
            max_requests: 256,
            max_connections: 1024,
            min_free_bytes: 256 << 20,
            idle_timeout_seconds: 30.0,
            min_bytes_per_second: 256,
            header_timeout_seconds: 10.0,
            grace_seconds: 20.0,
            requests_per_minute: 0,
            hosts: Vec::new(),
            cors_origins: Vec::new(),
            log_transcripts: false,
            keys: Vec::new(),
            tls: TlsConfig::default(),
            jobs: JobsConfig::default(),
            realtime: RealtimeConfig::default(),
        }
    }
}

/// `[[serve.keys]]`
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyConfig {
    /// Whose key; stands in the log.
    pub name: String,
    /// SHA-256 of the key, hexadecimal. Keys are 256 random bits, so a slow hash would add nothing.
    pub sha256: String,
    /// Requests a minute; 0: no limit.
    pub requests_per_minute: u32,
    /// Requests with audio at once; 0: no limit of its own.
    pub concurrent: u32,
}

/// `[serve.tls]`
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate chain, PEM; read again when it changes. Empty: no TLS.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

impl KeyConfig {
    /// The digest as bytes; none where it is not 64 hexadecimal digits.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let digits = self.sha256.trim();
        if digits.len() != 64 || !digits.is_ascii() {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
        }
        Some(digest)
    }
}

/// `[serve.jobs]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobsConfig {
    /// Jobs worked on at once.
    pub concurrent: u32,
    /// Hours that a finished job is kept; 0: for ever.
    pub keep_hours: f64,
    /// Bytes that audio and results may take together; the oldest finished jobs go first. 0: no limit.
    pub keep_bytes: u64,
    /// Hosts that a finished job may be announced to; none: webhooks are off.
    pub webhook_hosts: Vec<String>,
    /// Environment variable that holds the secret which webhooks are signed with.
    pub webhook_secret_env: String,
}

impl Default for JobsConfig {
    fn default() -> Self {
        JobsConfig {
            concurrent: 2,
            keep_hours: 24.0 * 7.0,
            keep_bytes: 20 << 30,
            webhook_hosts: Vec::new(),
            webhook_secret_env: "BESTBOX_WEBHOOK_SECRET".into(),
        }
    }
}

/// `[serve.realtime]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RealtimeConfig {
    /// Seconds after which a session is ended, whatever goes on in it.
    pub max_session_seconds: f64,
    /// Seconds of speech that one session may have waiting for the recogniser; more is refused.
    pub buffer_seconds: f64,
    /// Seconds of new audio after which an utterance that is still being spoken is looked at; 0: never.
    pub partial_seconds: f64,
}

impl Default for RealtimeConfig {
    fn default() -> Self {
        // An hour is also OpenAI's limit of a session.
        RealtimeConfig { max_session_seconds: 3600.0, buffer_seconds: 900.0, partial_seconds: 1.0 }
    }
}
