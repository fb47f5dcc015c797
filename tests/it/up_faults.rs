//! `bestbox up` when things go wrong: what it says, what its clients see, and that it recovers by itself.

use crate::support::llama::{SMOL, model, program};
use crate::support::servers::assert_gone;
use crate::support::up::{Place, block, chat, http, place};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// llama-server with something before it.
fn wrapped(place: &Place, before: &str) -> String {
    let script =
        format!("#!/bin/sh\ncase \"$1\" in --*) ;; *) {before} ;; esac\nexec {} \"$@\"\n", program().display());
    format!("servers.program={}", place.script("llama-wrapped", &script).display())
}

#[test]
fn a_server_that_hangs_is_replaced_and_its_requests_go_to_the_next() {
    let place = place().set("up.silence_seconds=1");
    let up = place.up(&["--tiers", "light"]);
    let pid = up.pid(place.light);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), Signal::SIGSTOP).expect("kill");
    let (status, body) = block(chat(place.light, None, 4));
    assert_eq!(status, 200, "{body}");
    assert_gone(pid, Duration::from_secs(20));
    up.says("light: does not answer");
    let state = up.is(place.light, "ready");
    assert_eq!((&state["restarts"], &state["last_exit"]["kind"]), (&json!(1), &json!("hung")));
}

#[test]
fn a_server_without_memory_says_so_and_the_breaker_opens_and_closes() {
    let place = place()
        .set("up.breaker_failures=3")
        .set("up.breaker_pause_seconds=3")
        // The address space of a process that loads nothing.
        .set("light.extra_args=--load-mode,none");
    let flag = place.path().join("starved");
    std::fs::write(&flag, "").expect("written");
    let program = wrapped(&place, &format!("[ -e {} ] && ulimit -v 180000", flag.display()));
    let place = place.set(&program);
    let up = place.up(&["--tiers", "light"]);
    let begun = Instant::now();
    let state = up.is(place.light, "open");
    assert_eq!(state["last_exit"]["kind"], "out-of-memory", "{}", up.said());
    // Nobody waits at an open breaker.
    let asked = Instant::now();
    let request = http().post(format!("http://127.0.0.1:{}/completion", place.light)).body("{}");
    let (status, wait, body) = block(async {
        let answer = request.send().await.expect("an answer");
        let wait = answer.headers()["retry-after"].to_str().expect("text").parse::<u64>().expect("seconds");
        (answer.status(), wait, answer.json::<Value>().await.expect("JSON"))
    });
    assert_eq!(status, 503);
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert!((1..=30).contains(&wait));
    assert_eq!(body["error"]["code"], "circuit_open");
    assert!(body["error"]["message"].as_str().is_some_and(|text| text.contains("out of memory")), "{body}");
    assert_eq!(up.health(place.light).0, 503);
    let status = place.status("light");
    assert_eq!(status["last_exit"]["kind"], "out-of-memory", "{status}");
    std::fs::remove_file(&flag).expect("removed");
    up.is(place.light, "ready");
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(block(chat(place.light, None, 2)).0, 200);
    let said = up.said();
    assert!(said.contains("it was out of memory") && said.contains("requests get 503"), "{said}");
}

#[test]
fn what_cannot_work_is_said_before_anything_is_started() {
    let place = place();
    // The port is somebody else's.
    let other = std::net::TcpListener::bind(("127.0.0.1", place.light)).expect("free");
    let (code, _, err) = place.run(&["up", "--tiers", "light"]);
    assert_eq!(code, Some(4), "{err}");
    assert!(err.contains(&format!("port {} of the light server is taken", place.light)), "{err}");
    drop(other);
    // No model, no usable model.
    let (code, _, err) = place.run(&["up", "--set", "light.model=/nowhere/model.gguf"]);
    assert_eq!(code, Some(4), "{err}");
    let wrong = place.path().join("wrong.gguf");
    std::fs::write(&wrong, "GGUF and then nothing that makes sense at all").expect("written");
    let (code, _, err) = place.run(&["up", "--set", &format!("light.model={}", wrong.display())]);
    assert_eq!(code, Some(4), "{err}");
    assert!(err.contains("is not a usable GGUF model") && err.lines().count() == 1, "{err}");
    let (code, _, err) = place.run(&["up", "--set", "servers.program=/nowhere/llama-server"]);
    assert_eq!(code, Some(4), "{err}");
    assert!(err.contains("make setup"), "{err}");
    let (code, _, err) = place.run(&["up", "--set", "up.breaker_failures=0"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("up.breaker_failures") && err.contains("between 1 and 1000"), "{err}");
    let (code, _, err) = place.run(&["up", "--set", "up.host=0.0.0.0"]);
    assert_eq!(code, Some(2), "{err}");
    let (code, _, err) = place.run(&["up", "--reload"]);
    assert_eq!(code, Some(4), "{err}");
    assert!(err.contains("there is no `bestbox up`"), "{err}");
}

#[test]
fn ends_are_classified_from_what_a_real_server_says() {
    let kinds =
        [("light.extra_args=--no-such-flag", "bad-flag"), ("light.extra_args=-m,/nowhere/model.gguf", "model-missing")];
    let place = place().set("up.breaker_failures=1");
    for (setting, kind) in kinds {
        let up = place.up(&["--tiers", "light", "--set", setting]);
        assert_eq!(up.is(place.light, "open")["last_exit"]["kind"], kind, "{}", up.said());
    }
    // A header that is right, and nothing behind it that is.
    let cut = place.path().join("cut.gguf");
    let bytes = std::fs::read(model(SMOL)).expect("a model");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).expect("written");
    let whole = format!("light.extra_args=-m,{}", cut.display());
    let up = place.up(&["--tiers", "light", "--set", &whole]);
    assert_eq!(up.is(place.light, "open")["last_exit"]["kind"], "model-corrupt", "{}", up.said());
    drop(up);
    let crash = wrapped(&place, "kill -SEGV $$");
    let up = place.up(&["--tiers", "light", "--set", &crash]);
    assert_eq!(up.is(place.light, "open")["last_exit"]["kind"], "crashed", "{}", up.said());
}

#[test]
fn both_down_at_the_start_texts_are_cleaned_by_rules_until_they_are_back() {
    let place = place().set("up.breaker_failures=1").set("up.breaker_pause_seconds=1").set("heavy.context=1024");
    let flag = place.path().join("broken");
    std::fs::write(&flag, "").expect("written");
    let program = wrapped(&place, &format!("[ -e {} ] && exit 1", flag.display()));
    let place = place.set(&program).set("cleanup.written_text=model").set("agent.max_tokens=8");
    let up = place.up(&[]);
    up.is(place.light, "open");
    let file = place.path().join("said.txt");
    std::fs::write(&file, "so we meet at the harbour tomorrow and then we take the boat\n").expect("written");
    let text = || {
        let (code, out, err) = place.run(&[
            "text",
            "--format",
            "json",
            "--route",
            "agent",
            "--set",
            "servers.startup_timeout_seconds=3",
            file.to_str().expect("UTF-8"),
        ]);
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str::<Value>(&out).expect("JSON")
    };
    let outcome = text();
    assert_eq!(outcome["cleaned"]["engine"], "rules", "{outcome}");
    let codes: Vec<&str> = outcome["warnings"]
        .as_array()
        .expect("warnings")
        .iter()
        .filter_map(|warning| warning["code"].as_str())
        .collect();
    assert!(codes.contains(&"cleanup-unavailable") && codes.contains(&"reply-unavailable"), "{outcome}");
    std::fs::remove_file(&flag).expect("removed");
    up.pid(place.light);
    up.pid(place.heavy);
    let outcome = text();
    assert_eq!(outcome["cleaned"]["engine"], "grammar", "{outcome}");
    assert!(outcome["reply"]["text"].as_str().is_some_and(|text| !text.is_empty()), "{outcome}");
}
