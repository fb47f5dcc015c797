//! OpenAI's clients as their users have them, unmodified, and curl: nothing here knows how the service is made.

use super::support::http::{joined, sample, wav};
use super::support::llama::cache;
use super::support::serve::{Served, serve};
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::types::InputSource;
use async_openai::types::audio::*;
use futures_util::StreamExt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Requests with audio at once; the Python script takes all of them to be told that there is no room.
const PLACES: u32 = 4;

#[test]
fn clients_transcribe_stream_and_understand_errors() {
    let served = serve().set(&format!("serve.max_requests={PLACES}")).start();
    let samples = samples();
    python(&served, samples.path(), "transcriptions");
    node(&served, samples.path(), "transcriptions");
    tokio_test(rust(&served));
    curl(&served, samples.path());
}

#[test]
fn clients_translate() {
    let served = serve().set("speech.model=base-q8_0").set("speech.language=auto").start();
    let samples = samples();
    python(&served, samples.path(), "translations");
    node(&served, samples.path(), "translations");
    tokio_test(rust_translation(&served));
}

/// The samples, with a recording of two utterances beside them.
fn samples() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples");
    for name in ["requests", "languages"] {
        std::os::unix::fs::symlink(samples.join(name), folder.path().join(name)).expect("a link");
    }
    let talk = joined(&["librivox/0870.wav", "librivox/0880.wav"]);
    std::fs::write(folder.path().join("talk.wav"), talk).expect("written");
    folder
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

fn installed(path: &str) -> PathBuf {
    let path = cache().join("clients").join(path);
    assert!(path.exists(), "{} is missing: run make setup", path.display());
    path
}

fn python(served: &Served, samples: &Path, what: &str) {
    let mut command = Command::new(installed("python/bin/python"));
    command.arg(script("openai_python.py")).arg(&served.url).arg(samples).args([what, &PLACES.to_string()]);
    succeeds(served, command);
}

fn node(served: &Served, samples: &Path, what: &str) {
    let mut command = Command::new("node");
    command.arg(script("openai_node.mjs")).arg(&served.url).arg(samples).arg(installed("node")).arg(what);
    succeeds(served, command);
}

fn succeeds(served: &Served, mut command: Command) {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    eprintln!("{}", said[0]);
    assert!(output.status.success(), "{}\n{}\n{}", said[0], said[1], served.log.lock().expect("log"));
}

fn is_the_clip(text: &str) {
    let lower = text.to_lowercase();
    assert!(lower.contains("capital") && lower.contains("portugal"), "{text:?}");
}

fn tokio_test(work: impl Future<Output = ()>) {
    // async-openai leaves the choice of a cryptography provider to its user.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work);
}

fn client(served: &Served) -> Client<OpenAIConfig> {
    Client::with_config(OpenAIConfig::new().with_api_base(format!("{}/v1", served.url)).with_api_key("any"))
}

fn audio(name: &str) -> AudioInput {
    let filename = name.rsplit('/').next().unwrap_or(name).to_owned();
    AudioInput { source: InputSource::VecU8 { filename, vec: sample(name) } }
}

async fn rust(served: &Served) {
    let client = client(served);
    let request = |model: &str, name: &str| CreateTranscriptionRequest {
        file: audio(name),
        model: model.to_owned(),
        ..CreateTranscriptionRequest::default()
    };
    let clip = "requests/quick-capital.mp3";
    let json = client.audio().transcription().create(request("whisper-1", clip)).await.expect("json");
    is_the_clip(&json.text);
    let with_probabilities = CreateTranscriptionRequest {
        include: Some(vec![TranscriptionInclude::Logprobs]),
        languages: Some(vec!["en".into()]),
        keywords: Some(vec!["Portugal".into()]),
        chunking_strategy: Some(TranscriptionChunkingStrategy::ServerVad(VadConfig::default())),
        ..request("gpt-transcribe", clip)
    };
    let json = client.audio().transcription().create(with_probabilities).await.expect("json");
    assert!(json.logprobs.is_some_and(|tokens| tokens.len() > 3) && json.languages.is_some_and(|l| l[0].code == "en"));
    let verbose = CreateTranscriptionRequest {
        response_format: Some(AudioResponseFormat::VerboseJson),
        timestamp_granularities: Some(vec![TimestampGranularity::Word, TimestampGranularity::Segment]),
        ..request("whisper-1", clip)
    };
    let verbose = client.audio().transcription().create_verbose_json(verbose).await.expect("verbose_json");
    is_the_clip(&verbose.text);
    assert_eq!((verbose.language.as_str(), verbose.usage.seconds), ("english", 4.0));
    assert!(verbose.words.is_some_and(|words| words.len() > 4) && verbose.segments.is_some_and(|s| !s.is_empty()));
    let srt =
        CreateTranscriptionRequest { response_format: Some(AudioResponseFormat::Srt), ..request("whisper-1", clip) };
    let srt = client.audio().transcription().create_raw(srt).await.expect("srt");
    assert!(srt.starts_with(b"1\n00:00:0"), "{srt:?}");
    let mut stream =
        client.audio().transcription().create_stream(request("gpt-4o-transcribe", clip)).await.expect("a stream");
    let (mut text, mut whole) = (String::new(), None);
    while let Some(event) = stream.next().await {
        match event.expect("an event") {
            CreateTranscriptionResponseStreamEvent::TranscriptTextDelta(delta) => text.push_str(&delta.delta),
            CreateTranscriptionResponseStreamEvent::TranscriptTextDone(done) => whole = Some(done),
            CreateTranscriptionResponseStreamEvent::TranscriptTextSegment(other) => panic!("{other:?}"),
        }
    }
    let whole = whole.expect("the last event");
    assert_eq!(whole.text, text);
    assert_eq!(whole.usage.total_tokens, whole.usage.input_tokens + whole.usage.output_tokens);
    match client.audio().transcription().create(request("nothing", clip)).await {
        Err(OpenAIError::ApiError(error)) => {
            assert_eq!(error.api_error.code.as_deref(), Some("model_not_found"), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[expect(deprecated, reason = "what OpenAI retires is kept here")]
async fn rust_translation(served: &Served) {
    let request = CreateTranslationRequest {
        file: audio("languages/de.wav"),
        model: "whisper-1".to_owned(),
        ..CreateTranslationRequest::default()
    };
    let answer = client(served).audio().translation().create(request).await.expect("a translation");
    assert!(answer.text.to_lowercase().contains("monday"), "{answer:?}");
}

fn curl(served: &Served, samples: &Path) {
    let url = format!("{}/v1/audio/transcriptions", served.url);
    let run = |args: &[&str]| {
        let output = Command::new("curl").args(["-sS", "-m", "90"]).args(args).arg(&url).output().expect("curl starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let clip = format!("file=@{}", samples.join("requests/quick-capital.mp3").display());
    for format in ["json", "text", "srt", "vtt", "verbose_json"] {
        let format = format!("response_format={format}");
        let (code, said) = run(&["-f", "-F", &clip, "-F", "model=whisper-1", "-F", &format]);
        assert_eq!(code, Some(0), "{said}");
        is_the_clip(&said);
    }
    // -N: lines come as they are recognised.
    let talk = format!("file=@{}", samples.join("talk.wav").display());
    let mut child = Command::new("curl")
        .args(["-sS", "-N", "-m", "90", "-F", &talk, "-F", "model=gpt-4o-transcribe", "-F", "stream=true", &url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl starts");
    let mut first = None;
    let mut last = String::new();
    for line in BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok) {
        if !line.is_empty() {
            first.get_or_insert_with(Instant::now);
            last = line;
        }
    }
    assert!(child.wait().expect("curl").success());
    assert!(first.is_some_and(|first| first.elapsed().as_millis() > 30), "everything came at the end");
    assert!(last.starts_with("data: {\"type\":\"transcript.text.done\""), "{last}");
    // Given up half-way: the next request has the recogniser.
    let (code, _) = run(&["-m", "1", "-F", &talk, "-F", "model=whisper-1"]);
    assert!(matches!(code, Some(0 | 28)), "{code:?}");
    // 26 MB, for which curl asks first whether it may send them (Expect: 100-continue).
    let mut samples_of = hound::WavReader::new(std::io::Cursor::new(sample("requests/note-roof.wav"))).expect("a WAV");
    assert_eq!(samples_of.spec().sample_rate, 16_000);
    let mut long: Vec<i16> = samples_of.samples::<i16>().map(|sample| sample.expect("a sample")).collect();
    long.resize(13_000_000, 0);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("long.wav");
    std::fs::write(&path, wav(&long)).expect("written");
    let long = format!("file=@{}", path.display());
    let (code, said) = run(&["-f", "-F", &long, "-F", "model=whisper-1", "-F", "response_format=text"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.to_lowercase().contains("scaffolding"), "{said}");
}
