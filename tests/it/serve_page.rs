//! The web page and the documentation in headless Chromium: a real upload, a recording from a fake microphone, the
//! keyboard, small and dark screens, and what must not happen (foreign requests, violations of the policy, errors).

use super::support::cli::chromium;
use super::support::llama::cache;
use super::support::serve::{Served, serve};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/librivox");
/// In the order of the long recording.
const CLIPS: [&str; 5] = ["0870", "0880", "0890", "0920", "0930"];

#[test]
fn the_page_does_all_of_it() {
    // One thread: two that wait for each other stand still where the browser has a core.
    let served = serve().set("speech.threads=1").start();
    drive(&served, json!({}));
}

#[test]
fn the_page_asks_for_a_key_where_the_service_does() {
    // `bestbox keys new` makes such keys; any text has a hash.
    let key = "bb_page_0123456789abcdef0123456789abcdef";
    let hash: String = <sha2::Sha256 as sha2::Digest>::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    let served =
        serve().set(&format!("serve.keys=[{{name=\"page\",sha256=\"{hash}\"}}]")).set("speech.threads=1").start();
    drive(&served, json!({"key": key}));
}

/// Runs the script of the page against the service.
fn drive(served: &Served, more: serde_json::Value) {
    let clients = cache().join("clients/node");
    assert!(clients.join("node_modules/puppeteer-core").exists(), "puppeteer-core is missing: run make setup");
    let folder = tempfile::tempdir().expect("a folder");
    let downloads = folder.path().join("downloads");
    std::fs::create_dir(&downloads).expect("a folder");
    let words = |clips: &[&str]| clips.iter().flat_map(|clip| said(clip)).collect::<Vec<_>>();
    let mut given = json!({
        "url": served.url,
        "chromium": chromium(),
        "downloads": downloads,
        "long": joined(folder.path(), "five sentences.wav", 1),
        // Not done before somebody cancels it.
        "longest": joined(folder.path(), "five sentences again and again.wav", 20),
        "short": Path::new(SAMPLES).join("0930.wav"),
        "microphone": Path::new(SAMPLES).join("0870.wav"),
        // The clip once, and its beginning again.
        "microphoneSeconds": 8,
        "words": words(&CLIPS),
        "microphoneWords": words(&CLIPS[..1]),
    });
    given.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let output = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/page.mjs"))
        .arg(given.to_string())
        .env("CLIENTS", clients)
        .env("HOME", folder.path())
        .output()
        .expect("node starts; run make setup");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = served.log.lock().expect("log").clone();
    assert!(output.status.success(), "{said}\n{errors}\n\nthe service said:\n{log}");
    eprintln!("{said}");
}

/// All clips with a second of silence after each: several utterances.
fn joined(folder: &Path, name: &str, times: usize) -> PathBuf {
    let path = folder.join(name);
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&path, spec).expect("a file");
    for clip in std::iter::repeat_n(CLIPS, times).flatten() {
        let mut reader = hound::WavReader::open(Path::new(SAMPLES).join(clip).with_extension("wav")).expect("a sample");
        assert_eq!(reader.spec(), spec);
        let silence = std::iter::repeat_n(0, 16_000);
        let samples: Vec<i16> = reader.samples().map(|sample| sample.expect("a sample")).collect();
        samples.into_iter().chain(silence).for_each(|sample| writer.write_sample(sample).expect("written"));
    }
    writer.finalize().expect("written");
    path
}

/// The words of a clip.
fn said(clip: &str) -> Vec<String> {
    let table = std::fs::read_to_string(Path::new(SAMPLES).join("transcription.tsv")).expect("a table");
    let line = table.lines().find_map(|line| line.strip_prefix(clip)).expect("the clip");
    line.split_whitespace().map(str::to_owned).collect()
}
