//! The memory plan against what real servers take.

use crate::support::llama::{alone, free_port, model, program};
use crate::support::up::place;
use bestbox::models::gguf::{self, CacheType};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn the_estimate_is_what_llama_server_logs() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = model("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf");
    let header = gguf::read(&path).expect("a header");
    assert_eq!((header.layers, header.key_length, header.vocabulary), (24, 64, 151_936));
    assert!(header.weights.abs_diff(path.metadata().expect("meta").len()) < 8 << 20, "{header:?}");
    for (extra, kind) in [(&[][..], CacheType::F16), (&["-ctk", "q8_0", "-ctv", "q8_0"][..], CacheType::Q8_0)] {
        let log = folder.path().join("log");
        let port = free_port().to_string();
        let mut child = Command::new(program())
            .arg("-m")
            .arg(&path)
            .args([
                "--port",
                &port,
                "-c",
                "6000",
                "-np",
                "2",
                "-ngl",
                "0",
                "-t",
                "2",
                "-lv",
                "4",
                "--cache-ram",
                "0",
                "--offline",
            ])
            .args(extra)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a file"))
            .spawn()
            .expect("llama-server starts");
        let begun = Instant::now();
        let said = loop {
            let said = std::fs::read_to_string(&log).expect("a log");
            if said.contains("compute buffer size =") || begun.elapsed() > Duration::from_secs(60) {
                break said;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let anonymous = {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
            line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
        };
        child.kill().expect("killed");
        child.wait().expect("reaped");
        let logged = |what: &str| {
            let line = said.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what} in {said}"));
            let number = line.split('=').next_back().and_then(|rest| rest.trim().strip_suffix("MiB")).expect("MiB");
            number.trim().parse::<f64>().expect("a number")
        };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        // To the byte: 3000 tokens a slot are rounded up to 3072 cells.
        let cache = 2 * header.cache_bytes(3000, kind, kind);
        assert!((mib(cache) - logged("KV buffer size =")).abs() < 0.01, "{} {said}", mib(cache));
        let (estimated, real) = (mib(header.compute_bytes(6000)), logged("compute buffer size ="));
        assert!((real..2.0 * real).contains(&estimated), "{estimated} {real}");
        // An upper bound of what cannot be dropped, and not twice of it.
        let all = header.weights / 10 * 11 + cache + header.compute_bytes(6000) + (100 << 20);
        eprintln!("estimate {:.0} MiB, anonymous {:.0} MiB, KV {:.1} MiB", mib(all), mib(anonymous), mib(cache));
        assert!(anonymous <= all && all < 3 * anonymous, "{} {}", mib(all), mib(anonymous));
    }
}

#[test]
fn the_plan_is_shown_and_what_does_not_fit_is_refused_with_what_would() {
    let place = place();
    let (code, out, err) = place.run(&["up", "--dry-run"]);
    assert_eq!(code, Some(0), "{err}");
    for part in ["tier", "KV cache", "light", "heavy", "SmolLM2-135M-Instruct", "3 x 2048", "native", "fits", "free of"]
    {
        assert!(out.contains(part), "{part} in {out}");
    }
    let huge = ["--set", "heavy.context=4000000", "--set", "heavy.parallel=8"];
    let (code, out, err) = place.run(&[&["up", "--dry-run"], &huge[..]].concat());
    assert_eq!(code, Some(4), "{out} {err}");
    assert!(out.contains("DOES NOT FIT"), "{out}");
    assert!(
        err.contains("the heavy server needs") && err.contains("heavy.context=") && err.contains("tiers=light-only"),
        "{err}"
    );
    let (code, _, err) = place.run(&[&["up"], &huge[..]].concat());
    assert_eq!(code, Some(4), "{err}");
    assert!(err.contains("--force"), "{err}");
}
