//! Models on demand: loaded when asked for, unloaded when unused, within a budget.

use crate::speech_support as s;
use crate::support::serve::{Served, serve};
use reqwest::StatusCode;
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

struct Api {
    http: reqwest::Client,
    served: Served,
}

impl Api {
    fn of(served: Served) -> Self {
        // Err: another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().expect("a client");
        Api { http, served }
    }

    /// Status, body and headers of a transcription by a model.
    async fn transcribe(&self, model: &str) -> (StatusCode, Value, reqwest::header::HeaderMap) {
        let clip = std::fs::read(s::sample("librivox/0930.wav")).expect("a clip");
        let form = Form::new().text("model", model.to_owned()).part("file", Part::bytes(clip).file_name("clip.wav"));
        let url = format!("{}/v1/audio/transcriptions", self.served.url);
        let response = self.http.post(url).multipart(form).send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        (status, response.json().await.expect("JSON"), headers)
    }

    /// The same by a client that comes again where it is told to: a model in use has a limited time to make room.
    async fn transcribe_in_the_end(&self, model: &str) -> (StatusCode, Value, reqwest::header::HeaderMap) {
        let begun = Instant::now();
        loop {
            let answer = self.transcribe(model).await;
            let busy = answer.0 == StatusCode::SERVICE_UNAVAILABLE && answer.1["error"]["code"] == "model_busy";
            if !busy || begun.elapsed() > PATIENCE {
                return answer;
            }
            assert!(answer.2.contains_key("retry-after"), "{answer:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Loaded models with the bytes they take, by name.
    async fn loaded(&self) -> Vec<(String, u64)> {
        let url = format!("{}/metrics", self.served.url);
        let text = self.http.get(url).send().await.expect("an answer").text().await.expect("text");
        let mut models: Vec<(String, u64)> = text
            .lines()
            .filter_map(|line| {
                let (name, bytes) = line.strip_prefix("bestbox_model_memory_bytes{model=\"")?.split_once("\"} ")?;
                Some((name.to_owned(), bytes.parse().expect("bytes")))
            })
            .collect();
        models.sort();
        models
    }

    async fn names(&self) -> Vec<String> {
        self.loaded().await.into_iter().map(|(name, _)| name).collect()
    }

    /// Waits until exactly these are loaded; they with the bytes they take.
    async fn until(&self, names: &[&str]) -> Vec<(String, u64)> {
        let begun = Instant::now();
        loop {
            let loaded = self.loaded().await;
            if loaded.iter().map(|(name, _)| name).eq(names) {
                return loaded;
            }
            assert!(begun.elapsed() < PATIENCE, "{loaded:?} instead of {names:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn models_come_when_asked_for_and_go_when_unused() {
    let api = Api::of(serve().set("cleanup.style=verbatim").set("speech.keep_alive_seconds=8").start());
    api.until(&["tiny.en-q8_0"]).await;
    // Both at once: neither takes the other's place, and each has its own text. (Looked at while they are in work: on a
    // slow machine the first may have been unused for long enough when the second is done.)
    let ((tiny, first, _), (base, second, _), loaded) = tokio::join!(
        api.transcribe("whisper-1"),
        api.transcribe("base-q8_0"),
        api.until(&["base-q8_0", "tiny.en-q8_0"])
    );
    assert_eq!((tiny, base), (StatusCode::OK, StatusCode::OK), "{first} {second}");
    assert!(
        first["text"].as_str().is_some_and(|t| t.len() > 20) && second["text"].as_str().is_some_and(|t| t.len() > 20)
    );
    for (name, bytes) in &loaded {
        let file = std::fs::metadata(s::model_file(&format!("ggml-{name}.bin"))).expect("a file").len();
        assert!((file..4 * file).contains(bytes), "{name}: {bytes} with a file of {file}");
    }
    api.until(&[]).await;
    // And it is there again for the next one.
    let (status, again, _) = api.transcribe("base-q8_0").await;
    assert_eq!((status, &again["text"]), (StatusCode::OK, &second["text"]));
    assert_eq!(api.names().await, ["base-q8_0"]);
}

#[tokio::test]
async fn the_longest_unused_model_makes_room_and_what_never_fits_is_said() {
    // Room for either, not for both.
    let api = Api::of(serve().set("cleanup.style=verbatim").set("speech.memory_bytes=250000000").start());
    api.until(&["tiny.en-q8_0"]).await;
    let (status, body, _) = api.transcribe("base-q8_0").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(api.names().await, ["base-q8_0"]);
    // While one is in use the other waits for its turn, and nobody is turned away for good.
    let answers = futures_util::future::join_all(
        ["whisper-1", "base-q8_0", "whisper-1", "base-q8_0"].map(|model| api.transcribe_in_the_end(model)),
    )
    .await;
    assert!(answers.iter().all(|(status, _, _)| *status == StatusCode::OK), "{answers:?}");
    assert_eq!(answers[0].1["text"], answers[2].1["text"]);
    let (status, body, _) = api.transcribe("large-v3-turbo-q8_0").await;
    assert!(status.is_client_error(), "{status} {body}");
    assert_eq!(api.loaded().await.len(), 1);
}

#[tokio::test]
async fn a_model_too_large_for_the_budget_is_refused_at_once() {
    let api = Api::of(serve().set("cleanup.style=verbatim").set("speech.memory_bytes=150000000").start());
    api.until(&["tiny.en-q8_0"]).await;
    let begun = Instant::now();
    let (status, body, _) = api.transcribe("base-q8_0").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &Value::from("model_too_large")), "{body}");
    assert_eq!(body["error"]["param"], "model");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let (status, _, _) = api.transcribe("../ggml-base-q8_0.bin").await;
    assert!(status.is_client_error(), "{status}");
    let (status, _, _) = api.transcribe("tiny.en-q8_0").await;
    assert_eq!(status, StatusCode::OK);
}
