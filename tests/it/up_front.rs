//! `bestbox up`: both servers behind fronts that stay, seen by clients of other makes.

use crate::support::servers::{assert_gone, kill_9, runs};
use crate::support::up::{PATIENCE, Up, block, chat, http, place};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn long() -> bool {
    std::env::var_os("BESTBOX_LONG").is_some()
}

/// Processes of llama-server that belong to this place.
fn registered(up: &Up<'_>) -> Vec<u32> {
    let homes = std::fs::read_dir(up.place.path().join("run")).expect("a registry").flatten();
    let pid = |home: std::fs::DirEntry| {
        let state: Value = serde_json::from_slice(&std::fs::read(home.path().join("state.json")).ok()?).ok()?;
        u32::try_from(state["server"]["pid"].as_u64()?).ok()
    };
    homes.filter_map(pid).filter(|pid| runs(*pid)).collect()
}

#[test]
fn both_come_up_in_order_are_seen_shared_and_end_together() {
    let place = place().set("heavy.context=1024");
    let up = place.up(&[]);
    let heavy = up.pid(place.heavy);
    let said = up.said();
    let at = |words: &str| said.find(words).unwrap_or_else(|| panic!("'{words}' in: {said}"));
    assert!(at("the light server is ready") < at("starting the heavy server"), "one loads at a time: {said}");
    let light = up.pid(place.light);
    assert_ne!(light, heavy);

    // A second one says so.
    let (code, _, err) = place.run(&["up"]);
    assert_eq!(code, Some(4), "{err}");
    assert_eq!(err.lines().count(), 1, "one sentence: {err}");
    assert!(err.contains("another `bestbox up`") && err.contains("light") && err.contains("--reload"), "{err}");

    // Other bestbox use its servers instead of starting their own.
    let before = up.health(place.light).1["bestbox"]["front"]["requests"].as_u64();
    std::fs::write(place.path().join("said.txt"), "so we meet at the harbour tomorrow and then we take the boat\n")
        .expect("written");
    let file = place.path().join("said.txt");
    let (code, out, err) = place.run(&["text", "--format", "json", "--route", "agent", file.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(0), "{err}");
    let outcome: Value = serde_json::from_str(&out).expect("JSON");
    assert!(outcome["reply"]["text"].as_str().is_some_and(|text| !text.is_empty()), "{outcome}");
    assert!(up.health(place.light).1["bestbox"]["front"]["requests"].as_u64() > before, "through the front");
    let mut all = registered(&up);
    all.sort_unstable();
    let mut both = vec![light, heavy];
    both.sort_unstable();
    assert_eq!(all, both, "nobody started another one");

    let status = place.status("heavy");
    assert_eq!(
        (&status["run_by"], &status["state"], &status["slots_total"]),
        (&json!("up"), &json!("ready"), &json!(1))
    );
    assert!(status["generated_tokens_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{status}");
    assert!(
        status["prompt_tokens_total"].as_u64() > Some(10) && status["rss_bytes"].as_u64() > Some(50 << 20),
        "{status}"
    );
    assert_eq!((&status["pid"], &status["port"], &status["restarts"]), (&json!(heavy), &json!(place.heavy), &json!(0)));
    let (code, table, _) = place.run(&["status"]);
    assert_eq!(code, Some(0));
    assert!(table.contains("SmolLM2-135M-Instruct") && table.contains("ready") && table.contains("0/3"), "{table}");

    assert_eq!(up.stop(), Some(0));
    assert_gone(light, Duration::from_secs(1));
    assert_gone(heavy, Duration::from_secs(1));
    let (code, out, err) = place.run(&["status"]);
    assert_eq!((code, out.as_str()), (Some(4), ""), "{err}");
    assert!(err.contains("no language model server runs; start them with `bestbox up`"), "{err}");
}

#[test]
fn requests_survive_a_server_that_is_killed_again_and_again() {
    // At full size: a kill every 5 seconds until 1,000 requests are answered.
    let (requests, pause) = if long() { (1000, Duration::from_secs(5)) } else { (60, Duration::from_millis(1500)) };
    let place = place();
    let up = place.up(&["--tiers", "light"]);
    up.pid(place.light);
    let begun = Instant::now();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut kills = 0;
    let lost = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut lost = Vec::new();
                    while next.fetch_add(1, Ordering::Relaxed) < requests {
                        let (status, body) = block(chat(place.light, None, 12));
                        if status != 200 || body["choices"][0]["message"]["content"].as_str().is_none() {
                            lost.push((status, body));
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    lost
                })
            })
            .collect();
        while done.load(Ordering::Relaxed) + 4 < requests {
            std::thread::sleep(pause);
            if done.load(Ordering::Relaxed) + 4 < requests {
                kill_9(up.pid(place.light));
                kills += 1;
            }
        }
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect::<Vec<_>>()
    });
    let state = up.is(place.light, "ready");
    eprintln!("{requests} requests, {kills} kills, {:.1} s, {}", begun.elapsed().as_secs_f64(), state["front"]);
    assert!(lost.is_empty(), "lost: {lost:?}\n{}", up.said());
    assert!(kills >= 3, "{kills}");
    assert_eq!((&state["restarts"], &state["last_exit"]["kind"]), (&json!(kills), &json!("killed")));
    assert!(state["front"]["resent"].as_u64() > Some(0), "{state}");
}

#[test]
fn streams_come_through_as_they_are_made_and_hanging_up_stops_the_work() {
    let place = place();
    let up = place.up(&["--tiers", "light"]);
    up.pid(place.light);
    let url = format!("http://127.0.0.1:{}/completion", place.light);
    let ask = |tokens: u32| {
        let body =
            json!({"prompt": "One, two,", "n_predict": tokens, "stream": true, "ignore_eos": true, "temperature": 0});
        http().post(&url).json(&body).send()
    };
    block(async {
        let mut answer = ask(60).await.expect("an answer");
        assert!(answer.headers()["content-type"].to_str().is_ok_and(|kind| kind.starts_with("text/event-stream")));
        let begun = Instant::now();
        let mut pieces = Vec::new();
        while let Some(piece) = answer.chunk().await.expect("whole") {
            pieces.push((begun.elapsed(), String::from_utf8_lossy(&piece).into_owned()));
        }
        assert!(pieces.len() > 20, "not gathered: {}", pieces.len());
        let (first, last) = (pieces[0].0, pieces[pieces.len() - 1].0);
        assert!(first < last / 2, "the first comes long before the last: {first:?} {last:?}");

        // Hanging up in the middle frees the slot.
        let mut answer = ask(1800).await.expect("an answer");
        answer.chunk().await.expect("a piece");
        drop(answer);
    });
    let begun = Instant::now();
    while place.status("light")["slots_busy"] != 0 {
        assert!(begun.elapsed() < Duration::from_secs(8), "{}", place.status("light"));
    }

    // A server that ends in the middle of a stream: an error at its end, not half an answer that looks whole.
    let text = block(async {
        let mut answer = ask(1800).await.expect("an answer");
        let mut text = String::from_utf8_lossy(&answer.chunk().await.expect("a piece").expect("a piece")).into_owned();
        let health = http().get(format!("http://127.0.0.1:{}/health", place.light)).send().await.expect("an answer");
        let health: Value = health.json().await.expect("JSON");
        kill_9(health["bestbox"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid"));
        while let Ok(Some(piece)) = answer.chunk().await {
            text.push_str(&String::from_utf8_lossy(&piece));
        }
        text
    });
    assert!(text.contains("\"code\":\"server_ended\"") && !text.contains("\"stop\":true"), "{text}");
}

#[test]
fn strangers_are_kept_out_and_the_key_is_in_its_file() {
    let place = place();
    // The last --set wins.
    let up = place.up(&["--tiers", "light", "--set", "up.key="]);
    up.pid(place.light);
    let file = place.path().join("run/up.key");
    let key = std::fs::read_to_string(&file).expect("a key");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.metadata().expect("meta").permissions()) & 0o777, 0o600);
    let (status, body) = block(chat(place.light, None, 1));
    assert_eq!((status, &body["error"]["code"]), (401, &json!("invalid_api_key")));
    assert_eq!(block(chat(place.light, Some("wrong"), 1)).0, 401);
    assert_eq!(block(chat(place.light, Some(key.trim()), 1)).0, 200);
    assert_eq!(up.health(place.light).0, 200, "open to all, as llama-server's");
    drop(up);
    // Without a key: pages of other sites are kept out.
    let up = place.up(&["--tiers", "light"]);
    up.pid(place.light);
    let get = |name: &str, value: &str| {
        let request = http().get(format!("http://127.0.0.1:{}/v1/models", place.light)).header(name, value);
        block(async { request.send().await.expect("an answer").status().as_u16() })
    };
    assert_eq!(get("origin", "https://evil.example"), 403);
    assert_eq!(get("host", "evil.example"), 403);
    assert_eq!(get("origin", "http://localhost:3000"), 200);
    let huge = http().post(format!("http://127.0.0.1:{}/completion", place.light)).body(vec![b'x'; 40 << 20]);
    let refused = block(async { huge.send().await.map(|answer| answer.status().as_u16()) });
    assert!(refused.is_err() || refused.is_ok_and(|status| status == 413));
}

#[test]
fn it_sleeps_when_nobody_asks_and_a_request_wakes_it() {
    let place = place();
    let up = place.up(&["--tiers", "light", "--idle-minutes", "0.02"]);
    let pid = up.pid(place.light);
    up.is(place.light, "asleep");
    assert_gone(pid, Duration::from_secs(10));
    assert_eq!(up.health(place.light).0, 200, "it takes requests");
    let status = place.status("light");
    assert_eq!((&status["state"], &status["pid"]), (&json!("asleep"), &Value::Null), "looking does not wake it");
    let (status, body) = block(chat(place.light, None, 4));
    assert_eq!(status, 200, "{body}");
    up.says("light: woken by a request");
    assert_eq!(up.health(place.light).1["bestbox"]["restarts"], 0);
}

#[test]
fn a_reload_replaces_what_changed_and_loses_nothing() {
    let place = place();
    let file = place.path().join("bestbox.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write("[light]\nparallel = 2\n");
    let up = place.up(&[]);
    let (light, heavy) = (up.pid(place.light), up.pid(place.heavy));
    let stop = AtomicUsize::new(0);
    let answered = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut answered = 0;
                    while stop.load(Ordering::Relaxed) == 0 {
                        let (status, body) = block(chat(place.light, None, 16));
                        assert_eq!(status, 200, "{body}");
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        // Refused: everything stays.
        write("[light]\nparallel = 0\n");
        let (code, _, err) = place.run(&["up", "--reload", "--config", "/dev/null"]);
        assert_eq!(code, Some(4), "{err}");
        assert!(err.contains("everything stays as it is") && err.contains("light.parallel"), "{err}");
        assert_eq!(up.pid(place.light), light);
        // Taken up: another light server, the same heavy one.
        write("[light]\nparallel = 1\n");
        let (code, _, err) = place.run(&["up", "--reload"]);
        assert_eq!(code, Some(0), "{err}");
        assert_gone(light, PATIENCE);
        stop.store(1, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("a client")).sum::<usize>()
    });
    assert!(answered > 3, "{answered}");
    assert_ne!(up.pid(place.light), light);
    assert_eq!(up.pid(place.heavy), heavy);
    assert_eq!(place.status("light")["slots_total"], 1);
    assert_eq!(up.health(place.light).1["bestbox"]["restarts"], 0, "asked for, so none of its failures");
    // The heavy tier is not wanted any more; SIGHUP is the same as --reload.
    write("tiers = \"light-only\"\n[light]\nparallel = 1\n");
    up.signal(Signal::SIGHUP);
    assert_gone(heavy, PATIENCE);
    up.pid(place.light);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn it_tells_systemd_and_ends_cleanly_without_a_terminal() {
    let place = place();
    let socket = place.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut child = place
        .command(&["up", "--tiers", "light"])
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "400000")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("bestbox starts");
    // Nobody reads what it says, and the pipe is closed.
    drop(child.stderr.take());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("pid"));
    let until = |word: &str| {
        let mut block = [0; 1024];
        loop {
            let length = manager.recv(&mut block).unwrap_or_else(|error| panic!("no {word}: {error}"));
            let message = String::from_utf8_lossy(&block[..length]).into_owned();
            if message.contains(word) {
                return message;
            }
        }
    };
    assert!(until("READY=1").contains("STATUS=light ready"));
    until("WATCHDOG=1");
    nix::sys::signal::kill(pid, Signal::SIGHUP).expect("kill");
    assert!(until("RELOADING=1").contains("MONOTONIC_USEC="));
    until("READY=1");
    let server = place.status("light")["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
    nix::sys::signal::kill(pid, Signal::SIGTERM).expect("kill");
    until("STOPPING=1");
    assert_eq!(child.wait().expect("ended").code(), Some(0));
    assert_gone(server, Duration::from_secs(1));
}
