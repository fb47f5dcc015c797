//! Runs that are cut and taken up again: nothing is recognised or written twice, and the outcome is the same.

use crate::speech_support as s;
use bestbox::audio::{Channels, Input};
use bestbox::config::Config;
use bestbox::engine::{Engine, Needs, Start, Upkeep};
use bestbox::outcome::{Outcome, Plan, Route, Style, Timings, WarningCode};
use bestbox::pipeline::{self, Checkpoint, Event, Run, Written};
use bestbox::speech::Transcript;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// What is kept of a run, and how often.
#[derive(Default)]
struct Memory {
    parts: Mutex<HashMap<u64, Transcript>>,
    written: Mutex<HashMap<u64, Written>>,
}

impl Checkpoint for Memory {
    fn recall(&self, utterance: u64) -> Option<Transcript> {
        self.parts.lock().expect("parts").get(&utterance).cloned()
    }

    fn keep(&self, utterance: u64, part: &Transcript) {
        let before = self.parts.lock().expect("parts").insert(utterance, part.clone());
        assert!(before.is_none(), "recognised twice: {utterance}");
    }

    fn recall_written(&self, utterance: u64) -> Option<Written> {
        self.written.lock().expect("written").get(&utterance).cloned()
    }

    fn keep_written(&self, utterance: u64, written: &Written) {
        let before = self.written.lock().expect("written").insert(utterance, written.clone());
        assert!(before.is_none(), "written twice: {utterance}");
    }
}

async fn engine(model: &str) -> Engine {
    let mut config = Config::default();
    config.speech.model = s::model_file(model).display().to_string();
    // No language model: rules clean, and say so.
    let needs = Needs { speech: true, ..Needs::default() };
    let program = env!("CARGO_BIN_EXE_bestbox").into();
    let notice = std::sync::Arc::new(|_: &str| {});
    let start = Start { config, needs, channels: Channels::Average, program, notice, upkeep: Upkeep::Once };
    Engine::start(start).await.expect("the engine starts")
}

/// Clips with a second between them: an utterance each at least.
fn recording(folder: &Path) -> std::path::PathBuf {
    let file = folder.join("clips.wav");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&file, spec).expect("a file");
    for (_, clip, _) in s::clips().into_iter().take(5) {
        for sample in clip.iter().copied().chain(std::iter::repeat_n(0.0, 16_000)) {
            writer.write_sample((sample * 32_767.0) as i16).expect("written");
        }
    }
    writer.finalize().expect("written");
    file
}

/// One run; what it told, each kind in its order; cancelled at the `cut`th segment.
async fn run(
    engine: &Engine,
    file: &Path,
    checkpoint: Option<&Memory>,
    cut: usize,
) -> (Outcome, HashMap<&'static str, Vec<String>>) {
    let told: Mutex<HashMap<&'static str, Vec<String>>> = Mutex::default();
    let cancel = CancellationToken::new();
    let observer = |event: Event<'_>| {
        let kind = match event {
            Event::Segment(_) => "segment",
            Event::Cleaned(_) => "cleaned",
            Event::Progress { .. } => "progress",
            Event::Warning(_) => "warning",
            _ => "other",
        };
        let mut told = told.lock().expect("told");
        let of_kind = told.entry(kind).or_default();
        of_kind.push(format!("{event:?}"));
        if kind == "segment" && of_kind.len() == cut {
            cancel.cancel();
        }
    };
    let plan = Plan { clean: Style::Tidy, route: Route::Text, ..Plan::default() };
    let checkpoint = checkpoint.map(|memory| memory as &dyn Checkpoint);
    let run = Run { checkpoint, ..Run::new(engine, &plan, &observer, &cancel) };
    let outcome = pipeline::run_audio(run, Input::File(file.to_owned()), "clips.wav").await.expect("an outcome");
    (Outcome { timings: Timings::default(), ..outcome }, told.into_inner().expect("told"))
}

async fn cut_and_taken_up(model: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path());
    let engine = engine(model).await;
    let (whole, told) = run(&engine, &file, None, usize::MAX).await;
    assert!(whole.transcript.segments.len() >= 5, "{whole:?}");

    let memory = Memory::default();
    let (cut, _) = run(&engine, &file, Some(&memory), 2).await;
    assert!(cut.warnings.iter().any(|warning| warning.code == WarningCode::Interrupted), "{:?}", cut.warnings);
    let kept = memory.parts.lock().expect("parts").len();
    assert!((2..5).contains(&kept), "{kept} utterances were done when it was cut");

    let (again, told_again) = run(&engine, &file, Some(&memory), usize::MAX).await;
    assert_eq!(again, whole);
    for kind in ["segment", "cleaned", "progress"] {
        assert_eq!(told_again[kind], told[kind], "{kind}");
    }

    // And once more, when all of it is there.
    let (replayed, told_again) = run(&engine, &file, Some(&memory), usize::MAX).await;
    assert_eq!(replayed, whole);
    assert_eq!(told_again["cleaned"], told["cleaned"]);
    let done = engine.speech().expect("speech").stats().utterances as usize;
    let utterances = told["progress"].len();
    assert!(done <= 2 * utterances + 1, "{done} recognitions for two runs of {utterances} and one cut utterance");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_cut_ends_as_if_it_had_not_been() {
    cut_and_taken_up("ggml-tiny.en-q8_0.bin").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_language_comes_out_the_same_where_it_has_to_be_heard() {
    cut_and_taken_up("ggml-base-q8_0.bin").await;
}
