//! Text into real windows on Wayland (sway).

use crate::support::desktop::sway::Sway;
use crate::support::desktop::wait_until;
use crate::support::desktop::windows::Window;
use crate::support::llama::alone;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const TEXT: &str = "Grüße ёЖя 漢字 🦀👍🏽 €5 @[x]{y}~\\|'\"^`";

#[track_caller]
fn insert(sway: &Sway, args: &[&str]) -> Value {
    let ran = sway.bestbox(["insert", "--json"]).args(args).output().expect("bestbox");
    assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal).expect("a process");
}

/// wl-copy leaves a process behind that serves the clipboard: no pipes.
fn copy(sway: &Sway, kind: &str, file: &str) {
    let script = format!("wl-copy --type {kind} < {file} >/dev/null 2>&1");
    assert!(sway.run("sh", ["-c", &script]).status.success());
}

#[test]
fn any_script_pasted_and_typed_whatever_the_layout() {
    let _alone = alone();
    let sway = Sway::start("input * xkb_layout ru");
    let editor = sway.editor("editor");
    let mut expected = String::new();
    for method in ["paste", "type"] {
        let report = insert(&sway, &["--method", method, TEXT]);
        assert_eq!(report["tool"], "native", "{report}");
        expected.push_str(TEXT);
        editor.expect(&expected, SOON);
    }
    // A terminal is told by its application id, and pastes with Ctrl+Shift+V.
    let terminal = sway.terminal("terminal");
    for method in ["paste", "type"] {
        insert(&sway, &["--method", method, TEXT]);
    }
    terminal.expect(&TEXT.repeat(2), SOON);
    // More characters than one keymap holds.
    let many: String = ('一'..).take(200).collect();
    insert(&sway, &["--method", "type", &many]);
    terminal.expect(&(TEXT.repeat(2) + &many), SOON);
}

#[test]
fn wtype_in_place_of_the_virtual_keyboard() {
    let _alone = alone();
    let sway = Sway::start("");
    let editor = sway.editor("editor");
    let report = insert(&sway, &["--tool", "ydotool", "--tool", "wtype", "ä漢 "]);
    assert_eq!((&report["how"], &report["tool"]), (&"typed".into(), &"wtype".into()), "{report}");
    editor.expect("ä漢 ", SOON);
    let terminal = sway.terminal("terminal");
    let report = insert(&sway, &["--method", "paste", "--tool", "wtype", "ё🦀"]);
    assert_eq!(report["how"], "pasted", "{report}");
    terminal.expect("ё🦀", SOON);
}

#[test]
fn a_clipboard_with_an_image_comes_back_whole() {
    let _alone = alone();
    let sway = Sway::start("");
    let editor = sway.editor("editor");
    let bytes: Vec<u8> = (0..1_300_001_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    std::fs::write(sway.folder().join("picture"), &bytes).unwrap();
    copy(&sway, "image/png", "picture");
    let types = || String::from_utf8(sway.run("wl-paste", ["--list-types"]).stdout).unwrap();
    let before = types();
    for round in 1..=2 {
        assert_eq!(insert(&sway, &["text "])["how"], "pasted");
        editor.expect(&"text ".repeat(round), SOON);
        assert_eq!(types(), before);
        assert!(sway.run("wl-paste", ["--type", "image/png"]).stdout == bytes, "another image");
    }
}

/// Inserts "one" into a window that does nothing for the next 1.5 s.
fn insert_while_it_sleeps(sway: &Sway, editor: &Window) {
    signal(editor.pid(), Signal::SIGSTOP);
    std::thread::scope(|scope| {
        let report = scope.spawn(|| insert(sway, &["one"]));
        std::thread::sleep(Duration::from_millis(1500));
        signal(editor.pid(), Signal::SIGCONT);
        assert_eq!(report.join().unwrap()["how"], "pasted");
    });
}

#[test]
fn a_slow_window_still_gets_the_text_and_only_then_the_clipboard_comes_back() {
    let _alone = alone();
    let sway = Sway::start("");
    let editor = sway.editor("editor");
    std::fs::write(sway.folder().join("text"), "what was copied").unwrap();
    copy(&sway, "text/plain", "text");
    insert_while_it_sleeps(&sway, &editor);
    editor.expect("one", SOON);
    wait_until("the clipboard", || sway.clipboard() == "what was copied");
}

#[test]
fn a_clipboard_manager_that_reads_everything_is_not_taken_for_the_window() {
    let _alone = alone();
    let sway = Sway::start("");
    let editor = sway.editor("editor");
    std::fs::write(sway.folder().join("text"), "what was copied").unwrap();
    copy(&sway, "text/plain", "text");
    let mut manager = sway.command("wl-paste").args(["--watch", "cat"]).stdout(std::process::Stdio::null()).spawn();
    std::thread::sleep(Duration::from_millis(300));
    insert_while_it_sleeps(&sway, &editor);
    let manager = manager.as_mut().unwrap();
    manager.kill().unwrap();
    manager.wait().unwrap();
    editor.expect("one", SOON);
    wait_until("the clipboard", || sway.clipboard() == "what was copied");
}

#[test]
fn another_window_gets_nothing() {
    let _alone = alone();
    let sway = Sway::start("");
    let editor = sway.editor("editor");
    let shown = sway.bestbox(["insert", "--focus"]).output().unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["target"]["application"], "editor");
    let report = insert(&sway, &["--window", "4711", "for another"]);
    assert_eq!((&report["how"], &report["because"]["reason"]), (&"clipboard".into(), &"focus_changed".into()));
    assert_eq!(sway.clipboard(), "for another");
    assert_eq!(editor.text(), "");
}
