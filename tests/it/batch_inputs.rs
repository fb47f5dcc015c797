//! Folders of transcripts that are there already: subtitles, text and the JSON of other programs go through cleanup and
//! intent with their times kept.

use crate::batch_support::{Folder, names};
use crate::support::cli::Ran;
use crate::support::llama::cache;
use bestbox::outcome::Outcome;
use bestbox::output::parse::parse_srt;
use serde_json::json;
use std::fs;
use std::process::{Command, Stdio};

const SRT: &str = "1\r\n00:00:01,500 --> 00:00:04,000\r\nwe will meet at the station\r\n\r\n2\r\n00:00:04,250 --> \
                   00:00:07,000\r\nand then we walk\r\nto the old house\r\n";

/// `bestbox batch IN OUT` with the small models, language model included.
fn batch(folder: &Folder, flags: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bestbox"));
    command.args(["--profile", "tiny", "batch", "--progress", "plain"]).arg(folder.input()).arg(folder.path("out"));
    command.args(flags).current_dir(folder.path("")).env("BESTBOX_CACHE", cache()).stdin(Stdio::null());
    command.env("XDG_CONFIG_HOME", folder.path("")).env_remove("BESTBOX_LONG");
    Ran::of(command.output().expect("bestbox starts"))
}

fn outcome(folder: &Folder, name: &str) -> Outcome {
    serde_json::from_str(&fs::read_to_string(folder.path("out").join(name)).expect(name)).expect("an outcome")
}

/// Start, end and text of each cue.
fn cues(outcome: &Outcome) -> Vec<(f64, f64, String)> {
    let cleaned = outcome.cleaned.as_ref().expect("cleaned text");
    cleaned.track.cues.iter().map(|cue| (cue.start, cue.end, cue.text.to_lowercase())).collect()
}

#[test]
fn every_kind_of_transcript_keeps_its_times() {
    let folder = Folder::new();
    let utf16: Vec<u8> = std::iter::once(0xfeff).chain(SRT.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    folder.put("a/talk.srt", SRT);
    folder.put("a/wide.srt", &utf16);
    folder.put(
        "call.vtt",
        "WEBVTT\n\n00:01.500 --> 00:04.000\n<v Ann>we will meet at the station\n\n00:04.250 --> \
                           00:07.000\n<v Bob>and then we walk to the old house\n",
    );
    let segment = |start: f64, end: f64, text: &str| json!({"start": start, "end": end, "text": text});
    let segments =
        [segment(1.5, 4.0, " we will meet at the station"), segment(4.25, 7.0, " and then we walk to the old house")];
    folder.put("whisperx.json", json!({"segments": segments, "word_segments": [], "language": "en"}).to_string());
    let verbose =
        json!({"task": "transcribe", "language": "english", "duration": 8.0, "text": "…", "segments": segments});
    folder.put("verbose.json", verbose.to_string());
    let cpp =
        |from: u32, to: u32, text: &str| json!({"timestamps": {}, "offsets": {"from": from, "to": to}, "text": text});
    let cpp = [cpp(1500, 4000, " we will meet at the station"), cpp(4250, 7000, " and then we walk to the old house")];
    folder.put("cpp.json", json!({"result": {"language": "en"}, "transcription": cpp}).to_string());
    folder.put("notes.txt", b"The caf\xe9 was closed.\r\n\r\nWe went home again.\r\n");
    folder.put("package.json", r#"{"name": "something else", "version": 1}"#);
    folder.put("cut.json", r#"{"segments": [{"start": 1.0, "en"#);
    folder.put("movie.srt", "only words, no times");

    let ran = batch(&folder, &["--formats", "json,srt,vtt,txt", "--intent", "--set", "cleanup.written_text=model"]);
    assert_eq!(ran.code, Some(6), "two files are damaged: {}", ran.err);
    let done = names(&folder.outputs("out"));
    assert!(
        !done.iter().any(|name| name.starts_with("package") || name.starts_with("cut") || name.starts_with("movie"))
    );
    let wanted = [(1.5, 4.0, "we will meet at the station"), (4.25, 7.0, "and then we walk to the old house")];
    for name in ["a/talk.json", "a/wide.json", "call.json", "whisperx.json", "verbose.json", "cpp.json"] {
        let outcome = outcome(&folder, name);
        let found = cues(&outcome);
        assert_eq!(found.len(), 2, "{name}");
        for ((start, end, text), (from, to, said)) in found.iter().zip(wanted) {
            let words: String = text.chars().filter(|c| c.is_alphanumeric() || *c == ' ').collect();
            assert_eq!((*start, *end, words.as_str()), (from, to, said), "{name}");
        }
        assert!(
            outcome.cleaned.as_ref().is_some_and(|cleaned| cleaned.track.text.ends_with(['.', '!', '?'])),
            "{name}: {:?} {}",
            outcome.cleaned,
            ran.err
        );
        assert_eq!(outcome.transcript.language.map(|lang| lang.code()), Some("en"), "{name}");
        assert!(outcome.intent.is_some(), "{name}: {}", ran.err);
        let duration = if name == "verbose.json" { 8.0 } else { 7.0 };
        assert_eq!(outcome.source.duration, Some(duration), "{name}");
        let srt = fs::read_to_string(folder.path("out").join(name).with_extension("srt")).expect("subtitles");
        assert_eq!(parse_srt(&srt).expect("subtitles")[0].start, 1.5, "{name}");
    }
    let call = outcome(&folder, "call.json");
    let speakers: Vec<_> = call.cleaned.unwrap().track.cues.into_iter().map(|cue| cue.speaker).collect();
    assert_eq!(speakers, [Some("Ann".to_owned()), Some("Bob".to_owned())]);
    let notes = fs::read_to_string(folder.path("out/notes.txt")).expect("text");
    assert_eq!(notes, "The café was closed.\n\nWe went home again.\n");
    assert!(!folder.path("out/notes.srt").exists(), "text has no times");

    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path("out/report.json")).expect("a report")).expect("JSON");
    let failed = |name: &str| {
        let file = report["files"].as_array().unwrap().iter().find(|file| file["path"] == name).expect(name);
        (file["error"]["code"].as_str().unwrap().to_owned(), file["error"]["message"].as_str().unwrap().to_owned())
    };
    let (code, message) = failed("cut.json");
    assert!(code == "not-a-transcript" && message.contains("not valid JSON"), "{code}: {message}");
    assert!(failed("movie.srt").1.contains("no srt cue"));

    // What was written is no input where OUT is IN, and nothing is left to do.
    let again = batch(&folder, &["--formats", "json,srt,vtt,txt", "--intent", "--set", "cleanup.written_text=model"]);
    assert!(again.err.contains("7 unchanged") && !again.err.contains("loading"), "{}", again.err);
}
