//! Is this server alive: its health page, then a real token, with the key that only this server knows.

use super::registry::State;
use serde_json::{Value, json};
use std::time::Duration;

/// A prompt that every language model continues with "Paris", unless its numbers are wrong.
const QUESTION: &str = "Question: What is the capital of France?\nAnswer: The capital of France is";

/// For requests without inference.
const QUICK: Duration = Duration::from_secs(5);

/// Asks one server.
pub(super) struct Probe {
    http: reqwest::Client,
    base_url: String,
    key: String,
}

/// What the first token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The right word is among the likeliest.
    Right,
    /// A token came and it makes no sense: GPU drivers that compute wrongly do not report it.
    Odd,
}

impl Probe {
    pub fn new(state: &State) -> Result<Probe, String> {
        // Err means that somebody installed one before: as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(2))
            .no_proxy()
            // Plain HTTP on this machine: a machine without CA certificates is no obstacle.
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Probe { http, base_url: state.base_url(), key: state.key.clone() })
    }

    /// The health page alone.
    pub async fn alive(&self, limit: Duration) -> Result<(), String> {
        let health = self.http.get(format!("{}/health", self.base_url)).timeout(limit).send().await;
        let health = health.map_err(|error| reason(&error))?;
        if health.status().is_success() { Ok(()) } else { Err(format!("its health page says {}", health.status())) }
    }

    /// Health, and that it is this server. Runs no inference, so it disturbs no cached prefix.
    pub async fn healthy(&self) -> Result<(), String> {
        let health = self.http.get(format!("{}/health", self.base_url)).timeout(QUICK).send();
        let health = health.await.map_err(|error| reason(&error))?;
        if !health.status().is_success() {
            return Err(format!("it is loading its model ({})", health.status()));
        }
        // Another program on this port would let a stranger in, or refuse the friend.
        let tokenize = || {
            let url = format!("{}/tokenize", self.base_url);
            self.http.post(url).timeout(QUICK).json(&json!({"content": "a"}))
        };
        let stranger = tokenize().send().await.map_err(|error| reason(&error))?;
        let friend = tokenize().bearer_auth(&self.key).send().await.map_err(|error| reason(&error))?;
        if stranger.status() == reqwest::StatusCode::UNAUTHORIZED && friend.status().is_success() {
            Ok(())
        } else {
            Err(format!("its port answers {} without a key and {} with it", stranger.status(), friend.status()))
        }
    }

    /// Health, then a real token: a server can be healthy with inference dead. An error says why not (yet).
    pub async fn token(&self) -> Result<Answer, String> {
        self.healthy().await?;
        let body = json!({"prompt": QUESTION, "n_predict": 1, "n_probs": 20, "temperature": 0});
        let token = self.http.post(format!("{}/completion", self.base_url)).bearer_auth(&self.key).json(&body).send();
        let token = token.await.map_err(|error| reason(&error))?;
        let status = token.status();
        let answer: Value = token.json().await.map_err(|error| reason(&error))?;
        if !status.is_success() {
            let message = answer.pointer("/error/message").and_then(Value::as_str).unwrap_or("no reason given");
            return Err(format!("it answers {status}: {message}"));
        }
        Ok(judge(&answer))
    }
}

fn judge(answer: &Value) -> Answer {
    let listed = answer.pointer("/completion_probabilities/0/top_logprobs").and_then(Value::as_array);
    let knows = |entry: &Value| {
        let token = entry.get("token").and_then(Value::as_str).unwrap_or_default().trim();
        // Tokenizers may cut the word.
        token.len() >= 2 && "Paris".starts_with(token)
    };
    if listed.is_some_and(|listed| listed.iter().any(knows)) { Answer::Right } else { Answer::Odd }
}

fn reason(error: &reqwest::Error) -> String {
    if error.is_connect() { "it does not listen yet".to_owned() } else { format!("it does not answer: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_odd() {
        let with = |token: &str| json!({"completion_probabilities": [{"top_logprobs": [{"token": token}]}]});
        assert_eq!(judge(&with(" Paris")), Answer::Right);
        assert_eq!(judge(&with(" Par")), Answer::Right);
        for noise in [with("@"), with(" "), with("P"), json!({"content": "?"}), json!(null)] {
            assert_eq!(judge(&noise), Answer::Odd, "{noise}");
        }
    }
}
