//! `GET /v1/realtime` with the real service and the smallest model: turns, partial text, formats, both shapes of a
//! session, errors, several sessions, limits and the end. The service's own clock is the clients': speech is sent at
//! the speed it was spoken at where partial text matters, and at once elsewhere.

use super::support::llama::cache;
use super::support::serve::{Served, serve};
use audio_codec_algorithms::{encode_alaw, encode_ulaw};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bestbox::app::wer::wer;
use bestbox::language::Lang;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// More than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A recogniser that shares its cores with other tests does not wait for a thread of its own that is not running.
const ONE_THREAD: &str = "speech.threads=1";

/// A client of the session.
struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// All events but the first, in order.
    events: Vec<Value>,
    created: Value,
    closed: Option<CloseFrame>,
}

impl Client {
    async fn connect(served: &Served, query: &str, headers: &[(&'static str, &str)]) -> Self {
        let mut client = Client::try_connect(served, query, headers).await.expect("it connects");
        client.created = client.next().await.expect("it is greeted");
        client
    }

    async fn try_connect(served: &Served, query: &str, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        let url = format!("{}/v1/realtime?{query}", served.url.replace("http", "ws"));
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        let (socket, _) = connect_async(request).await?;
        Ok(Client { socket, events: Vec::new(), created: Value::Null, closed: None })
    }

    async fn send(&mut self, event: Value) {
        self.socket.send(Message::text(event.to_string())).await.expect("it is sent");
    }

    async fn append(&mut self, bytes: &[u8]) {
        let audio = BASE64_STANDARD.encode(bytes);
        self.send(json!({"type": "input_audio_buffer.append", "audio": audio})).await;
    }

    /// The next event; none when the session has ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("an event in time");
            match message {
                Some(Ok(Message::Text(text))) => {
                    let event: Value = serde_json::from_str(&text).expect("JSON");
                    assert!(event["event_id"].as_str().is_some_and(|id| id.starts_with("event_")), "{event}");
                    self.events.push(event.clone());
                    return Some(event);
                }
                Some(Ok(Message::Close(frame))) => self.closed = frame,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Waits for an event of this kind.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("no {kind} in {:#?}", self.events));
            if event["type"].as_str().is_some_and(|full| full.ends_with(kind)) {
                return event;
            }
        }
    }

    /// What is answered to `event`.
    async fn ask(&mut self, event: Value) -> Value {
        self.send(event).await;
        self.next().await.expect("an answer")
    }

    fn kinds(&self) -> Vec<&str> {
        self.events.iter().filter_map(|event| event["type"].as_str()).collect()
    }

    /// The deltas of an item, together.
    fn deltas(&self, item: &Value) -> String {
        let of_item = self.events.iter().filter(|event| event["item_id"] == *item);
        of_item.filter_map(|event| event["delta"].as_str()).collect()
    }
}

/// 16 kHz.
fn clip(name: &str) -> Vec<i16> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/librivox").join(name);
    let samples = hound::WavReader::open(path).expect("the sample").into_samples::<i16>();
    samples.map(|sample| sample.expect("a sample")).collect()
}

const CLIP_0870: &str = "and mister john dashwood had then leisure to consider how much there might be prudently in his \
                         power to do for them";
const CLIP_0880: &str = "he was not an ill disposed young man";
const CLIP_0890: &str = "unless to be rather cold hearted and rather selfish is to be ill disposed";

fn silence(samples: usize) -> Vec<i16> {
    (0..samples as i64).map(|n| (n * 7_919 % 13 - 6) as i16).collect()
}

fn pcm(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// 16 kHz to 24 kHz, between neighbours on a line.
fn at_24_khz(samples: &[i16]) -> Vec<i16> {
    let at = |n: usize| i32::from(samples[n.min(samples.len() - 1)]);
    let between = |n: usize| (at(n / 3) * (3 - n as i32 % 3) + at(n / 3 + 1) * (n as i32 % 3)) / 3;
    (0..samples.len() * 3 / 2).map(|n| between(n * 2) as i16).collect()
}

/// 16 kHz to 8 kHz.
fn at_8_khz(samples: &[i16]) -> Vec<i16> {
    samples.chunks_exact(2).map(|two| ((i32::from(two[0]) + i32::from(two[1])) / 2) as i16).collect()
}

fn assert_says(text: &Value, reference: &str) {
    let text = text.as_str().expect("a transcript");
    let errors = wer(reference, text, Lang::ENGLISH);
    // The smallest model, over the telephone too: a word in four may be another.
    assert!(errors.rate() <= 0.25, "'{text}' for '{reference}'");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_hears_what_is_said() {
    let served = serve().set(ONE_THREAD).start();
    turns_at_24_khz(&served).await;
    partial_text_while_somebody_speaks(&served).await;
    by_hand_over_the_telephone(&served).await;
    the_older_shape(&served).await;
    two_at_once_do_not_mix(&served).await;
    errors_keep_it_open(&served).await;
    handshakes(&served).await;
}

async fn turns_at_24_khz(served: &Served) {
    let mut client = Client::connect(served, "intent=transcription", &[]).await;
    assert_eq!(client.created["type"], "session.created");
    assert_eq!(client.created["session"]["type"], "transcription");
    assert_eq!(client.created["session"]["object"], "realtime.transcription_session");
    let input = json!({
        "format": {"type": "audio/pcm", "rate": 24000},
        "transcription": {"model": "gpt-4o-transcribe", "language": "en", "prompt": ""},
        "turn_detection": {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500},
        "noise_reduction": {"type": "near_field"},
    });
    let include = ["item.input_audio_transcription.logprobs"];
    let session = json!({"type": "transcription", "audio": {"input": input}, "include": include});
    let updated = client.ask(json!({"type": "session.update", "session": session})).await;
    assert_eq!(updated["type"], "session.updated");
    assert_eq!(updated["session"]["audio"]["input"]["turn_detection"], input["turn_detection"]);
    assert_eq!(updated["session"]["audio"]["input"]["transcription"]["language"], "en");
    // Two turns with a pause of 1.5 s between them, sent at once.
    let both = [clip("0880.wav"), silence(24_000), clip("0890.wav"), silence(16_000)].concat();
    for piece in at_24_khz(&both).chunks(4_800) {
        client.append(&pcm(piece)).await;
    }
    let first = client.until("transcription.completed").await;
    let second = client.until("transcription.completed").await;
    assert_says(&first["transcript"], CLIP_0880);
    assert_says(&second["transcript"], CLIP_0890);
    for completed in [&first, &second] {
        assert_eq!(client.deltas(&completed["item_id"]), completed["transcript"].as_str().expect("text"));
        assert_eq!(completed["usage"]["type"], "duration");
        let tokens = completed["logprobs"].as_array().expect("log probabilities");
        assert!(tokens.iter().any(|token| token["logprob"].as_f64().is_some_and(|p| p < 0.0)), "{tokens:?}");
        // What is told of one item, in order.
        let kinds: Vec<&str> = client
            .events
            .iter()
            .filter(|event| event["item_id"] == completed["item_id"] || event["item"]["id"] == completed["item_id"])
            .filter_map(|event| event["type"].as_str())
            .filter(|kind| !kind.ends_with("delta"))
            .collect();
        let buffer = "input_audio_buffer";
        let wanted = [
            format!("{buffer}.speech_started"),
            format!("{buffer}.speech_stopped"),
            format!("{buffer}.committed"),
            "conversation.item.added".into(),
            "conversation.item.done".into(),
            "conversation.item.input_audio_transcription.completed".into(),
        ];
        assert_eq!(kinds, wanted);
    }
    let times = |name: &str| -> Vec<u64> { client.events.iter().filter_map(|event| event[name].as_u64()).collect() };
    let (starts, ends) = (times("audio_start_ms"), times("audio_end_ms"));
    // The first clip lasts 2.99 s; the second begins 1.5 s later.
    assert!(starts[0] <= 600 && (2_500..=4_000).contains(&ends[0]), "{starts:?} {ends:?}");
    assert!((3_900..=5_000).contains(&starts[1]) && ends[1] > starts[1] + 4_000, "{starts:?} {ends:?}");
    let committed: Vec<&Value> =
        client.events.iter().filter(|event| event["type"] == "input_audio_buffer.committed").collect();
    assert_eq!(committed[0]["previous_item_id"], Value::Null);
    assert_eq!(committed[1]["previous_item_id"], first["item_id"]);
    let farewell = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    client.socket.close(Some(farewell)).await.expect("it closes");
    while client.next().await.is_some() {}
    assert!(client.closed.is_some(), "the close is answered");
}

async fn partial_text_while_somebody_speaks(served: &Served) {
    let mut client = Client::connect(served, "", &[]).await;
    // Sentences with short pauses, as one turn: on a busy machine a look may take seconds.
    let turns = json!({"type": "server_vad", "silence_duration_ms": 3000});
    let input = json!({"format": {"type": "audio/pcm", "rate": 16000}, "turn_detection": turns});
    client.ask(json!({"type": "session.update", "session": {"audio": {"input": input}}})).await;
    let samples = [clip("0870.wav"), clip("0880.wav"), clip("0890.wav")].concat();
    let begun = Instant::now();
    for (n, piece) in samples.chunks(1_600).enumerate() {
        client.append(&pcm(piece)).await;
        // At the speed it was spoken at.
        tokio::time::sleep_until((begun + Duration::from_millis(100 * (n as u64 + 1))).into()).await;
    }
    // What had been told when the speech was over.
    let marker = client.until_answer_to_nonsense().await;
    let early = client.kinds().iter().filter(|kind| kind.ends_with("transcription.delta")).count();
    assert!(
        early >= 1,
        "no text before the end of {:.1} s of speech: {:?}",
        begun.elapsed().as_secs_f64(),
        client.kinds()
    );
    assert_eq!(marker["type"], "error");
    assert!(!client.kinds().iter().any(|kind| kind.ends_with("speech_stopped")), "the turn is not over");
    client.append(&pcm(&silence(56_000))).await;
    let completed = client.until("transcription.completed").await;
    assert_says(&completed["transcript"], &[CLIP_0870, CLIP_0880, CLIP_0890].join(" "));
    let deltas = client.deltas(&completed["item_id"]);
    println!(
        "{early} deltas while speaking: {:?}",
        client.events.iter().filter_map(|e| e["delta"].as_str()).collect::<Vec<_>>()
    );
    // They add up, or the whole says other words than were shown; then nearly.
    let errors = wer(completed["transcript"].as_str().expect("text"), &deltas, Lang::ENGLISH);
    assert!(errors.rate() <= 0.15, "{deltas:?} for {completed}");
}

impl Client {
    /// Everything that was said before now has come when this has its answer.
    async fn until_answer_to_nonsense(&mut self) -> Value {
        self.send(json!({"type": "nonsense"})).await;
        self.until("error").await
    }
}

async fn by_hand_over_the_telephone(served: &Served) {
    for (format, encode) in [("audio/pcmu", encode_ulaw as fn(i16) -> u8), ("audio/pcma", encode_alaw)] {
        let mut client = Client::connect(served, "intent=transcription&model=whisper-1", &[]).await;
        let input = json!({"format": {"type": format}, "turn_detection": null});
        let updated = client.ask(json!({"type": "session.update", "session": {"audio": {"input": input}}})).await;
        assert_eq!(updated["session"]["audio"]["input"]["turn_detection"], Value::Null);
        assert_eq!(updated["session"]["audio"]["input"]["format"]["type"], format);
        // Something else first, which is thrown away.
        let noise: Vec<u8> = at_8_khz(&clip("0880.wav")).iter().map(|sample| encode(*sample)).collect();
        client.append(&noise).await;
        client.send(json!({"type": "input_audio_buffer.clear"})).await;
        client.until("input_audio_buffer.cleared").await;
        let speech: Vec<u8> = at_8_khz(&clip("0890.wav")).iter().map(|sample| encode(*sample)).collect();
        for piece in speech.chunks(160) {
            client.append(piece).await;
        }
        client.send(json!({"type": "input_audio_buffer.commit"})).await;
        let completed = client.until("transcription.completed").await;
        assert_says(&completed["transcript"], CLIP_0890);
        let seconds = completed["usage"]["seconds"].as_f64().expect("seconds");
        assert!((seconds - speech.len() as f64 / 8_000.0).abs() < 0.01, "{seconds}");
        assert!(!client.kinds().iter().any(|kind| kind.contains("speech_st")), "no turns are told of");
    }
}

async fn the_older_shape(served: &Served) {
    let mut client = Client::connect(served, "intent=transcription", &[("OpenAI-Beta", "realtime=v1")]).await;
    assert_eq!(client.created["type"], "transcription_session.created");
    assert_eq!(client.created["session"]["input_audio_format"], "pcm16");
    let session = json!({
        "input_audio_format": "g711_ulaw",
        "input_audio_transcription": {"model": "gpt-4o-mini-transcribe", "language": "en"},
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
        "input_audio_noise_reduction": {"type": "far_field"},
    });
    let updated = client.ask(json!({"type": "transcription_session.update", "session": session})).await;
    assert_eq!(updated["type"], "transcription_session.updated");
    assert_eq!(updated["session"]["input_audio_format"], "g711_ulaw");
    assert_eq!(updated["session"]["turn_detection"]["silence_duration_ms"], 400);
    let samples = at_8_khz(&[clip("0880.wav"), silence(16_000)].concat());
    client.append(&samples.iter().map(|sample| encode_ulaw(*sample)).collect::<Vec<u8>>()).await;
    let completed = client.until("transcription.completed").await;
    assert_says(&completed["transcript"], CLIP_0880);
    assert!(
        client.kinds().contains(&"conversation.item.created") && !client.kinds().contains(&"conversation.item.done")
    );
    // The flat form under the newer name.
    let flat = json!({"type": "session.update", "session": {"input_audio_format": "pcm16", "turn_detection": null}});
    let updated = client.ask(flat).await;
    assert_eq!(
        (&updated["type"], &updated["session"]["input_audio_format"]),
        (&json!("session.updated"), &json!("pcm16"))
    );
}

async fn two_at_once_do_not_mix(served: &Served) {
    let one = async |name: &str, text: &str| {
        let mut client = Client::connect(served, "", &[]).await;
        let input = json!({"format": {"type": "audio/pcm", "rate": 16000}, "turn_detection": null});
        client.ask(json!({"type": "session.update", "session": {"audio": {"input": input}}})).await;
        for _ in 0..2 {
            for piece in clip(name).chunks(3_200) {
                client.append(&pcm(piece)).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            client.send(json!({"type": "input_audio_buffer.commit"})).await;
        }
        for _ in 0..2 {
            let completed = client.until("transcription.completed").await;
            assert_says(&completed["transcript"], text);
        }
    };
    tokio::join!(one("0880.wav", CLIP_0880), one("0890.wav", CLIP_0890));
}

async fn errors_keep_it_open(served: &Served) {
    let mut client = Client::connect(served, "", &[]).await;
    let mut codes = Vec::new();
    for event in [
        json!({"type": "response.create", "event_id": "mine"}),
        json!({"event_id": "mine"}),
        json!({"type": "input_audio_buffer.append", "audio": "no base64!", "event_id": "mine"}),
        json!({"type": "input_audio_buffer.append", "audio": BASE64_STANDARD.encode([1, 2, 3]), "event_id": "mine"}),
        json!({"type": "input_audio_buffer.append", "audio": "AAAA".repeat((5 << 20) + 1), "event_id": "mine"}),
        json!({"type": "input_audio_buffer.commit", "event_id": "mine"}),
        json!({"type": "session.update", "session": {"type": "realtime"}, "event_id": "mine"}),
        json!({"type": "session.update", "session": {"turn_detection": {"threshold": 2}}, "event_id": "mine"}),
        json!({"type": "session.update", "event_id": "mine",
               "session": {"audio": {"input": {"transcription": {"model": "no-such-model"}}}}}),
    ] {
        let answer = client.ask(event).await;
        assert_eq!((&answer["type"], &answer["error"]["event_id"]), (&json!("error"), &json!("mine")), "{answer}");
        assert_eq!(answer["error"]["type"], "invalid_request_error");
        codes.push(answer["error"]["code"].as_str().expect("a code").to_owned());
    }
    let wanted = [
        "invalid_value",
        "missing_required_parameter",
        "invalid_value",
        "invalid_value",
        "audio_too_large",
        "input_audio_buffer_commit_empty",
        "invalid_value",
        "invalid_value",
        "model_not_found",
    ];
    assert_eq!(codes, wanted);
    client.socket.send(Message::text("{\"type\": ")).await.expect("it is sent");
    assert_eq!(client.next().await.expect("an answer")["error"]["code"], "invalid_json");
    client.socket.send(Message::binary(vec![0; 4_800])).await.expect("it is sent");
    assert_eq!(client.next().await.expect("an answer")["type"], "error");
    let update = json!({"type": "session.update", "session": {"type": "transcription"}});
    assert_eq!(client.ask(update).await["type"], "session.updated", "the session goes on");
}

async fn handshakes(served: &Served) {
    let url = format!("{}/v1/realtime", served.url);
    let plain = tokio::task::spawn_blocking(move || {
        let output = Command::new("curl").args(["-si", "-m", "30", &url]).output().expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    let plain = plain.await.expect("it ran");
    assert!(plain.starts_with("HTTP/1.1 426"), "{plain}");
    assert!(plain.contains("\"error\"") && plain.to_lowercase().contains("upgrade: websocket"), "{plain}");
    let refused = Client::try_connect(served, "model=no-such-model", &[]).await.err().expect("refused");
    let Error::Http(response) = refused else { panic!("{refused}") };
    assert_eq!(response.status(), 404);
    let body = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
    assert!(body.contains("model_not_found"), "{body}");
    // As browsers do it, whatever key they give: none is asked for here.
    let protocols = "realtime, openai-insecure-api-key.sk-test";
    let request = {
        let mut request = served.url.replace("http", "ws").into_client_request().expect("a request");
        *request.uri_mut() = format!("{}/v1/realtime", served.url.replace("http", "ws")).parse().expect("an address");
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocols.parse().expect("a value"));
        request
    };
    let (_, response) = connect_async(request).await.expect("it connects");
    assert_eq!(response.headers()["sec-websocket-protocol"], "realtime");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_limited_in_number_time_and_patience() {
    let served = serve()
        .set(ONE_THREAD)
        .set("serve.max_requests=1")
        .set("serve.realtime.max_session_seconds=6")
        .set("serve.idle_timeout_seconds=2")
        .start();
    let first = Client::connect(&served, "", &[]).await;
    let refused = Client::try_connect(&served, "", &[]).await.err().expect("no second place");
    let Error::Http(response) = refused else { panic!("{refused}") };
    assert_eq!(response.status(), 429);
    assert!(response.headers()["retry-after"].to_str().is_ok_and(|seconds| seconds.parse::<u64>().is_ok()));
    // Whoever just goes away leaves the place at once.
    drop(first);
    let begun = Instant::now();
    let mut second = loop {
        match Client::try_connect(&served, "", &[]).await {
            Ok(client) => break client,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "still taken: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let expired = second.until("error").await;
    assert_eq!(expired["error"]["code"], "session_expired");
    while second.next().await.is_some() {}
    assert_eq!(second.closed.as_ref().map(|frame| u16::from(frame.code)), Some(1000));
    drop(second);
    // A client that says much and reads nothing is given up, before it costs memory.
    let mut deaf = loop {
        match Client::try_connect(&served, "", &[]).await {
            Ok(client) => break client,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "still taken: {error}"),
        }
    };
    let nonsense = json!({"type": "x".repeat(60)}).to_string();
    let shouting = async { while deaf.socket.feed(Message::text(nonsense.clone())).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(30), shouting).await.expect("it is given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_service_waits_for_committed_text() {
    let served = serve().set(ONE_THREAD).start();
    let mut client = Client::connect(&served, "", &[]).await;
    let input = json!({"format": {"type": "audio/pcm", "rate": 16000}, "turn_detection": null});
    client.ask(json!({"type": "session.update", "session": {"audio": {"input": input}}})).await;
    client.append(&pcm(&clip("0880.wav"))).await;
    client.send(json!({"type": "input_audio_buffer.commit"})).await;
    client.until("conversation.item.done").await;
    served.signal(nix::sys::signal::Signal::SIGTERM);
    let completed = client.until("transcription.completed").await;
    assert_says(&completed["transcript"], CLIP_0880);
    while client.next().await.is_some() {}
    assert_eq!(client.closed.as_ref().map(|frame| u16::from(frame.code)), Some(1001));
}

#[test]
fn openai_for_python_unmodified() {
    let served = serve().set(ONE_THREAD).start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(cache().join("clients/python/bin/python"))
        .arg(folder.join("tests/clients/realtime.py"))
        .arg(format!("{}/v1", served.url))
        .arg(folder.join("samples/librivox/0890.wav"))
        .output()
        .expect("python starts; run make setup-dev");
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{error}\n{}", served.log.lock().expect("log"));
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3, "server_vad, by hand, asynchronous: {said}");
    for line in lines {
        assert_says(&line["transcript"], CLIP_0890);
        assert_eq!(line["deltas"].as_str().map(str::is_empty), Some(false), "{line}");
    }
}
