//! Recogniser threads with the real model: cancellation frees them, languages are heard, bad model files are errors.

use crate::speech_support as s;
use bestbox::speech::whisper::{Model, ModelSettings};
use bestbox::speech::worker::{PoolSettings, Recognizers};
use bestbox::speech::{SpeechError, SpeechOptions, Utterance};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_frees_the_thread() {
    let pool =
        Recognizers::start(s::load("ggml-base-q8_0.bin"), PoolSettings { recognizers: 1, ..PoolSettings::default() })
            .expect("it starts");
    // Four windows of speech: cancelled in the first, the rest must never be computed.
    let long: Vec<f32> = s::clips().into_iter().flat_map(|(_, clip, _)| clip).cycle().take(110 * 16_000).collect();
    let long = Utterance::whole(long, 0.0).expect("not empty");
    let (_, short, text) = s::clips().swap_remove(1);
    let short = Utterance::whole(short, 0.0).expect("not empty");

    // What one window costs here and now.
    let started = Instant::now();
    pool.recognize(short.clone(), SpeechOptions::default(), CancellationToken::new()).await.expect("it works");
    let one = started.elapsed();

    let cancel = CancellationToken::new();
    let work = pool.recognize(long, SpeechOptions::default(), cancel.clone());
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(work, stop);
    assert!(matches!(result, Err(SpeechError::Cancelled)), "{result:?}");

    // The thread is free: the next job takes about what it took, not the minutes that were left. A full window is four
    // times a short one.
    let started = Instant::now();
    let heard = pool.recognize(short, SpeechOptions::default(), CancellationToken::new()).await.expect("it works");
    assert!(started.elapsed() < one * 12 + Duration::from_secs(5), "{:?} after {one:?}", started.elapsed());
    let (errors, total) = s::word_errors(&text, &heard.text());
    assert!(errors * 4 <= total, "{}", heard.text());
}

#[tokio::test]
async fn the_language_is_heard() {
    let pool = Recognizers::start(s::load("ggml-base-q8_0.bin"), PoolSettings::default()).expect("it starts");
    let (_, clip, _) = s::clips().swap_remove(0);
    let utterance = Utterance::whole(clip, 0.0).expect("not empty");
    let (language, probability) = pool.detect_language(utterance, CancellationToken::new()).await.expect("it listens");
    assert_eq!(language.code(), "en");
    assert!(probability > 0.9, "{probability}");
}

#[test]
fn what_is_no_whisper_model_is_an_error_and_not_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = std::fs::read(s::model_file("ggml-tiny.en-q8_0.bin")).expect("a model");
    let mut wrong_sizes = good.clone();
    wrong_sizes[8..12].copy_from_slice(&i32::MAX.to_le_bytes());
    let cases: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("text", &b"hello ".repeat(400_000)),
        ("gguf", &[&b"GGUF"[..], &[0; 2_000_000]].concat()),
        ("half", &good[..good.len() / 2]),
        ("almost", &good[..good.len() - 100_000]),
        ("sizes", &wrong_sizes),
    ];
    for (name, bytes) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        match Model::load(&ModelSettings::new(&path)) {
            Err(SpeechError::BadModel { why, .. }) => assert!(!why.is_empty()),
            Err(other) => panic!("{name}: {other}"),
            Ok(_) => panic!("{name} was loaded"),
        }
    }
    assert!(matches!(
        Model::load(&ModelSettings::new(folder.path().join("none"))),
        Err(SpeechError::Unreadable { .. })
    ));
}
