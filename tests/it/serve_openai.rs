//! OpenAI's audio endpoints byte by byte: what goes in in which order, and what comes out when.

use super::support::http::*;
use super::support::serve::{Served, serve};
use serde_json::Value;
use std::io::{BufReader, Read, Write};
use std::time::{Duration, Instant};

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";
const CLIP: &str = "requests/quick-capital.mp3";
const MODEL: (&str, &str) = ("model", "whisper-1");

fn clip_with(fields: &[(&str, &str)]) -> Form {
    Form::new().fields(&[MODEL]).fields(fields).file("clip.mp3", "audio/mpeg", &sample(CLIP))
}

fn is_the_clip(text: &str) {
    let lower = text.to_lowercase();
    assert!(lower.contains("capital") && lower.contains("portugal"), "{text:?}");
}

#[test]
fn the_wire_contract_of_transcriptions() {
    // With a single place a request that kept its own would refuse the next one.
    let served = serve().set("serve.max_requests=1").start();
    formats(&served);
    verbose_json(&served);
    orders_and_framings(&served);
    refusals(&served);
    bad_audio(&served);
    silence(&served);
    models(&served);
    streams(&served);
    hanging_up(&served);
    assert!(std::fs::read_dir(served.data().join("uploads")).expect("uploads").next().is_none(), "an upload stayed");
}

fn formats(served: &Served) {
    let ask = |format: &str| {
        let answer = post(&served.url, TRANSCRIPTIONS, clip_with(&[("response_format", format)]));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    };
    let json = ask("json");
    assert_eq!(json.header("content-type"), Some("application/json"));
    let body = json.json();
    assert_eq!(body.as_object().map(|body| body.keys().cloned().collect::<Vec<_>>()).unwrap(), ["text", "usage"]);
    assert_eq!(body["usage"], serde_json::json!({"type": "duration", "seconds": 4}));
    let text = body["text"].as_str().expect("text");
    is_the_clip(text);
    let plain = ask("text");
    assert_eq!(plain.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(plain.body, format!("{text}\n"));
    let srt = ask("srt").body;
    assert!(srt.starts_with("1\n00:00:0") && srt.contains(" --> ") && srt.ends_with("\n\n"), "{srt:?}");
    let vtt = ask("vtt");
    assert_eq!(vtt.header("content-type"), Some("text/vtt; charset=utf-8"));
    assert!(vtt.body.starts_with("WEBVTT\n\n00:00:0") && vtt.body.contains(" --> "), "{vtt:?}");
}

fn verbose_json(served: &Served) {
    let fields = [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")];
    let form = clip_with(&fields).field("response_format", "verbose_json");
    let body = post(&served.url, TRANSCRIPTIONS, form).json();
    let keys: Vec<&str> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["task", "language", "duration", "text", "segments", "words", "usage"]);
    assert_eq!((body["task"].as_str(), body["language"].as_str()), (Some("transcribe"), Some("english")));
    let duration = body["duration"].as_f64().expect("a number");
    assert!((3.3..3.6).contains(&duration));
    let segments = body["segments"].as_array().expect("segments");
    let joined: String = segments.iter().filter_map(|segment| segment["text"].as_str()).collect();
    assert_eq!(joined.trim(), body["text"].as_str().expect("text"));
    for (id, segment) in segments.iter().enumerate() {
        let keys: Vec<&str> = segment.as_object().expect("an object").keys().map(String::as_str).collect();
        let expected = "id seek start end text tokens temperature avg_logprob compression_ratio no_speech_prob";
        assert_eq!(keys.join(" "), expected);
        assert_eq!(segment["id"].as_u64(), Some(id as u64));
        let number = |name: &str| segment[name].as_f64().unwrap_or_else(|| panic!("{name} of {segment}"));
        assert!(number("start") >= 0.0 && number("end") > number("start") && number("end") <= duration);
        assert!(number("seek") >= 0.0 && number("avg_logprob") <= 0.0 && number("temperature") >= 0.0);
        assert!((0.0..=1.0).contains(&number("no_speech_prob")) && (0.5..2.4).contains(&number("compression_ratio")));
        assert!(segment["tokens"].as_array().is_some_and(|tokens| tokens.iter().all(Value::is_u64)));
    }
    let words = body["words"].as_array().expect("words");
    let spoken: Vec<&str> = words.iter().filter_map(|word| word["word"].as_str()).collect();
    assert_eq!(spoken.join(" "), body["text"].as_str().expect("text"));
    let times: Vec<f64> =
        words.iter().flat_map(|word| [word["start"].as_f64(), word["end"].as_f64()]).flatten().collect();
    assert_eq!(times.len(), 2 * words.len());
    assert!(times.is_sorted() && times.iter().all(|at| (0.0..=duration).contains(at)), "{times:?}");
    let default = post(&served.url, TRANSCRIPTIONS, clip_with(&[("response_format", "verbose_json")])).json();
    assert!(default["segments"].is_array() && default.get("words").is_none(), "{default}");
    // Extras of the newer models.
    let form = Form::new().field("model", "gpt-transcribe").field("include[]", "logprobs");
    let form = form.field("keywords[]", "Portugal").field("chunking_strategy[type]", "server_vad");
    let body = post(&served.url, TRANSCRIPTIONS, form.file("a.mp3", "audio/mpeg", &sample(CLIP))).json();
    assert_eq!(body["languages"], serde_json::json!([{"code": "en"}]));
    let logprobs = body["logprobs"].as_array().expect("logprobs");
    let bytes: Vec<u8> = logprobs
        .iter()
        .flat_map(|token| token["bytes"].as_array().expect("bytes"))
        .map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()).expect("a byte"))
        .collect();
    assert_eq!(String::from_utf8_lossy(&bytes).trim(), body["text"].as_str().expect("text"));
    assert!(
        logprobs.iter().all(|token| token["token"].is_string() && token["logprob"].as_f64().is_some_and(|l| l <= 0.0))
    );
}

fn orders_and_framings(served: &Served) {
    let bytes = sample(CLIP);
    let ok = |answer: Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        is_the_clip(answer.json()["text"].as_str().expect("text"));
    };
    // The file first, and a blob without a name, type or extension that says anything.
    ok(post(
        &served.url,
        TRANSCRIPTIONS,
        Form::new().file("upload", "application/octet-stream", &bytes).fields(&[MODEL]),
    ));
    let unknown = [("colour", "blue"), ("known_speaker_names[]", "Ann"), ("stream", "false"), ("prompt", "")];
    ok(post(&served.url, TRANSCRIPTIONS, clip_with(&unknown)));
    // Chunked, without a length; nobody negotiates on Accept.
    let body = clip_with(&[]).bytes();
    let mut stream = connect(&served.url);
    let head =
        head("POST", TRANSCRIPTIONS, &multipart(), None).replace("\r\n\r\n", "\r\nAccept: application/xml\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    for chunk in body.chunks(5000) {
        stream.write_all(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()).expect("sent");
    }
    stream.write_all(b"0\r\n\r\n").expect("sent");
    ok(read_answer(&mut BufReader::new(stream)));
    // Expect: 100-continue is answered before the body is sent.
    let mut stream = connect(&served.url);
    let head = crate::support::http::head("POST", TRANSCRIPTIONS, &multipart(), Some(body.len()));
    stream.write_all(head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n").as_bytes()).expect("sent");
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    assert_eq!(read_head(&mut reader).0, 100);
    stream.write_all(&body).expect("sent");
    ok(read_answer(&mut reader));
}

fn refusals(served: &Served) {
    let some = |text: &str| Some(text.to_owned());
    let cases: [(&str, &str, u16, &str); 14] = [
        ("model", "no-such-model", 404, "model"),
        ("model", "/etc/passwd", 404, "model"),
        ("model", "../ggml-tiny.en-q8_0.bin", 404, "model"),
        ("response_format", "diarized_json", 400, "response_format"),
        ("response_format", "docx", 400, "response_format"),
        ("temperature", "1.01", 400, "temperature"),
        ("temperature", "warm", 400, "temperature"),
        ("language", "klingon", 400, "language"),
        ("language", "de", 400, "language"),
        ("timestamp_granularities[]", "word", 400, "timestamp_granularities"),
        ("include[]", "everything", 400, "include"),
        ("chunking_strategy", "{\"type\":\"client_vad\"}", 400, "chunking_strategy"),
        ("stream", "perhaps", 400, "stream"),
        ("languages[]", "xx", 400, "languages"),
    ];
    for (name, value, status, param) in cases {
        let answer = post(&served.url, TRANSCRIPTIONS, clip_with(&[(name, value)]));
        let (told, code) = answer.error(status);
        assert_eq!(told.as_deref(), Some(param), "{name}={value}");
        assert!(status != 404 || code == some("model_not_found"), "{answer:?}");
    }
    let diarized = post(&served.url, TRANSCRIPTIONS, clip_with(&[("response_format", "diarized_json")]));
    assert!(diarized.body.contains("not supported"), "{diarized:?}");
    let no_model = Form::new().file("a.mp3", "audio/mpeg", &sample(CLIP));
    assert_eq!(post(&served.url, TRANSCRIPTIONS, no_model).error(400).0, some("model"));
    assert_eq!(post(&served.url, TRANSCRIPTIONS, Form::new().fields(&[MODEL])).error(400).0, some("file"));
    post_json(&served.url, TRANSCRIPTIONS, "{\"model\":\"whisper-1\"}").error(415);
    get(&served.url, TRANSCRIPTIONS).error(405);
    get(&served.url, "/v1/audio/speech").error(404);
}

fn bad_audio(served: &Served) {
    let good = sample("requests/note-roof.wav");
    let cases: [(&str, &[u8]); 6] = [
        ("empty.wav", b""),
        ("cut.wav", &good[..30]),
        ("text.wav", b"This is not audio at all, whatever its name may say."),
        ("zeros.bin", &[0; 4096]),
        ("cut.mp3", &sample(CLIP)[..100]),
        ("page.html", b"<!doctype html><title>404</title>"),
    ];
    for (name, bytes) in cases {
        for stream in ["false", "true"] {
            let form = Form::new().fields(&[MODEL, ("stream", stream)]).file(name, "audio/wav", bytes);
            let answer = post(&served.url, TRANSCRIPTIONS, form);
            assert!((400..500).contains(&answer.status), "{name}: {answer:?}");
            assert_eq!(answer.error(answer.status).0.as_deref(), Some("file"), "{name}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{name}");
        }
    }
}

fn silence(served: &Served) {
    let quiet = wav(&[0; 32_000]);
    let ask = |format: &str| {
        let form = Form::new().fields(&[MODEL, ("response_format", format)]).file("quiet.wav", "audio/wav", &quiet);
        let answer = post(&served.url, TRANSCRIPTIONS, form);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    };
    assert_eq!(ask("json").json(), serde_json::json!({"text": "", "usage": {"type": "duration", "seconds": 2}}));
    let verbose = ask("verbose_json").json();
    assert_eq!((verbose["text"].as_str(), verbose["segments"].as_array().map(Vec::len)), (Some(""), Some(0)));
    assert!(verbose["language"].is_string());
    assert_eq!(ask("srt").body, "");
    assert_eq!(ask("vtt").body, "WEBVTT\n\n");
    let form = Form::new().fields(&[MODEL, ("stream", "true")]).file("quiet.wav", "audio/wav", &quiet);
    let (status, _, events) = post_stream(&served.url, TRANSCRIPTIONS, form);
    assert_eq!((status, events.len()), (200, 1));
    assert_eq!(
        (events[0].data["type"].as_str(), events[0].data["text"].as_str()),
        (Some("transcript.text.done"), Some(""))
    );
}

fn models(served: &Served) {
    let list = get(&served.url, "/v1/models").json();
    assert_eq!(list["object"].as_str(), Some("list"));
    let models = list["data"].as_array().expect("data");
    for name in ["whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-transcribe", "tiny.en-q8_0"] {
        let model = models.iter().find(|model| model["id"] == name).unwrap_or_else(|| panic!("{name} in {list}"));
        assert_eq!(model["object"].as_str(), Some("model"));
        assert!(model["created"].is_u64() && model["owned_by"].is_string(), "{model}");
        assert_eq!(get(&served.url, &format!("/v1/models/{name}")).json(), *model);
    }
    for name in ["nothing", "a%2Fb", "..%2F..%2Fetc%2Fpasswd", "%ff", "%00", "caf%C3%A9"] {
        assert_eq!(get(&served.url, &format!("/v1/models/{name}")).error(404).1.as_deref(), Some("model_not_found"));
    }
    let own = Form::new().field("model", "tiny.en-q8_0").file("a.mp3", "audio/mpeg", &sample(CLIP));
    is_the_clip(post(&served.url, TRANSCRIPTIONS, own).json()["text"].as_str().expect("text"));
}

fn streams(served: &Served) {
    let audio = joined(&["librivox/0870.wav", "librivox/0880.wav"]);
    let fields = [MODEL, ("stream", "true"), ("include[]", "logprobs")];
    let form = Form::new().file("talk.wav", "audio/wav", &audio).fields(&fields);
    let (status, head, events) = post_stream(&served.url, TRANSCRIPTIONS, form);
    assert_eq!(status, 200);
    assert!(head.to_lowercase().contains("content-type: text/event-stream"), "{head}");
    assert!(events.iter().all(|sent| sent.lines.len() == 1 && sent.lines[0].starts_with("data: ")), "{events:?}");
    let (done, deltas) = events.split_last().expect("events");
    assert!(deltas.len() >= 2, "{events:?}");
    assert!(deltas.iter().all(|sent| sent.data["type"] == "transcript.text.delta"));
    let text: String = deltas.iter().filter_map(|sent| sent.data["delta"].as_str()).collect();
    assert_eq!(done.data["type"].as_str(), Some("transcript.text.done"));
    assert_eq!(done.data["text"].as_str(), Some(text.as_str()));
    assert_eq!(done.data["usage"]["type"].as_str(), Some("duration"));
    assert!(done.data["usage"]["seconds"].as_u64().is_some_and(|seconds| seconds > 10), "{done:?}");
    assert!(deltas.iter().all(|sent| sent.data["logprobs"].as_array().is_some_and(|tokens| !tokens.is_empty())));
    // The first words were there while the rest was still being recognised.
    assert!(done.at.duration_since(deltas[0].at) > Duration::from_millis(30), "{events:?}");
}

fn hanging_up(served: &Served) {
    let long = joined(&["librivox/0870.wav", "librivox/0880.wav", "librivox/0890.wav", "librivox/0920.wav"]);
    let again = || {
        let begun = Instant::now();
        loop {
            let answer = post(&served.url, TRANSCRIPTIONS, clip_with(&[]));
            if answer.status == 200 {
                return is_the_clip(answer.json()["text"].as_str().expect("text"));
            }
            assert_eq!(answer.error(429).1.as_deref(), Some("queue_full"));
            assert!(answer.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{answer:?}");
            assert!(begun.elapsed() < Duration::from_secs(20), "a client that has gone keeps its place");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    for (stream, wait) in [("false", Duration::from_millis(500)), ("true", Duration::ZERO)] {
        let form = Form::new().fields(&[MODEL, ("stream", stream)]).file("talk.wav", "audio/wav", &long).bytes();
        let mut connection = connect(&served.url);
        connection.write_all(head("POST", TRANSCRIPTIONS, &multipart(), Some(form.len())).as_bytes()).expect("sent");
        connection.write_all(&form).expect("sent");
        if stream == "true" {
            connection.read_exact(&mut [0; 64]).expect("the first event");
        }
        std::thread::sleep(wait);
        drop(connection);
        again();
    }
}
