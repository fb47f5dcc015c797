//! The docker launcher against a fake docker that records its arguments and runs the real llama-server.

use crate::support::llama::program;
use crate::support::servers::{assert_gone, kill_9, runs};
use crate::support::up::{Place, block, chat, place};
use std::path::PathBuf;
use std::time::Duration;

/// A place whose light tier runs in a container.
fn docker() -> (Place, PathBuf) {
    let place = place();
    let folder = place.path().join("docker");
    std::fs::create_dir(&folder).expect("made");
    let fake = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/fake-docker");
    let place = place
        .set(&format!("up.light.docker={fake}"))
        .set("up.light.hsa_override_gfx_version=11.0.0")
        .set("up.breaker_failures=1")
        .env("FAKE_DOCKER", folder.to_str().expect("UTF-8"))
        .env("FAKE_DOCKER_SERVER", program().to_str().expect("UTF-8"));
    (place, folder)
}

const UP: [&str; 4] = ["--tiers", "light", "--launcher", "docker"];

/// The process in the container.
fn inside(folder: &std::path::Path) -> u32 {
    let container = std::fs::read_dir(folder.join("containers")).expect("containers").flatten().next().expect("one");
    std::fs::read_to_string(container.path().join("pid")).expect("a pid").trim().parse().expect("a number")
}

#[test]
fn a_container_is_started_served_replaced_after_a_crash_and_stopped() {
    let (place, folder) = docker();
    let up = place.up(&UP);
    let client = up.pid(place.light);
    assert_eq!(block(chat(place.light, None, 4)).0, 200);
    let calls = || std::fs::read_to_string(folder.join("calls")).expect("calls");
    let said = up.said();
    assert!(said.contains("fetching the image bestbox-llama:rocm"), "{said}");
    let run =
        calls().lines().find(|line| line.starts_with("run ") && line.contains("--name")).expect("a run").to_owned();
    let models = std::fs::canonicalize(place.path().join("models")).expect("models");
    for part in [
        "run --rm --name bestbox-light-",
        "--label bestbox.server=",
        "-p 127.0.0.1:",
        ":8080 -v ",
        ":/models:ro",
        "--device /dev/kfd --device /dev/dri --group-add video -e HSA_OVERRIDE_GFX_VERSION=11.0.0",
        "-e LLAMA_API_KEY ",
        "bestbox-llama:rocm -m /models/SmolLM2-135M-Instruct.Q4_1.gguf --host 0.0.0.0 --port 8080 -c 6144 -np 3",
    ] {
        assert!(run.contains(part), "{part} in {run}");
    }
    assert!(
        run.contains(&format!("{}:/models", place.path().join("models").display()))
            || run.contains(&format!("{}:/models", models.display())),
        "{run}"
    );
    // The key is in the client's environment alone.
    let homes = std::fs::read_dir(place.path().join("run")).expect("a registry").flatten();
    let state = homes.filter_map(|home| std::fs::read(home.path().join("state.json")).ok()).next().expect("a state");
    let key =
        serde_json::from_slice::<serde_json::Value>(&state).expect("JSON")["key"].as_str().expect("a key").to_owned();
    assert!(!run.contains(&key));
    let status = place.status("light");
    assert_eq!(status["rss_bytes"], serde_json::Value::Null, "the client's memory says nothing: {status}");

    // The client is killed, the container goes on: found by its label, removed, and started anew.
    let first = inside(&folder);
    kill_9(client);
    up.says("removing 1 container(s) that a crash has left");
    up.pid(place.light);
    assert_gone(first, Duration::from_secs(10));
    assert_eq!(block(chat(place.light, None, 4)).0, 200);

    let second = inside(&folder);
    assert!(runs(second));
    assert_eq!(up.stop(), Some(0));
    assert_gone(second, Duration::from_secs(1));
    assert!(calls().lines().any(|line| line.starts_with("stop -t 2 bestbox-light-")), "{}", calls());
}

#[test]
fn what_docker_refuses_is_said_with_what_to_do() {
    let (place, folder) = docker();
    let cases = [
        ("daemon-down", "daemon-down", "docker does not answer: start its daemon"),
        ("image-missing", "image-missing", "docker has no such image; build it (deploy/Dockerfile.llama)"),
        ("refused", "not-started", "docker could not start llama-server"),
        ("no-entry", "not-started", "docker could not start llama-server"),
        ("port-taken", "port-taken", "is taken by another program"),
    ];
    for (mode, kind, words) in cases {
        std::fs::write(folder.join("mode"), mode).expect("written");
        let up = place.up(&UP);
        let state = up.is(place.light, "open");
        assert_eq!(state["last_exit"]["kind"], kind, "{mode}: {}", up.said());
        let said = up.said();
        assert!(said.contains(words), "{mode}: {said}");
    }
    // Slow, and then well.
    std::fs::remove_file(folder.join("image")).ok();
    std::fs::write(folder.join("mode"), "slow").expect("written");
    let up = place.up(&UP);
    up.says("fetching the image");
    up.pid(place.light);
    drop(up);
    let (code, _, err) = place.run(&[
        "up",
        "--tiers",
        "light",
        "--launcher",
        "light=docker",
        "--set",
        "up.light.docker=/nowhere/docker",
    ]);
    assert_eq!(code, Some(4), "{err}");
    assert!(err.contains("/nowhere/docker is not there; install docker"), "{err}");
}
