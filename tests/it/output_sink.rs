//! What only another process can show: closed pipes, limits of the system, and being killed while writing.

use bestbox::outcome::{Outcome, SCHEMA, SourceInfo, Timings};
use bestbox::output::{Delivered, Destination, Format, Inputs, RenderSettings, Sink};
use bestbox::speech::{Segment, Transcript};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// An outcome whose JSON is about `kilobytes` long.
fn outcome(kilobytes: usize) -> Outcome {
    let segment = Segment { start: 0.0, end: 1.0, text: "word ".repeat(20).trim().to_owned(), ..Segment::default() };
    Outcome {
        schema: SCHEMA,
        source: SourceInfo { name: "talk.wav".into(), duration: Some(1.0), format: None },
        transcript: Transcript { language: "en".parse().ok(), segments: vec![segment; kilobytes * 5] },
        cleaned: None,
        translated: None,
        intent: None,
        reply: None,
        warnings: vec![],
        timings: Timings::default(),
    }
}

/// Not a test of its own: the child that the tests below start, with its part in the environment.
#[test]
#[ignore = "started by the other tests of this file"]
fn child() {
    let Ok(target) = std::env::var("BESTBOX_TEST_TARGET") else { return };
    let destination = Destination::of_argument(Path::new(&target));
    let mut sink = Sink::new(destination, Format::Jsonl, Inputs::One, RenderSettings::default()).expect("a sink");
    let rounds = if std::env::var_os("BESTBOX_TEST_ONCE").is_some() { 1 } else { usize::MAX };
    for _ in 0..rounds {
        match sink.deliver(&outcome(200)) {
            Ok(Delivered::ReaderGone) => std::process::exit(0),
            Ok(_) => {}
            Err(error) => {
                eprintln!("said: {error}");
                std::process::exit(3);
            }
        }
        if target != "-" {
            // Each round is to replace the file, not to add to it.
            let destination = Destination::of_argument(Path::new(&target));
            sink = Sink::new(destination, Format::Jsonl, Inputs::One, RenderSettings::default()).expect("a sink");
        }
    }
    std::process::exit(0);
}

/// The child, run through `sh` with `limits` set before it.
fn start(limits: &str, target: &str, stdout: Stdio) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{limits} exec \"$0\" --ignored --exact output_sink::child --nocapture -q")])
        .arg(std::env::current_exe().expect("this test"))
        .env("BESTBOX_TEST_TARGET", target)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped());
    command
}

fn said(mut child: Child) -> (Option<i32>, String) {
    let mut text = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut text).expect("stderr");
    (child.wait().expect("the child ends").code(), text)
}

#[test]
fn a_reader_that_goes_away_ends_the_output_without_a_word() {
    let mut child = start("", "-", Stdio::piped()).spawn().expect("sh");
    let mut reader = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.starts_with('{') {
        line.clear();
        assert!(reader.read_line(&mut line).expect("stdout") > 0, "the child wrote nothing");
    }
    assert!(serde_json::from_str::<Outcome>(&line).is_ok());
    drop(reader);
    let (code, text) = said(child);
    assert_eq!((code, text.as_str()), (Some(0), ""));
}

#[test]
fn a_standard_output_that_takes_no_more_is_an_error_with_its_reason() {
    let file = tempfile::tempfile().expect("a file");
    let child = start("ulimit -f 16; trap '' XFSZ;", "-", file.into()).spawn().expect("sh");
    let (code, text) = said(child);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("said: cannot write to standard output: the file would be larger than allowed"), "{text}");
}

#[test]
fn a_file_that_does_not_fit_leaves_the_old_one_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("talk.jsonl");
    std::fs::write(&path, "old").expect("a file");
    // 16 blocks of 512 or 1,024 bytes; the signal that comes with the limit is ignored, the error stays.
    let child = start("ulimit -f 16; trap '' XFSZ;", path.to_str().expect("UTF-8"), Stdio::null())
        .env("BESTBOX_TEST_ONCE", "1")
        .spawn()
        .expect("sh");
    let (code, text) = said(child);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("larger than allowed"), "{text}");
    assert_eq!(std::fs::read_to_string(&path).expect("the old file"), "old");
    assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 1, "a temporary file was left");
}

#[test]
fn whoever_is_killed_while_writing_leaves_a_whole_file() {
    let rounds = if std::env::var_os("BESTBOX_LONG").is_some() { 100 } else { 8 };
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("talk.jsonl");
    for round in 0..rounds {
        let mut child = start("", path.to_str().expect("UTF-8"), Stdio::null()).spawn().expect("sh");
        for _ in 0..500 {
            if path.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(30 + round * 7));
        child.kill().expect("a child of ours");
        child.wait().expect("the child ends");
        let text = std::fs::read_to_string(&path).expect("the file");
        assert!(serde_json::from_str::<Outcome>(&text).is_ok(), "torn after round {round}: {} bytes", text.len());
    }
}
