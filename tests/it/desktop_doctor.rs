//! `bestbox doctor` on a desktop: microphone, keys, windows, and the test of all of them together.

use crate::support::cli::sample;
use crate::support::desktop::Desktop;
use crate::support::desktop::sound::Plugged;
use crate::support::desktop::sway::Sway;
use crate::support::llama::alone;
use std::process::Command;
use std::time::{Duration, Instant};

/// What it prints. Its exit code also depends on things that are not of the desktop.
fn doctor(desktop: &Desktop, args: &[&str]) -> String {
    let mut command: Command = desktop.command("timeout");
    command.args(["100", env!("CARGO_BIN_EXE_bestbox"), "doctor", "--profile", "tiny"]).args(args);
    String::from_utf8(command.output().expect("bestbox").stdout).expect("UTF-8")
}

#[track_caller]
fn has(said: &str, line: &str) {
    assert!(said.lines().any(|found| found.starts_with(line)), "{line} in\n{said}");
}

#[test]
fn the_self_test_records_recognises_and_types_into_its_own_window() {
    let _alone = alone();
    let mut desktop = Desktop::with_sound();
    let speech = sample("requests/quick-hours.wav");
    let said = std::thread::scope(|scope| {
        let heard = scope.spawn(|| doctor(&desktop, &["--self-test"]));
        // It speaks until it has been heard.
        while !heard.is_finished() {
            desktop.play(&speech);
        }
        heard.join().expect("doctor")
    });
    has(&said, "ok     microphone: ");
    has(&said, "ok     hotkeys: ");
    has(&said, "ok     insertion: X11");
    has(&said, "ok     recording: 2 s from ");
    has(&said, "ok     recognition: \"");
    has(&said, "ok     pasting: arrives");
    has(&said, "ok     typing: arrives");
    // A microphone that is gone, and one that gives nothing.
    let said = doctor(&desktop, &["--self-test"]);
    has(&said, "WRONG  recording: 2 s from ");
    assert!(said.contains("silence"), "{said}");
    desktop.microphone(Plugged::Out);
    let said = doctor(&desktop, &["--set", "dictate.microphone=no such thing"]);
    has(&said, "WRONG  microphone: dictate.microphone 'no such thing' is not there");
}

#[test]
fn keys_that_cannot_be_had_come_with_what_to_do() {
    let desktop = Desktop::start();
    let said = doctor(&desktop, &["--set", "dictate.hotkey.backend=portal"]);
    has(&said, "note   hotkeys: the desktop has no GlobalShortcuts portal");
    let mut command = desktop.command("timeout");
    command.args(["100", env!("CARGO_BIN_EXE_bestbox"), "doctor", "--profile", "tiny"]);
    command.env_remove("DISPLAY").env("XDG_CURRENT_DESKTOP", "sway");
    let said = String::from_utf8(command.output().expect("bestbox").stdout).expect("UTF-8");
    has(&said, "note   hotkeys: nobody tells of keys here");
    has(&said, "## sway");
    assert!(said.contains("bindsym") && said.contains("ctl press"), "{said}");
}

#[test]
fn on_wayland_the_self_test_types_into_its_own_terminal() {
    let _alone = alone();
    let sway = Sway::start("");
    let (said, ended) = (sway.folder().join("said"), sway.folder().join("ended"));
    let bestbox = env!("CARGO_BIN_EXE_bestbox");
    let line = format!(
        "timeout --foreground 60 '{bestbox}' doctor --self-test --profile tiny > '{}' 2>/dev/null; : > '{}'",
        said.display(),
        ended.display()
    );
    let mut terminal = sway.command("foot");
    terminal.args(["--config=/dev/null", "--log-level=none", "sh", "-c", &line]);
    let mut terminal = terminal.spawn().expect("foot");
    let begun = Instant::now();
    while !ended.exists() && begun.elapsed() < Duration::from_secs(70) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = terminal.kill();
    terminal.wait().expect("foot");
    let said = std::fs::read_to_string(said).expect("what it said");
    has(&said, "ok     pasting: arrives");
    has(&said, "ok     typing: arrives");
}
