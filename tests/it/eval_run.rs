//! `bestbox eval` as a user runs it, on small manifests with real models.

use crate::support::cli::{Cli, Ran, bestbox, sample};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

/// Utterances of samples/intent-*.jsonl as manifest lines.
fn utterances(set: &str, count: usize, split: &str) -> String {
    let text = std::fs::read_to_string(sample(&format!("intent-{set}.jsonl"))).expect("the sample");
    let line = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("JSON");
        json!({"text": row["text"], "route": row["label"], "split": split}).to_string() + "\n"
    };
    text.lines().take(count).map(line).collect()
}

fn recording(name: &str, text: &str) -> String {
    json!({"audio": sample(name), "language": "en", "text": text, "route": "note"}).to_string() + "\n"
}

fn eval(manifest: &str) -> Cli {
    bestbox(["--profile", "tiny", "eval", "m.jsonl", "--json"]).file("m.jsonl", manifest)
}

fn evaluation(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error} in {} / {}", ran.out, ran.err))
}

#[test]
fn two_configurations_are_measured_on_the_same_lines_and_reported() {
    let manifest = recording("librivox/0880.wav", "He was not an ill-disposed young man.")
        + &json!({"text": "Dear Ms Miller, the invoice has arrived. Thank you!", "route": "note"}).to_string()
        + "\n"
        + &json!({"text": "Mmm, purple seven.", "route": "out-of-scope"}).to_string()
        + "\n"
        + &utterances("heldout", 6, "test")
        + &utterances("fit", 3, "fit");
    let cli = eval(&manifest).arg("--against").arg("cleanup.style=verbatim").arg("--html").arg("r.html");
    let page = cli.path("r.html");
    let (ran, page) = cli.run_keeping(|ran| (ran, std::fs::read_to_string(page)));
    let all = evaluation(&ran.ok());
    assert_eq!(
        (all["lines"].as_u64(), all["interrupted"].as_bool()),
        (Some(9), Some(false)),
        "lines to fit on stay out"
    );
    let [ours, other] = all["configurations"].as_array().expect("configurations").as_slice() else { panic!("{all}") };
    assert_eq!(other["name"], "cleanup.style=verbatim");
    for scores in [ours, other] {
        let speech = &scores["speech"]["en"];
        assert_eq!((speech["recordings"].as_u64(), speech["words"].as_u64()), (Some(1), Some(8)), "{speech}");
        assert!(speech["wer"].as_f64().is_some_and(|wer| wer < 0.3) && speech["cer"].as_f64().is_some(), "{speech}");
        let intent = &scores["intent"];
        assert_eq!(intent["count"], 9, "{intent}");
        for share in ["accuracy", "macro_f1", "calibration_error", "heavy", "out_of_scope_recall"] {
            assert!(intent[share].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "{share}: {intent}");
        }
        let latency = &scores["latency"];
        assert_eq!((latency["recognition"]["count"].as_u64(), latency["intent"]["count"].as_u64()), (Some(1), Some(9)));
        assert!(latency["intent"]["p95"].as_f64() >= latency["intent"]["p50"].as_f64(), "{latency}");
    }
    assert_eq!(ours["cleanup"]["faithful"], 1.0, "{ours}");
    assert!(ours["cleanup"]["punctuation_f1"].as_f64() > ours["cleanup"]["punctuation_f1_before"].as_f64(), "{ours}");
    assert!(other["cleanup"].is_null(), "nothing was cleaned: {other}");
    let page = page.expect("the report");
    for part in ["Routes taken", "Reliability", "<circle", "cleanup.style=verbatim", "out-of-scope"] {
        assert!(page.contains(part), "{part} in the report");
    }
}

#[test]
fn thresholds_are_fitted_on_lines_that_are_not_reported() {
    let manifest = utterances("fit", 24, "fit") + &utterances("heldout", 3, "test");
    let cli = eval(&manifest).arg("--fit").arg("--fit-output").arg("routes.toml");
    let routes = cli.path("routes.toml");
    let (ran, routes) = cli.run_keeping(|ran| (ran, std::fs::read_to_string(routes)));
    let all = evaluation(&ran.ok());
    assert_eq!((all["fitted_on"].as_u64(), all["lines"].as_u64()), (Some(24), Some(3)));
    let routes: toml::Table = routes.expect("fitted routes").parse().expect("TOML");
    let fitted = routes["calibration"].as_array().expect("calibrations");
    let smollm = |table: &&toml::Value| table["model"].as_str().is_some_and(|model| model.starts_with("smollm2"));
    let thresholds = fitted.iter().filter(smollm).find_map(|table| table.get("thresholds")?.as_table());
    let thresholds = thresholds.expect("the light model's own");
    assert_eq!(thresholds.keys().collect::<Vec<_>>(), ["agent", "note", "quick"]);
}

#[test]
fn a_wrong_line_is_named_before_anything_is_started_and_a_missing_recording_after() {
    let begun = Instant::now();
    eval("{\"text\": \"Hello.\"}\n{\"route\": \"note\"}\n").run().failed(2, &["m.jsonl line 2", "neither"]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let manifest = recording("librivox/0880.wav", "He was not an ill-disposed young man.")
        + "{\"audio\": \"gone.wav\", \"text\": \"Hello.\"}\n";
    let ran = eval(&manifest).run();
    let all = evaluation(&ran);
    let scores = &all["configurations"][0];
    assert_eq!(scores["speech"]["en"]["recordings"], 1, "the other line is measured: {scores}");
    assert!(
        scores["failed"][0][0].as_str().is_some_and(|name| name.starts_with("m.jsonl line 2: gone.wav")),
        "{scores}"
    );
    assert_eq!(ran.code, Some(6), "{}", ran.err);
}

#[test]
fn an_interruption_keeps_what_was_measured() {
    let manifest = utterances("heldout", 216, "test").repeat(4);
    let (mut child, _cli) = eval(&manifest).spawn();
    let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut line = String::new();
    // The second such line: something has been measured by then.
    let mut seen = 0;
    while seen < 2 {
        line.clear();
        assert!(errors.read_line(&mut line).expect("a line") > 0 && Instant::now() < deadline, "no progress");
        seen += usize::from(line.contains("this configuration: "));
    }
    let pid = i32::try_from(child.id()).expect("a process id");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT).expect("it runs");
    let drain = std::thread::spawn(move || errors.read_to_string(&mut String::new()).ok());
    let ran = Ran::of(child.wait_with_output().expect("it ends"));
    drain.join().expect("drained");
    assert_eq!(ran.code, Some(130), "{}", ran.out);
    let all = evaluation(&ran);
    let count = all["configurations"][0]["intent"]["count"].as_u64().unwrap_or(0);
    assert!(all["interrupted"] == true && count > 0 && count < 864, "{count} of 864 lines: {all}");
}
