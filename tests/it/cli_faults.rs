//! Bad input, missing parts and dying servers, as a user meets them: one sentence, the right exit code, nothing lost.

use crate::support::cli::{Ran, bestbox, sample};
use crate::support::fake::{Fake, Kind, Reply, Then};
use crate::support::llama::free_port;
use bestbox::outcome::{CleanEngine, Outcome, WarningCode};
use serde_json::json;
use std::time::Duration;

#[test]
fn bad_input_gets_one_sentence_and_its_code() {
    let clip = sample("librivox/0880.wav");
    let clip = clip.to_str().unwrap();
    let tiny = |args: &[&str]| {
        let all = ["transcribe", "--profile", "tiny", "--cleanup", "verbatim", "--route", "text"];
        bestbox(all.iter().chain(args)).file("empty.wav", "").file("note.wav", "just text").run()
    };
    tiny(&["no-such.wav"]).failed(3, &["no-such.wav"]);
    tiny(&["empty.wav"]).failed(3, &["empty"]);
    tiny(&["note.wav"]).failed(3, &["not audio"]);
    tiny(&["."]).failed(3, &["folder"]);
    tiny(&["--model", "bse-q8_0", clip]).failed(4, &["bse-q8_0", "base-q8_0"]);
    tiny(&["--language", "klingon", clip]).failed(2, &["klingon"]);
    tiny(&["--language", "de", clip]).failed(1, &["English"]);
    tiny(&["--to", "xx", clip]).failed(2, &["xx"]);
    tiny(&["--set", "light.prot=1", clip]).failed(2, &["light.prot", "light.port"]);
    tiny(&["--channel", "2", clip]).failed(3, &["channel 2"]);
    tiny(&["-o", "/no/such/folder/x.txt", clip]).failed(5, &["/no/such/folder"]);
    tiny(&["--vocabulary", "none.txt", clip]).failed(3, &["none.txt"]);
}

#[test]
fn a_bad_configuration_names_file_key_and_nearest() {
    bestbox(["config", "show"])
        .file("bestbox.toml", "[speech]\nmodle = 'x'")
        .run()
        .failed(2, &["speech.modle", "speech.model", "bestbox.toml"]);
    bestbox(["config", "show"])
        .env("BESTBOX_LIGHT_PORT", "high")
        .run()
        .failed(2, &["light.port", "BESTBOX_LIGHT_PORT"]);
    let shown = bestbox(["config", "show", "--profile", "seed"]).env("BESTBOX_HEAVY_PORT", "9000").run().ok();
    assert!(shown.out.contains("port = 9000  # environment variable BESTBOX_HEAVY_PORT"), "{}", shown.out);
    assert!(shown.out.parse::<toml::Table>().is_ok(), "what is shown is TOML");
}

#[test]
fn config_init_writes_once_and_path_shows_it() {
    let cli = bestbox(["config", "init"]);
    let path = cli.path("bestbox.toml");
    cli.run_keeping(|ran| {
        ran.ok();
        assert!(std::fs::read_to_string(&path).unwrap().contains("[speech]"));
    });
    bestbox(["config", "init"]).file("bestbox.toml", "").run().failed(2, &["exists already"]);
    let ran = bestbox(["config", "path"]).file("bestbox.toml", "").run().ok();
    assert!(ran.out.contains("bestbox.toml (read)"), "{}", ran.out);
}

/// Plan over text with both tiers at `url`.
fn at(url: &str, text: &str) -> Outcome {
    let light = format!("light.base_url={url}");
    let heavy = format!("heavy.base_url={url}");
    let args = ["text", "--profile", "external", "--set", &light, "--set", &heavy, "--format", "json"];
    let limits =
        ["--set", "light.timeout_seconds=4", "--set", "cleanup.deadline_seconds=4", "--set", "agent.timeout_seconds=4"];
    let ran: Ran = bestbox(args.iter().chain(&limits)).stdin(text).run().ok();
    ran.outcome()
}

fn codes(outcome: &Outcome) -> Vec<WarningCode> {
    let mut codes: Vec<WarningCode> = outcome.warnings.iter().map(|warning| warning.code).collect();
    codes.sort();
    codes
}

const TEXT: &str = "please note that the meeting is on tuesday";

#[track_caller]
fn survives(outcome: &Outcome) {
    let cleaned = outcome.cleaned.as_ref().expect("text is delivered");
    let words = bestbox::text::clean::words(&cleaned.track.text);
    assert_eq!(words, bestbox::text::clean::words(TEXT), "no word lost or invented");
}

#[test]
fn a_server_that_is_down_costs_only_its_part() {
    let outcome = at(&format!("http://127.0.0.1:{}", free_port()), TEXT);
    survives(&outcome);
    assert_eq!(outcome.cleaned.as_ref().map(|cleaned| cleaned.engine), Some(CleanEngine::Rules));
    assert_eq!(codes(&outcome), [WarningCode::CleanupUnavailable, WarningCode::IntentUnavailable]);
}

#[test]
fn faulty_servers_never_cost_the_text() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let faults: Vec<(&str, Reply)> = vec![
        ("garbage", Reply::body(200, "application/json", b"{\"choices\": 7")),
        ("html", Reply::body(200, "text/html", b"<html>hello</html>")),
        ("500", Reply::json(500, &json!({"error": {"message": "boom"}}))),
        (
            "truncated",
            Reply::with_head(200, "Content-Type: application/json\r\nContent-Length: 900\r\n", b"{\"choices\""),
        ),
        ("dies", Reply { bytes: Vec::new(), then: Then::Close }),
        ("hangs", Reply { bytes: Vec::new(), then: Then::Hold }),
        (
            "invented words",
            Reply::json(
                200,
                &json!({"choices": [{"message": {"content": "Please note that the party is cancelled."}, "finish_reason": "stop"}]}),
            ),
        ),
    ];
    for (name, reply) in faults {
        for kind in [Kind::Llama, Kind::OpenAi] {
            let fake = runtime.block_on(Fake::chat(kind, reply.clone()));
            let outcome = at(&fake.base_url, TEXT);
            survives(&outcome);
            assert!(!outcome.warnings.is_empty(), "{name} ({kind:?}) is said");
        }
    }
}

#[test]
fn an_answer_that_breaks_off_is_kept_and_marked() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let first = crate::support::fake::delta("Half of an");
    let reply = Reply::events(&[&first]).then(Then::Close);
    let fake = runtime.block_on(Fake::chat(Kind::OpenAi, reply));
    let heavy = format!("heavy.base_url={}", fake.base_url);
    let args = [
        "text",
        "--profile",
        "external",
        "--set",
        &heavy,
        "--route",
        "agent",
        "--cleanup",
        "verbatim",
        "--format",
        "json",
    ];
    let outcome = bestbox(args).stdin("what is it").run().ok().outcome();
    assert_eq!(outcome.reply.map(|reply| reply.text), Some("Half of an".to_owned()));
    assert_eq!(outcome.warnings.iter().map(|w| w.code).collect::<Vec<_>>(), [WarningCode::ReplyTruncated]);
}

/// kill -9 in the middle of the work: no llama-server and no decoder is left.
#[test]
fn kill_9_leaves_no_process_behind() {
    let cache = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(crate::support::llama::cache().join("models"), cache.path().join("models")).unwrap();
    std::os::unix::fs::symlink(crate::support::llama::cache().join("bin"), cache.path().join("bin")).unwrap();
    let (mut child, cli) = bestbox(["text", "--profile", "tiny", "--lines", "-"])
        .env("BESTBOX_CACHE", cache.path().to_str().unwrap())
        .spawn();
    let logs = cache.path().join("logs");
    let started = std::time::Instant::now();
    let of_ours = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let marker = cache.path().to_str().unwrap().to_owned();
        all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| {
                let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                String::from_utf8_lossy(&environment).contains(&marker) || {
                    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    String::from_utf8_lossy(&arguments).contains(&marker)
                }
            })
            .filter(|pid| crate::support::servers::runs(*pid))
            .collect::<Vec<u32>>()
    };
    while of_ours().len() < 3 {
        assert!(started.elapsed() < Duration::from_secs(60), "servers start: {:?}, logs {logs:?}", of_ours());
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = std::time::Instant::now();
    while !of_ours().is_empty() {
        assert!(killed.elapsed() < Duration::from_secs(20), "left behind: {:?}", of_ours());
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(cli);
}
