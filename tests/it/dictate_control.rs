//! Dictation driven through its control socket, hearing a recording.

use crate::support::dictate::{Home, words};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// No model but Whisper.
const CONFIG: &str = "profile = 'tiny'\n[cleanup]\nstyle = 'verbatim'\n[dictate]\noutput = 'stdout'\n";
/// "How many hours are there in one week?"
const SAMPLE: &str = "requests/quick-hours.wav";
/// Its length and a little.
const LONG_ENOUGH: Duration = Duration::from_millis(3_600);

fn speak() {
    std::thread::sleep(LONG_ENOUGH);
}

#[track_caller]
fn is_sample(text: &str) {
    let words = words(text);
    let ends = (words.first().map(String::as_str), words.last().map(String::as_str));
    assert_eq!(ends, (Some("how"), Some("week")), "{text:?}");
}

#[test]
fn takes_are_started_stopped_cancelled_and_recovered() {
    let home = Home::new(CONFIG);
    home.run(&["ctl", "status"]).failed(1, &["dictation is not running", "bestbox dictate"]);
    let mut dictation = home.dictate_hearing(SAMPLE, &[]);
    let mode = std::fs::metadata(home.socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let status = home.status();
    assert_eq!((status["state"].as_str(), status["ready"].as_bool()), (Some("idle"), Some(true)), "{status}");
    assert_eq!(status["pid"], dictation.pid());
    home.run(&["ctl", "last"]).failed(1, &["no text yet"]);
    home.run(&["ctl", "stop", "--wait"]).failed(1, &["nothing is being recorded"]);

    let mut follower = home.follow();
    home.ctl(&["start"]);
    assert_eq!(follower.next("state-changed")["state"], "recording");
    follower.next("listening");
    follower.next("level");
    speak();
    let text = home.ctl(&["stop", "--wait"]);
    is_sample(&text);
    let told = follower.next("final");
    assert_eq!((told["take"].as_u64(), told["text"].as_str()), (Some(1), Some(text.as_str())));
    assert!(told["seconds"].as_f64().is_some_and(|seconds| seconds > 3.0), "{told}");
    assert_eq!(follower.next("delivered")["how"], "stdout");
    home.until("rest", |status| status["state"] == "idle");
    assert_eq!(dictation.printed().trim(), text);
    assert_eq!(home.ctl(&["last"]), text);
    is_sample(&home.ctl(&["last", "--raw"]));
    home.ctl(&["again"]);
    assert_eq!(follower.next("delivered")["how"], "stdout");

    // Given up while it is recorded: nothing is delivered, and it can be had all the same.
    home.ctl(&["toggle"]);
    speak();
    home.ctl(&["cancel"]);
    let cancelled = follower.next("cancelled");
    assert_eq!((cancelled["take"].as_u64(), cancelled["recoverable"].as_bool()), (Some(2), Some(true)));
    assert_eq!(home.status()["state"], "idle");
    home.ctl(&["recover"]);
    is_sample(follower.next("final")["text"].as_str().expect("a text"));
    follower.next("delivered");
    assert_eq!(dictation.printed().lines().count(), 3, "{}", dictation.printed());
    home.run(&["ctl", "start", "--binding", "other"]).ok();
    assert!(follower.next("warning")["message"].as_str().is_some_and(|m| m.contains("no binding named 'other'")));
    // A slip of the finger.
    home.ctl(&["press"]);
    home.ctl(&["cancel"]);
    home.until("rest", |status| status["state"] == "idle");

    home.ctl(&["quit"]);
    assert_eq!(dictation.ended(), Some(0), "{}", dictation.said());
    assert!(!home.socket().exists());
}

/// A Bluetooth microphone sends zeros until it has woken up.
#[test]
fn digital_silence_at_the_start_is_skipped_and_no_word_with_it() {
    let home = Home::new(CONFIG);
    let mut reader = hound::WavReader::open(crate::support::cli::sample(SAMPLE)).expect("a sample");
    let late = home.path("late.wav");
    let mut writer = hound::WavWriter::create(&late, reader.spec()).expect("a file");
    let silence = reader.spec().sample_rate * 6 / 10;
    (0..silence).for_each(|_| writer.write_sample(0_i16).expect("a sample"));
    reader.samples::<i16>().for_each(|sample| writer.write_sample(sample.unwrap()).expect("a sample"));
    writer.finalize().expect("a file");

    let _dictation = home.dictate(&["--source", &format!("file:{}", late.display())]);
    let mut follower = home.follow();
    let begun = std::time::Instant::now();
    home.ctl(&["start"]);
    follower.next("listening");
    let waited = begun.elapsed().as_secs_f64();
    assert!(waited > 0.55, "it was said to listen after {waited} s, before there was sound");
    speak();
    is_sample(&home.ctl(&["stop", "--wait"]));
    let (whole, kept) = (begun.elapsed().as_secs_f64(), follower.next("final")["seconds"].as_f64().expect("seconds"));
    assert!(kept > 3.0 && kept < whole - 0.55, "{kept} s kept of {whole} s");
}

#[test]
fn the_second_dictation_hands_over_to_the_first_or_takes_its_place() {
    let home = Home::new(CONFIG);
    let mut first = home.dictate_hearing(SAMPLE, &[]);
    let ran = home.run(&["dictate"]).ok();
    assert!(ran.out.contains("running already") && ran.out.contains(&first.pid().to_string()), "{}", ran.out);
    // What is being said when the place is taken is delivered by the one that heard it.
    home.ctl(&["start"]);
    speak();
    let second = home.dictate_hearing(SAMPLE, &["--replace"]);
    assert_eq!(first.ended(), Some(0), "{}", first.said());
    is_sample(&first.printed());
    assert_eq!(home.status()["pid"], second.pid());
}

#[test]
fn a_crash_loses_nothing_and_leaves_nothing_in_the_way() {
    let home = Home::new(CONFIG);
    let dictation = home.dictate_hearing(SAMPLE, &[]);
    home.ctl(&["start"]);
    // All of it is on the disk: 3.3 s of 16 kHz, 16 bit.
    crate::support::raw::eventually(60, "the audio is on the disk", || home.audio().iter().any(|b| *b > 108_000));
    dictation.kill_9();
    assert!(home.socket().exists(), "a killed process cleans nothing up");
    home.run(&["ctl", "status"]).failed(1, &["dictation is not running"]);
    let ran = home.run(&["dictate", "--recover"]).ok();
    is_sample(&ran.out);
    let again = home.run(&["dictate", "--recover"]).ok();
    assert!(again.out.is_empty() && again.err.contains("nothing is left to recover"), "{}", again.err);
    let listed = home.run(&["history", "list", "--json"]).ok().out;
    assert!(listed.contains("\"done\"") && listed.contains("\"recovered\""), "{listed}");

    // Its socket is in nobody's way.
    let dictation = home.dictate_hearing(SAMPLE, &[]);
    assert_eq!(home.status()["pid"], dictation.pid());
}
