//! Text into real windows on X11: every script, every layout, and the clipboard as it was.

use crate::support::desktop::windows::Window;
use crate::support::desktop::{Desktop, wait_until};
use crate::support::llama::alone;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Longest wait for a text on a busy machine.
const SOON: Duration = Duration::from_secs(10);
/// Umlauts, sharp s, Cyrillic, Chinese, emoji of two code points, and what needs Shift or AltGr.
const TEXT: &str = "Grüße ёЖя 漢字 🦀👍🏽 €5 @[x]{y}~\\|'\"^`";

/// `bestbox insert --json ARGS…`: what it reports.
#[track_caller]
fn insert(desktop: &Desktop, args: &[&str]) -> Value {
    let ran = run(desktop.bestbox(["insert", "--json"]).args(args));
    assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

/// Runs it, at most 60 s.
fn run(command: &mut Command) -> Output {
    // By its path: one test has none.
    let mut limited = Command::new("/usr/bin/timeout");
    limited.arg("60").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.current_dir(command.get_current_dir().expect("a folder")).output().expect("bestbox")
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal).expect("a process");
}

/// Some bytes that nothing would make up, as large as a screenshot.
fn picture(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..bytes).map(|_| random.u8(..)).collect()
}

#[track_caller]
fn copy_text(desktop: &Desktop, text: &str) {
    let file = desktop.folder().join("to-copy");
    std::fs::write(&file, text).expect("a file");
    desktop.copy_file(&file, "UTF8_STRING");
}

/// A program that owns the clipboard, stopped or killed by its id; survives those who ask and go away.
struct TextOwner(std::process::Child);

impl TextOwner {
    #[track_caller]
    fn start(desktop: &Desktop, text: &str) -> TextOwner {
        const OWNER: &str = "
import gi, sys
gi.require_version('Gtk', '3.0')
from gi.repository import Gtk, Gdk, GLib
Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD).set_text(sys.argv[1], -1)
GLib.timeout_add_seconds(60, Gtk.main_quit)
Gtk.main()
";
        let owner = desktop.command("/usr/bin/python3").args(["-c", OWNER, text]).spawn().expect("python3");
        wait_until("the clipboard", || desktop.clipboard() == text);
        TextOwner(owner)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for TextOwner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn any_script_under_any_layout_pasted_and_typed() {
    let _alone = alone();
    let desktop = Desktop::start();
    let (editor, terminal) = (desktop.editor("editor"), desktop.xterm("terminal", &[]));
    let mut expected = [String::new(), String::new()];
    for layout in ["us", "de", "ru", "us,ru", "fr"] {
        desktop.layout(layout);
        for method in ["paste", "type"] {
            for (index, window) in [&editor, &terminal].into_iter().enumerate() {
                desktop.focus(window);
                let report = insert(&desktop, &["--method", method, TEXT]);
                assert_eq!(report["how"], if method == "paste" { "pasted" } else { "typed" }, "{layout} {report}");
                expected[index].push_str(TEXT);
                window.expect(&expected[index], SOON);
            }
        }
    }
    // The keyboard is as it was: no borrowed key is left over.
    let map = String::from_utf8(desktop.run("xmodmap", ["-pke"]).stdout).unwrap_or_default();
    assert!(!map.contains("U6F22") && !map.contains("U1F980"), "{map}");
}

#[test]
fn more_characters_than_free_keys() {
    let _alone = alone();
    let desktop = Desktop::start();
    let editor = desktop.editor("editor");
    let text: String = ('一'..).take(300).chain('а'..='я').chain("end".chars()).collect();
    insert(&desktop, &["--method", "type", &text]);
    editor.expect(&text, SOON);
}

#[test]
fn the_second_layout_group_and_caps_lock_do_not_matter() {
    let _alone = alone();
    let desktop = Desktop::start();
    desktop.run("setxkbmap", ["-layout", "us,ru", "-option", "grp:rctrl_toggle"]);
    let editor = desktop.editor("editor");
    desktop.xdotool(["key", "Control_R"]);
    desktop.xdotool(["key", "Caps_Lock"]);
    insert(&desktop, &["--method", "paste", "Hello "]);
    editor.expect("Hello ", SOON);
    insert(&desktop, &["--method", "type", "World Ёж"]);
    editor.expect("Hello World Ёж", SOON);
    // Caps Lock is still on.
    assert!(String::from_utf8_lossy(&desktop.run("xset", ["q"]).stdout).contains("Caps Lock:   on"));
}

#[test]
fn keys_that_are_still_held_do_not_spoil_it() {
    let _alone = alone();
    let desktop = Desktop::start();
    let editor = desktop.editor("editor");
    let mut expected = String::new();
    for key in ["Control_L", "Alt_L", "Super_L", "Shift_L"] {
        for method in ["paste", "type"] {
            desktop.xdotool(["keydown", key]);
            insert(&desktop, &["--method", method, "Held Down "]);
            desktop.xdotool(["keyup", key]);
            expected.push_str("Held Down ");
            editor.expect(&expected, SOON);
        }
    }
}

#[test]
fn a_clipboard_with_an_image_comes_back_whole() {
    let _alone = alone();
    let desktop = Desktop::start();
    let editor = desktop.editor("editor");
    let file = desktop.folder().join("picture.png");
    // Larger than one transfer, and not a multiple of its size.
    let bytes = picture(1_300_001);
    std::fs::write(&file, &bytes).unwrap();
    desktop.copy_file(&file, "image/png");
    let targets = desktop.clipboard_as("TARGETS");
    for round in 1..=3 {
        let report = insert(&desktop, &["text "]);
        assert_eq!(report["how"], "pasted", "{report}");
        editor.expect(&"text ".repeat(round), SOON);
        assert_eq!(desktop.clipboard_as("TARGETS"), targets);
        assert!(desktop.clipboard_as("image/png") == bytes, "another image");
    }
}

#[test]
fn every_type_of_a_rich_clipboard_comes_back() {
    let _alone = alone();
    let desktop = Desktop::start();
    // A program that copies an image offers it in a dozen formats.
    const OWNER: &str = "
import gi
gi.require_version('Gtk', '3.0')
from gi.repository import Gtk, Gdk, GdkPixbuf, GLib
pixbuf = GdkPixbuf.Pixbuf.new(GdkPixbuf.Colorspace.RGB, True, 8, 300, 200)
pixbuf.fill(0x1177ffff)
Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD).set_image(pixbuf)
GLib.timeout_add_seconds(60, Gtk.main_quit)
Gtk.main()
";
    let mut owner = desktop.command("/usr/bin/python3").args(["-c", OWNER]).spawn().unwrap();
    let targets = || String::from_utf8(desktop.clipboard_as("TARGETS")).unwrap();
    wait_until("the image", || targets().contains("image/png"));
    let before = targets();
    let data = |target: &str| desktop.clipboard_as(target);
    let kinds: Vec<&str> = before.lines().filter(|target| target.contains('/')).collect();
    assert!(kinds.len() > 3, "{before}");
    let contents: Vec<_> = kinds.iter().map(|kind| data(kind)).collect();
    let editor = desktop.editor("editor");
    insert(&desktop, &["hello"]);
    editor.expect("hello", SOON);
    // Its owner is no longer needed.
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_eq!(targets(), before);
    for (kind, content) in kinds.iter().zip(contents) {
        assert!(data(kind) == content, "{kind} is another");
    }
}

#[test]
fn an_empty_clipboard_is_empty_again() {
    let _alone = alone();
    let desktop = Desktop::start();
    let editor = desktop.editor("editor");
    insert(&desktop, &["hello"]);
    editor.expect("hello", SOON);
    assert_eq!(desktop.clipboard_as("TARGETS"), b"");
}

#[test]
fn a_slow_window_still_gets_the_text_and_only_then_the_clipboard_comes_back() {
    let _alone = alone();
    let desktop = Desktop::start();
    let editor = desktop.editor("editor");
    copy_text(&desktop, "what was copied");
    // Within the time limit.
    signal(editor.pid(), Signal::SIGSTOP);
    std::thread::scope(|scope| {
        let report = scope.spawn(|| insert(&desktop, &["one "]));
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(desktop.clipboard(), "one ", "restored before it was read");
        signal(editor.pid(), Signal::SIGCONT);
        assert_eq!(report.join().unwrap()["how"], "pasted");
    });
    editor.expect("one ", SOON);
    assert_eq!(desktop.clipboard(), "what was copied");
    // Beyond it: the text waits in the clipboard, and the clipboard comes back once it was read.
    signal(editor.pid(), Signal::SIGSTOP);
    let report = insert(&desktop, &["two"]);
    assert_eq!((&report["how"], &report["because"]["reason"]), (&"clipboard".into(), &"not_read".into()));
    assert_eq!(desktop.clipboard(), "two");
    signal(editor.pid(), Signal::SIGCONT);
    editor.expect("one two", SOON);
    wait_until("the clipboard", || desktop.clipboard() == "what was copied");
}

#[test]
fn what_is_copied_meanwhile_stays() {
    let _alone = alone();
    let desktop = Desktop::start();
    let editor = desktop.editor("editor");
    copy_text(&desktop, "old");
    signal(editor.pid(), Signal::SIGSTOP);
    std::thread::scope(|scope| {
        let inserting = scope.spawn(|| insert(&desktop, &["dictated"]));
        wait_until("the text", || desktop.clipboard() == "dictated");
        copy_text(&desktop, "new");
        signal(editor.pid(), Signal::SIGCONT);
        inserting.join().unwrap();
    });
    wait_until("the text", || editor.text().contains("dictated"));
    assert_eq!(desktop.clipboard(), "new");
}

#[test]
fn an_owner_that_hangs_keeps_its_clipboard_and_the_text_is_typed() {
    let _alone = alone();
    let desktop = Desktop::start();
    let editor = desktop.editor("editor");
    let owner = TextOwner::start(&desktop, "precious");
    signal(owner.pid(), Signal::SIGSTOP);
    let report = insert(&desktop, &["hello"]);
    signal(owner.pid(), Signal::SIGCONT);
    assert_eq!(report["how"], "typed", "{report}");
    editor.expect("hello", SOON);
    assert_eq!(desktop.clipboard(), "precious");
}

#[test]
fn an_owner_that_dies_takes_its_clipboard_along_and_nothing_else() {
    let _alone = alone();
    let desktop = Desktop::start();
    let editor = desktop.editor("editor");
    let owner = TextOwner::start(&desktop, "gone");
    signal(owner.pid(), Signal::SIGSTOP);
    std::thread::scope(|scope| {
        let report = scope.spawn(|| insert(&desktop, &["hello"]));
        std::thread::sleep(Duration::from_millis(500));
        signal(owner.pid(), Signal::SIGKILL);
        assert_eq!(report.join().unwrap()["how"], "pasted");
    });
    editor.expect("hello", SOON);
    assert_eq!(desktop.clipboard(), "");
}

#[test]
fn another_window_gets_nothing() {
    let _alone = alone();
    let desktop = Desktop::start();
    let (editor, other) = (desktop.editor("editor"), desktop.editor("other"));
    let report = insert(&desktop, &["--window", &editor.id, "for the editor"]);
    assert_eq!((&report["how"], &report["because"]["reason"]), (&"clipboard".into(), &"focus_changed".into()));
    assert_eq!(desktop.clipboard(), "for the editor");
    assert_eq!((editor.text(), other.text()), (String::new(), String::new()));
    // The right window.
    insert(&desktop, &["--window", &other.id, "for this"]);
    other.expect("for this", SOON);
}

#[test]
fn each_tool_is_tried_until_one_works() {
    let _alone = alone();
    let desktop = Desktop::start();
    let editor = desktop.editor("editor");
    // ydotool has no daemon here.
    let report = insert(&desktop, &["--tool", "ydotool", "--tool", "xdotool", "ä 漢 "]);
    assert_eq!((&report["how"], &report["tool"]), (&"pasted".into(), &"xdotool".into()));
    assert!(report["failed"][0]["what"].as_str().unwrap().contains("ydotool"), "{report}");
    editor.expect("ä 漢 ", SOON);
    let report = insert(&desktop, &["--method", "type", "--tool", "xdotool", "typed ü"]);
    assert_eq!(report["how"], "typed");
    editor.expect("ä 漢 typed ü", SOON);
}

#[test]
fn without_any_tool_the_text_is_in_the_clipboard_and_the_error_says_what_to_install() {
    let _alone = alone();
    let desktop = Desktop::start();
    let editor = desktop.editor("editor");
    let started = Instant::now();
    let ran = run(desktop.bestbox(["insert", "--tool", "xdotool", "left over"]).env("PATH", "/nonexistent"));
    assert_eq!(ran.status.code(), Some(5));
    let said = String::from_utf8_lossy(&ran.stderr);
    for part in ["the text is in the clipboard", "xdotool is not installed", "install xdotool"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(desktop.clipboard(), "left over");
    assert_eq!(editor.text(), "");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn line_breaks_spaces_and_enter() {
    let _alone = alone();
    let desktop = Desktop::start();
    let editor = desktop.editor("editor");
    insert(&desktop, &["--trailing-space", "--submit", "one\ntwo"]);
    editor.expect("one\ntwo \n", SOON);
    let rule = "dictate.insert.rule=[{application=\"editor\", newlines=\"shift-enter\"}]";
    for method in ["paste", "type"] {
        let ran = run(&mut desktop.bestbox(["--set", rule, "insert", "--json", "--method", method, "a\nb"]));
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    editor.expect("one\ntwo \na\nba\nb", SOON);
    // In a terminal a line break would run the line; Enter is only pressed when asked for.
    let terminal = desktop.xterm("terminal", &[]);
    insert(&desktop, &["echo 1\necho 2\u{1b}[A"]);
    terminal.expect("echo 1 echo 2[A", SOON);
    insert(&desktop, &["--submit", "!"]);
    terminal.expect("echo 1 echo 2[A!\r", SOON);
}

#[test]
fn terminals_get_their_own_shortcut() {
    let _alone = alone();
    let desktop = Desktop::start();
    // An xterm that pastes the clipboard with Ctrl+Shift+V only, as other terminals do, under such a terminal's name.
    let translations = "*VT100.translations: #override Ctrl Shift <Key>V: insert-selection(CLIPBOARD)\\n\
                        Shift <Key>Insert: string(wrong)\\n ~Shift Ctrl <Key>V: string(wrong)";
    let terminal = desktop.xterm("terminal", &["-class", "Alacritty", "-xrm", translations]);
    copy_text(&desktop, "before");
    insert(&desktop, &["ls ä"]);
    terminal.expect("ls ä", SOON);
    assert_eq!(desktop.clipboard(), "before");
    // xterm as it comes pastes the primary selection, and as many set it up the clipboard: both come back.
    for (title, args) in [("plain", [].as_slice()), ("clip", &["-xrm", "*selectToClipboard: true"])] {
        let primary = desktop.folder().join("primary");
        std::fs::write(&primary, "selected").unwrap();
        let window: Window = desktop.xterm(title, args);
        desktop.run("sh", ["-c", "xclip -selection primary -i primary >/dev/null 2>&1"]);
        insert(&desktop, &["pwd"]);
        window.expect("pwd", SOON);
        assert_eq!(desktop.clipboard(), "before");
        let selected = desktop.run("xclip", ["-selection", "primary", "-o"]).stdout;
        assert_eq!(String::from_utf8_lossy(&selected), "selected", "{title}");
    }
}
