//! The headless desktop that other tests stand on.

use crate::support::desktop::sound::Plugged;
use crate::support::desktop::sway::Sway;
use crate::support::desktop::{Desktop, wait_until};
use std::time::Duration;

#[test]
fn keys_reach_windows_and_everything_ends_with_the_desktop() {
    let pids = {
        let desktop = Desktop::start();
        let terminal = desktop.xterm("terminal", &[]);
        desktop.xdotool(["type", "dir"]);
        terminal.expect("dir", Duration::from_secs(5));
        let editor = desktop.editor("editor");
        desktop.xdotool(["type", "hello"]);
        editor.expect("hello", Duration::from_secs(5));
        desktop.focus(&terminal);
        desktop.xdotool(["type", "2"]);
        terminal.expect("dir2", Duration::from_secs(5));
        let text = desktop.folder().join("text");
        std::fs::write(&text, "ä 漢字 🦀").unwrap();
        desktop.copy_file(&text, "UTF8_STRING");
        assert_eq!(desktop.clipboard(), "ä 漢字 🦀");
        [terminal.pid(), editor.pid()]
    };
    for pid in pids {
        crate::support::servers::assert_gone(pid, Duration::from_secs(2));
    }
}

#[test]
fn the_default_microphone_hears_what_is_played() {
    let mut desktop = Desktop::with_sound();
    let wav = desktop.folder().join("tone.wav");
    let made = desktop.run("sox", ["-n", "-r", "16000", "-c", "1", "tone.wav", "synth", "1", "sine", "440"]);
    assert!(made.status.success());
    // As cpal records it: ALSA's default device.
    let heard = desktop.folder().join("heard.wav");
    let script = "timeout 10 ffmpeg -v error -y -f alsa -i default -t 2 heard.wav & sleep 0.5; \
                  paplay --device=room tone.wav; wait";
    let ran = desktop.run("sh", ["-c", script]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let samples: Vec<i16> = hound::WavReader::open(&heard).unwrap().samples().map(Result::unwrap).collect();
    assert!(samples.iter().any(|s| s.unsigned_abs() > 5000), "silence");
    desktop.play(&wav);

    let sources = |desktop: &Desktop| String::from_utf8(desktop.run("pactl", ["list", "short", "sources"]).stdout);
    desktop.microphone(Plugged::Out);
    assert!(!sources(&desktop).unwrap().contains("microphone"));
    desktop.microphone(Plugged::In);
    assert!(sources(&desktop).unwrap().contains("microphone"));
}

#[test]
fn sway_takes_keys_and_holds_a_clipboard() {
    let sway = Sway::start("");
    let editor = sway.editor("editor");
    wait_until("typing", || sway.run("wtype", ["hä"]).status.success() && !editor.text().is_empty());
    let terminal = sway.terminal("terminal");
    sway.run("wtype", ["dir"]);
    terminal.expect("dir", Duration::from_secs(5));
    assert_eq!(sway.focused_app().as_deref(), Some("foot"));
}
