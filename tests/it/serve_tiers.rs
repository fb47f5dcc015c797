//! Language model servers that die, hang or come late; the health pages; the end of the service.

use crate::support::llama::{KEY, Llama, SMOL, cache, free_port};
use crate::support::serve::{Serve, Served, serve};
use crate::support::servers::{assert_gone, kill_9, runs};
use nix::sys::signal::Signal;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Seconds in which everything here must have happened: a model is loaded and its prompts are read.
const PATIENCE: Duration = Duration::from_secs(120);

/// Without marks, so that the model is asked.
const SPOKEN: &str = "so we meet at the harbour tomorrow and then we take the boat";

/// A cache of one's own, with the models and programs of the real one: nobody shares these servers.
struct Cache(tempfile::TempDir);

impl Cache {
    fn new() -> Self {
        let folder = Cache(tempfile::tempdir().expect("a folder"));
        folder.give_models();
        std::os::unix::fs::symlink(cache().join("bin"), folder.0.path().join("bin")).expect("a link");
        folder
    }

    fn give_models(&self) {
        std::os::unix::fs::symlink(cache().join("models"), self.0.path().join("models")).expect("a link");
    }

    fn take_models(&self) {
        std::fs::remove_file(self.0.path().join("models")).expect("a link");
    }

    /// A service with these servers; its own are never another's.
    fn serve(&self) -> Serve {
        serve().env("BESTBOX_CACHE", self.0.path().to_str().expect("UTF-8")).set("servers.grace_seconds=2")
    }

    /// Process id of a tier's llama-server, from the registry.
    fn pid(&self, tier: &str) -> Option<u32> {
        let homes = std::fs::read_dir(self.0.path().join("run")).ok()?;
        let home = homes.flatten().find(|home| home.file_name().to_string_lossy().starts_with(tier))?;
        let state: Value = serde_json::from_slice(&std::fs::read(home.path().join("state.json")).ok()?).ok()?;
        u32::try_from(state["server"]["pid"].as_u64()?).ok()
    }
}

struct Api {
    http: reqwest::Client,
    url: String,
}

impl Api {
    fn of(served: &Served) -> Self {
        // Err: another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client");
        Api { http, url: served.url.clone() }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.url))
    }

    async fn json(request: RequestBuilder) -> (StatusCode, Value) {
        let response = request.send().await.expect("an answer");
        let status = response.status();
        (status, response.json().await.expect("JSON"))
    }

    async fn health(&self) -> Value {
        let (status, body) = Self::json(self.get("/health/ready")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// The health page, once `tier` is in `state`.
    async fn tier_is(&self, tier: &str, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            let health = self.health().await;
            if health["tiers"][tier]["state"] == state {
                return health;
            }
            assert!(begun.elapsed() < PATIENCE, "{tier} is not {state}: {health}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The outcome of a text.
    async fn text(&self, route: &str) -> Value {
        let body = json!({"text": SPOKEN, "cleanup": "punctuate", "route": route});
        let (status, outcome) = Self::json(self.http.post(format!("{}/v1/text", self.url)).json(&body)).await;
        assert_eq!(status, StatusCode::OK, "{outcome}");
        outcome
    }

    fn upload(&self, path: &str, file: &Path, fields: &[(&str, &str)]) -> RequestBuilder {
        let mut body = Vec::new();
        for (name, value) in fields {
            body.extend(format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
        }
        body.extend(b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n");
        body.extend(std::fs::read(file).expect("a sample"));
        body.extend(b"\r\n--b--\r\n");
        let request = self.http.post(format!("{}{path}", self.url));
        request.header("content-type", "multipart/form-data; boundary=b").body(body)
    }

    /// The line of a metric.
    async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").send().await.expect("an answer").text().await.expect("text");
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name)
}

fn codes(outcome: &Value) -> Vec<&str> {
    outcome["warnings"].as_array().expect("warnings").iter().filter_map(|warning| warning["code"].as_str()).collect()
}

#[tokio::test]
async fn servers_that_are_killed_are_done_without_and_come_back() {
    let cache = Cache::new();
    let served = cache.serve().set("cleanup.written_text=model").set("agent.max_tokens=16").start();
    let api = Api::of(&served);
    let health = api.tier_is("light", "up").await;
    assert_eq!((&health["status"], &health["tiers"]["heavy"]["state"]), (&json!("ok"), &json!("waiting")));
    let before = api.text("agent").await;
    assert_eq!(before["cleaned"]["engine"], "grammar", "{before}");
    assert!(before["reply"]["text"].as_str().is_some_and(|text| !text.is_empty()), "{before}");
    let (light, heavy) = (cache.pid("light").expect("light"), cache.pid("heavy").expect("heavy"));

    // They cannot come back before they may.
    cache.take_models();
    kill_9(light);
    kill_9(heavy);
    let health = api.tier_is("light", "down").await;
    assert_eq!(health["status"], "degraded");
    assert!(health["tiers"]["light"]["reason"].as_str().is_some_and(|why| why.contains("signal: 9")), "{health}");
    api.tier_is("heavy", "down").await;
    assert_eq!(api.metric("bestbox_tier_up{tier=\"light\"}").await, Some(0.0));
    let begun = Instant::now();
    let without = api.text("agent").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody waits for a server that is down: {:?}", begun.elapsed());
    assert_eq!(without["cleaned"]["engine"], "rules");
    assert!(codes(&without).contains(&"cleanup-unavailable"), "{without}");
    assert!(codes(&without).contains(&"reply-unavailable"), "{without}");
    let clip = sample("requests/quick-hours.wav");
    let request = api.upload("/v1/pipeline", &clip, &[("cleanup", "punctuate"), ("route", "auto")]);
    let (status, outcome) = Api::json(request).await;
    assert_eq!(status, StatusCode::OK, "{outcome}");
    assert!(codes(&outcome).contains(&"cleanup-unavailable") && codes(&outcome).contains(&"intent-unavailable"));
    assert!(outcome["cleaned"]["text"].as_str().is_some_and(|text| text.len() > 10), "{outcome}");

    cache.give_models();
    let health = api.tier_is("light", "up").await;
    assert_eq!(health["tiers"]["light"]["restarts"], 1);
    let health = api.tier_is("heavy", "up").await;
    assert_eq!(health["status"], "ok");
    let after = api.text("agent").await;
    assert_eq!(after["cleaned"], before["cleaned"]);
    assert!(codes(&after).iter().all(|code| !code.ends_with("-unavailable")), "{after}");
    assert!(cache.pid("light").is_some_and(|pid| pid != light && runs(pid)));
    assert_eq!(api.metric("bestbox_tier_up{tier=\"light\"}").await, Some(1.0));
    assert_eq!(api.metric("bestbox_tier_restarts_total{tier=\"heavy\"}").await, Some(1.0));
    assert!(api.metric("bestbox_fallbacks_total{reason=\"cleanup-unavailable\"}").await >= Some(2.0));
}

#[tokio::test]
async fn without_any_language_model_speech_is_recognised() {
    let cache = Cache::new();
    let served = cache.serve().set("servers.program=/nowhere/llama-server").start();
    let api = Api::of(&served);
    let health = api.tier_is("light", "down").await;
    assert_eq!((&health["status"], &health["model"]["loaded"]), (&json!("degraded"), &json!(true)));
    let both = api.text("agent").await;
    assert_eq!(codes(&both), ["cleanup-unavailable", "reply-unavailable"], "one sentence each: {both}");
    assert_eq!(api.tier_is("heavy", "down").await["status"], "degraded");
    let clip = sample("requests/quick-hours.wav");
    let (status, answer) = Api::json(api.upload("/v1/audio/transcriptions", &clip, &[("model", "whisper-1")])).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["text"].as_str().is_some_and(|text| text.len() > 10), "{answer}");
    let (status, same) = Api::json(api.get("/health")).await;
    assert_eq!((status, &same["status"]), (StatusCode::OK, &json!("degraded")));
    // What was worked through is measured.
    assert!(api.metric("bestbox_audio_seconds_total").await > Some(1.0));
    assert_eq!(api.metric("bestbox_stage_duration_seconds_count{stage=\"recognise\"}").await, Some(1.0));
    let requests = "bestbox_http_requests_total{method=\"POST\",route=\"/v1/audio/transcriptions\",status=\"200\"}";
    assert_eq!(api.metric(requests).await, Some(1.0));
    let bytes = std::fs::metadata(&clip).expect("a sample").len() as f64;
    assert!(api.metric("bestbox_http_received_bytes_total").await > Some(bytes));
    assert!(api.metric("process_resident_memory_bytes").await > Some(20e6));
    assert_eq!(api.metric("bestbox_http_requests_in_flight").await, Some(1.0), "the question itself");
}

#[tokio::test]
async fn a_server_that_hangs_is_down_until_it_answers() {
    let cache = Cache::new();
    let served = cache.serve().set("cleanup.deadline_seconds=3").start();
    let api = Api::of(&served);
    api.tier_is("light", "up").await;
    let pid = cache.pid("light").expect("light");
    let signal = |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).expect("kill");
    signal(Signal::SIGSTOP);
    let begun = Instant::now();
    let outcome = api.text("text").await;
    assert!(begun.elapsed() < Duration::from_secs(10), "bounded by its deadline: {:?}", begun.elapsed());
    assert!(codes(&outcome).contains(&"cleanup-unavailable"), "{outcome}");
    let health = api.tier_is("light", "down").await;
    assert_eq!(health["status"], "degraded");
    let begun = Instant::now();
    api.text("text").await;
    assert!(begun.elapsed() < Duration::from_millis(2900), "known to be down: {:?}", begun.elapsed());
    if std::env::var_os("BESTBOX_LONG").is_some() {
        // Nobody wakes it: it is replaced.
        let health = api.tier_is("light", "up").await;
        assert_eq!(health["tiers"]["light"]["restarts"], 1);
        assert_gone(pid, Duration::from_secs(30));
    } else {
        signal(Signal::SIGCONT);
        let health = api.tier_is("light", "up").await;
        assert_eq!(health["tiers"]["light"]["restarts"], 0, "it is the same one");
        assert_eq!(cache.pid("light"), Some(pid));
    }
    let begun = Instant::now();
    // On a busy machine it may miss its deadline a few times more.
    while api.text("text").await["cleaned"]["engine"] != "grammar" {
        assert!(begun.elapsed() < PATIENCE);
    }
}

#[tokio::test]
async fn a_server_of_somebody_else_may_come_and_go() {
    let port = free_port();
    let served = serve()
        .beside()
        .set("light.manage=false")
        .set(&format!("light.base_url=http://127.0.0.1:{port}"))
        .set("light.key_env=LIGHT_KEY")
        .env("LIGHT_KEY", KEY)
        .start();
    let api = Api::of(&served);
    let health = api.tier_is("light", "down").await;
    assert_eq!((&health["status"], &health["tiers"]["light"]["managed"]), (&json!("degraded"), &json!(false)));
    assert!(codes(&api.text("text").await).contains(&"cleanup-unavailable"));
    let llama = Llama::start_on(SMOL, port);
    api.tier_is("light", "up").await;
    assert_eq!(api.text("text").await["cleaned"]["engine"], "grammar");
    drop(llama);
    // Noticed by the request that fails.
    assert!(codes(&api.text("text").await).contains(&"cleanup-unavailable"));
    api.tier_is("light", "down").await;
    let _llama = Llama::start_on(SMOL, port);
    let health = api.tier_is("light", "up").await;
    assert_eq!(health["tiers"]["light"]["restarts"], 1);
}

#[tokio::test]
async fn while_it_loads_it_says_so() {
    let served = serve().set("servers.program=/nowhere/llama-server").start_listening();
    let api = Api::of(&served);
    let clip = sample("requests/quick-hours.wav");
    let (live, ready, refused) = tokio::join!(
        api.get("/health/live").send(),
        api.get("/health/ready").send(),
        api.upload("/v1/audio/transcriptions", &clip, &[("model", "whisper-1")]).send()
    );
    assert_eq!(live.expect("an answer").status(), StatusCode::OK);
    for answer in [ready.expect("an answer"), refused.expect("an answer")] {
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let wait = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
        assert!(wait.is_some_and(|seconds| (1..60).contains(&seconds)), "{:?}", answer.headers());
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["error"]["code"], "loading", "{body}");
    }
    let begun = Instant::now();
    while api.get("/health/ready").send().await.expect("an answer").status() != StatusCode::OK {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A recording of `clips` clips of about 5 seconds: enough to be caught at work.
fn recording(folder: &Path, clips: usize) -> PathBuf {
    let mut all: Option<(hound::WavSpec, Vec<i16>)> = None;
    for name in ["0870.wav", "0890.wav", "0880.wav"].iter().cycle().take(clips) {
        let mut reader = hound::WavReader::open(sample("librivox").join(name)).expect("a sample");
        let (_, samples) = all.get_or_insert_with(|| (reader.spec(), Vec::new()));
        samples.extend(reader.samples::<i16>().map(|sample| sample.expect("a sample")));
    }
    let (spec, samples) = all.expect("samples");
    let path = folder.join("long.wav");
    let mut writer = hound::WavWriter::create(&path, spec).expect("a file");
    samples.iter().for_each(|sample| writer.write_sample(*sample).expect("written"));
    writer.finalize().expect("written");
    path
}

/// Sends a recording, and returns when the service has begun to work on it.
async fn at_work(served: &Served, file: &Path) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
    let api = Api::of(served);
    let fields = [("cleanup", "verbatim"), ("route", "text")];
    let work = tokio::spawn(api.upload("/v1/pipeline", file, &fields).send());
    let begun = Instant::now();
    while api.metric("bestbox_places_taken").await != Some(1.0) {
        assert!(begun.elapsed() < PATIENCE, "it does not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    work
}

fn exit_code(mut served: Served, limit: Duration) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = served.child.try_wait().expect("child") {
            return status.code();
        }
        assert!(begun.elapsed() < limit, "it does not end: {}", served.log.lock().expect("log"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn the_end_waits_for_work_and_takes_nothing_new() {
    let cache = Cache::new();
    let served = cache.serve().set("serve.grace_seconds=110").start();
    let api = Api::of(&served);
    api.tier_is("light", "up").await;
    let light = cache.pid("light").expect("light");
    let folder = tempfile::tempdir().expect("a folder");
    let work = at_work(&served, &recording(folder.path(), 12)).await;
    served.signal(Signal::SIGTERM);
    let begun = Instant::now();
    let refused = loop {
        let (status, body) = Api::json(api.get("/health/ready")).await;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!((&body["status"], &body["draining"]), (&json!("draining"), &json!(true)));
            let clip = sample("requests/quick-hours.wav");
            break api.upload("/v1/audio/transcriptions", &clip, &[]).send().await.expect("an answer");
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not drain: {body}");
    };
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let body: Value = refused.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], "draining");
    assert_eq!(api.get("/v1/models").send().await.expect("an answer").status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(api.get("/health/live").send().await.expect("an answer").status(), StatusCode::OK);
    let answer = work.await.expect("a task").expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let outcome: Value = answer.json().await.expect("JSON");
    let text = outcome["cleaned"]["text"].as_str().expect("text");
    assert!(text.split_whitespace().count() > 100, "all of it: {text}");
    assert_eq!(exit_code(served, Duration::from_secs(15)), Some(0));
    assert!(!runs(light), "its llama-server has ended before it");
}

#[tokio::test]
async fn what_does_not_fit_the_grace_time_is_kept_as_a_job() {
    let start = || serve().set("servers.program=/nowhere/llama-server");
    let served = start().set("serve.grace_seconds=0.5").start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), 12);
    let work = at_work(&served, &file).await;
    served.signal(Signal::SIGTERM);
    let answer = work.await.expect("a task").expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let location = answer.headers()["location"].to_str().expect("ASCII").to_owned();
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], "kept_as_job", "{body}");
    assert!(location.starts_with("/v1/jobs/"), "{location}");
    let again = start().again(&served).beside();
    let begun = Instant::now();
    assert_eq!(exit_code(served, Duration::from_secs(20)), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "it does not wait for the recording: {:?}", begun.elapsed());
    let served = again.start();
    let api = Api::of(&served);
    let begun = Instant::now();
    loop {
        let (status, job) = Api::json(api.get(&location)).await;
        assert_eq!(status, StatusCode::OK, "{job}");
        if job["status"] == "finished" {
            break;
        }
        assert!(begun.elapsed() < PATIENCE && job["status"] != "failed", "{job}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (_, kept) = Api::json(api.get(&format!("{location}/result"))).await;
    let fields = [("cleanup", "verbatim"), ("route", "text")];
    let (_, direct) = Api::json(api.upload("/v1/pipeline", &file, &fields)).await;
    assert_eq!(kept["cleaned"], direct["cleaned"], "the same plan, the same text");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let served = serve().set("servers.program=/nowhere/llama-server").start();
    let folder = tempfile::tempdir().expect("a folder");
    let work = at_work(&served, &recording(folder.path(), 12)).await;
    served.signal(Signal::SIGTERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    served.signal(Signal::SIGTERM);
    assert_eq!(exit_code(served, Duration::from_secs(10)), Some(130));
    assert!(work.await.expect("a task").is_err());
}

#[test]
fn two_services_do_not_share_a_data_folder() {
    let first = serve().set("servers.program=/nowhere/llama-server").start();
    let (code, said) = serve().again(&first).beside().refused();
    assert_eq!(code, Some(2), "{said}");
    let sentence = said.lines().find(|line| line.starts_with("bestbox: ")).unwrap_or_default();
    assert!(sentence.contains("another bestbox serve") && sentence.contains("serve.data_dir"), "{said}");
}
