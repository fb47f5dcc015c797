//! Calls with one person in each channel.

use crate::batch_support::Folder;
use crate::support::cli::{Ran, sample};
use crate::support::llama::cache;
use bestbox::outcome::Outcome;
use std::fs;
use std::io::Cursor;
use std::process::{Command, Stdio};

const RATE: usize = 16_000;

/// A sample of the repository from `start` seconds on, in `seconds` of silence.
fn at(name: &str, start: f64, seconds: f64) -> Vec<f32> {
    let mut reader = hound::WavReader::open(sample(name)).expect("a sample");
    assert_eq!(reader.spec().sample_rate as usize, RATE);
    let mut samples = vec![0.0; (seconds * RATE as f64) as usize];
    let from = (start * RATE as f64) as usize;
    for (place, sample) in samples[from..].iter_mut().zip(reader.samples::<i16>()) {
        *place = f32::from(sample.expect("a sample")) / 32768.0;
    }
    samples
}

fn plus(a: &[f32], b: &[f32], gain: f32) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b * gain).collect()
}

fn stereo(left: &[f32], right: &[f32]) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: RATE as u32,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).expect("a file");
    for sample in left.iter().zip(right).flat_map(|(left, right)| [left, right]) {
        writer.write_sample((sample.clamp(-1.0, 1.0) * 32767.0) as i16).expect("room");
    }
    writer.finalize().expect("room");
    bytes.into_inner()
}

/// Label and lower-case text of each segment.
fn said(outcome: &Outcome) -> Vec<(Option<&str>, String)> {
    outcome.transcript.segments.iter().map(|s| (s.speaker.as_deref(), s.text.to_lowercase())).collect()
}

#[test]
fn each_channel_of_a_call_is_somebody() {
    let folder = Folder::new();
    let (seconds, faint) = (12.5, 10f32.powf(-25.0 / 20.0));
    let agent = plus(&at("librivox/0880.wav", 0.5, seconds), &at("librivox/0930.wav", 9.2, seconds), 1.0);
    let customer = at("librivox/0890.wav", 3.8, seconds);
    // Each is heard in the other's channel, 25 dB down.
    folder.put("call.wav", stereo(&plus(&agent, &customer, faint), &plus(&customer, &agent, faint)));
    let short = at("librivox/0880.wav", 0.5, 4.0);
    let quiet: Vec<f32> = short.iter().map(|sample| sample * 0.4).collect();
    folder.put("dual.wav", stereo(&quiet, &short));
    folder.put("solo.wav", stereo(&vec![0.0; short.len()], &short));

    let flags = ["--channels", "split", "--formats", "txt,srt,vtt,csv,json"];
    let ran = folder.run("out", &[&flags[..], &["--speakers", "Agent"]].concat()).ok();
    let read = |name: &str| fs::read_to_string(folder.path("out").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let outcome = |name: &str| serde_json::from_str::<Outcome>(&read(name)).expect("an outcome");

    let call = outcome("call.json");
    let turns = said(&call);
    let speakers: Vec<_> = turns.iter().map(|(speaker, _)| *speaker).collect();
    let mut in_turn = speakers.clone();
    in_turn.dedup();
    assert_eq!(in_turn, [Some("Agent"), Some("Speaker 2"), Some("Agent")], "{turns:?}\n{}", ran.err);
    let of = |label: &str| -> String {
        turns.iter().filter(|(speaker, _)| *speaker == Some(label)).map(|(_, text)| text.clone() + " ").collect()
    };
    assert!(of("Agent").contains("young man") && !of("Agent").contains("selfish"), "{turns:?}");
    assert!(of("Speaker 2").contains("selfish") && !of("Speaker 2").contains("young man"), "bleed: {turns:?}");
    let starts: Vec<f64> = call.transcript.segments.iter().map(|segment| segment.start).collect();
    assert!(starts.is_sorted() && starts[0] < 2.0 && starts.last().is_some_and(|start| *start > 8.5), "{starts:?}");
    assert!(call.source.duration.is_some_and(|duration| (duration - seconds).abs() < 0.1));
    let cleaned = call.cleaned.as_ref().expect("cleaned text");
    assert!(cleaned.track.cues.iter().map(|cue| cue.speaker.as_deref()).eq(speakers), "cue by cue");
    assert!(
        read("call.txt").starts_with("Agent: ") && read("call.txt").contains("\n\nSpeaker 2: "),
        "{}",
        read("call.txt")
    );
    assert!(read("call.srt").contains("\nSpeaker 2: "), "{}", read("call.srt"));
    assert!(read("call.vtt").contains("\n<v Speaker 2>"), "{}", read("call.vtt"));
    assert!(read("call.csv").starts_with("start,end,text,speaker\n"), "{}", read("call.csv"));

    let dual = outcome("dual.json");
    assert!(said(&dual).iter().all(|(speaker, _)| speaker.is_none()) && !said(&dual).is_empty(), "{:?}", said(&dual));
    assert_eq!(read("dual.txt").to_lowercase().matches("young man").count(), 1, "once: {}", read("dual.txt"));
    assert!(read("dual.csv").starts_with("start,end,text\n"));
    let solo = outcome("solo.json");
    assert!(said(&solo).iter().all(|(speaker, _)| *speaker == Some("Speaker 2")), "{:?}", said(&solo));
    assert!(read("solo.txt").contains("young man"), "{}", read("solo.txt"));

    // Other names: the recognised utterances of both channels are known, each under its own key.
    folder.run("out", &[&flags[..], &["--speakers", "Ann,Bob"]].concat()).ok();
    let renamed = outcome("call.json");
    let texts = |outcome: &Outcome| said(outcome).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    assert_eq!(texts(&renamed), texts(&call));
    assert_eq!(renamed.transcript.segments[0].speaker.as_deref(), Some("Ann"));
    assert_eq!(renamed.timings.recognize_ms, Some(0.0), "nothing is recognised twice");

    // A pipe can be read only once.
    let file = fs::File::open(folder.input().join("solo.wav")).expect("a recording");
    let mut cat = Command::new("cat").stdin(file).stdout(Stdio::piped()).spawn().expect("cat");
    let mut transcribe = Command::new(env!("CARGO_BIN_EXE_bestbox"));
    transcribe.args(["--profile", "tiny", "transcribe", "-", "--channels", "split"]);
    transcribe.args(["--cleanup", "verbatim", "--route", "text"]).stdin(cat.stdout.take().expect("a pipe"));
    transcribe.current_dir(folder.path("")).env("BESTBOX_CACHE", cache()).env("XDG_CONFIG_HOME", folder.path(""));
    let text = Ran::of(transcribe.output().expect("bestbox starts")).ok().out;
    assert!(cat.wait().expect("cat ends").success());
    assert!(text.starts_with("Speaker 2: ") && text.contains("young man"), "{text}");
}
