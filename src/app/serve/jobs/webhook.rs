//! Tells a job's owner that it is over: one signed POST, tried again with growing pauses. Off unless hosts are allowed
//! and there is a secret.

use super::Jobs;
use super::queue::Due;
use super::store::now_ms;
use super::wire::Job;
use crate::app::serve::error::ApiError;
use crate::config::JobsConfig;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Url, redirect};
use sha2::Sha256;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// For one POST, from connecting to the answer's head.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before the second attempt, the third, and so on: six attempts in all.
const PAUSES_MS: [i64; 5] = [1_000, 5_000, 30_000, 120_000, 600_000];
/// Between two looks for webhooks that are due.
const LOOK: Duration = Duration::from_secs(1);

/// Where jobs may be announced, and with what secret.
pub(super) struct Hooks {
    hosts: Vec<String>,
    secret: Option<String>,
    secret_env: String,
}

impl Hooks {
    pub fn new(config: &JobsConfig) -> Self {
        let secret = std::env::var(&config.webhook_secret_env).ok().filter(|secret| !secret.is_empty());
        Hooks { hosts: config.webhook_hosts.clone(), secret, secret_env: config.webhook_secret_env.clone() }
    }

    /// The address as it is stored, if it may be called.
    ///
    /// # Errors
    /// 400 that says what is not allowed.
    pub fn check(&self, given: &str) -> Result<String, ApiError> {
        let refused = |why: String| Err(ApiError::bad_field("webhook", format!("webhook: {why}")));
        if self.hosts.is_empty() {
            return refused(
                "this service calls nobody; its operator can allow hosts (serve.jobs.webhook_hosts)".into(),
            );
        }
        if self.secret.is_none() {
            return refused(format!("this service has no secret to sign with (its operator sets {})", self.secret_env));
        }
        let url = match Url::parse(given) {
            Ok(url) => url,
            Err(error) => return refused(format!("'{given}' is not a URL: {error}")),
        };
        let host = url.host_str().unwrap_or_default();
        if !self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
            return refused(format!("the host '{host}' is not allowed (serve.jobs.webhook_hosts)"));
        }
        let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            scheme => return refused(format!("only https may be used for '{host}', not {scheme}")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("a name or password in the URL is not allowed".into());
        }
        Ok(url.into())
    }
}

/// Sends what is due until `stop`.
pub(super) async fn deliver(jobs: &Jobs, stop: &CancellationToken) {
    let (false, Some(secret)) = (jobs.hooks.hosts.is_empty(), &jobs.hooks.secret) else { return };
    // A redirect could lead to a host that is not allowed.
    let client = Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "webhooks cannot be sent");
            return;
        }
    };
    loop {
        match jobs.store.due().await {
            // Several at once, so that a receiver that is slow to answer holds up few.
            Ok(due) => {
                futures_util::future::join_all(due.iter().map(|due| send(jobs, &client, secret, due))).await;
            }
            Err(error) => tracing::warn!(%error, "webhooks wait"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

async fn send(jobs: &Jobs, client: &Client, secret: &str, due: &Due) {
    let job = Job::of(due.job.clone(), None, None);
    let id = job.id.clone();
    let Ok(body) = serde_json::to_string(&job) else { return };
    let signature = signature(secret, now_ms() / 1000, &body);
    let request = client
        .post(&due.url)
        .header("content-type", "application/json")
        .header("user-agent", concat!("bestbox/", env!("CARGO_PKG_VERSION")))
        // The same for every attempt, so that a receiver can tell a repetition.
        .header("x-bestbox-id", &id)
        .header("x-bestbox-signature", signature)
        .body(body);
    let problem = match request.send().await {
        Ok(response) if response.status().is_success() => None,
        Ok(response) => Some(format!("it answered {}", response.status())),
        Err(error) => Some(error.without_url().to_string()),
    };
    let pause = usize::try_from(due.attempts).ok().and_then(|made| PAUSES_MS.get(made));
    if let Some(problem) = &problem {
        tracing::warn!(job = id, problem, attempt = due.attempts + 1, "a webhook was not taken");
    }
    if let Err(error) = jobs.store.sent(&id, problem.as_deref(), pause.map(|pause| now_ms() + pause)).await {
        tracing::warn!(job = id, %error, "the state of a webhook cannot be stored");
    }
}

/// `t=UNIX,v1=HEX`: HMAC-SHA256 of `UNIX.BODY`. The time is signed too, so that an old call cannot be sent again.
fn signature(secret: &str, unix: i64, body: &str) -> String {
    // HMAC takes keys of any length; an empty one was refused.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(format!("{unix}.{body}").as_bytes());
    format!("t={unix},v1={}", super::hex(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(hosts: &[&str], secret: Option<&str>) -> Hooks {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Hooks { hosts, secret: secret.map(ToOwned::to_owned), secret_env: "SECRET".into() }
    }

    #[test]
    fn only_allowed_hosts_are_called_and_only_over_tls() {
        let on = hooks(&["hooks.example.org", "127.0.0.1"], Some("s"));
        for good in ["https://hooks.example.org/x?y=1", "https://HOOKS.example.org:8443/", "http://127.0.0.1:9/x"] {
            assert!(on.check(good).is_ok(), "{good}");
        }
        for bad in [
            "http://hooks.example.org/",
            "https://hooks.example.org.evil.test/",
            "https://evil.test/#hooks.example.org",
            "https://hooks.example.org@evil.test/",
            "https://me:secret@hooks.example.org/",
            "http://localhost/",
            "ftp://hooks.example.org/",
            "file:///etc/passwd",
            "hooks.example.org",
            "",
        ] {
            let error = on.check(bad).expect_err(bad);
            assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some("webhook")), "{bad}");
        }
        assert!(hooks(&[], Some("s")).check("https://hooks.example.org/").is_err(), "off by default");
        let error = hooks(&["hooks.example.org"], None).check("https://hooks.example.org/").unwrap_err();
        assert!(error.message.contains("SECRET"), "{}", error.message);
    }

    #[test]
    fn the_signature_is_the_hmac_of_time_and_body() {
        // Checked with: printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
        assert_eq!(
            signature("secret", 1_700_000_000, "{}"),
            "t=1700000000,v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
        );
    }
}
