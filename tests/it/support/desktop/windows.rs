//! Windows that receive text: a terminal and a GTK editor, each writing what it holds to a file.

use super::process::Process;
use super::{Desktop, wait_until};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A text view that writes its content to the file given after every change; Ctrl+Return closes nothing, it is text.
const EDITOR: &str = r#"
import gi, os, sys
gi.require_version("Gtk", "3.0")
from gi.repository import Gtk, GLib
path, title, ready = sys.argv[1], sys.argv[2], sys.argv[3]
GLib.set_prgname(title)
window = Gtk.Window(title=title)
window.set_default_size(500, 200)
view = Gtk.TextView()
window.add(view)
buffer = view.get_buffer()
def write(*_):
    text = buffer.get_text(*buffer.get_bounds(), True)
    with open(path + ".new", "w", encoding="utf-8") as out:
        out.write(text)
    os.rename(path + ".new", path)
buffer.connect("changed", write)
window.connect("destroy", Gtk.main_quit)
window.connect("map-event", lambda *_: open(ready, "w").close())
window.show_all()
view.grab_focus()
Gtk.main()
"#;

/// Sets the terminal raw, so that every byte arrives as it was sent, and copies its input to a file.
const TERMINAL: &str = "stty raw -echo; : > \"$2\"; exec cat > \"$1\"";

/// A window and the file of what it received.
pub struct Window {
    /// X window id, decimal; empty on Wayland.
    pub id: String,
    /// Where the text is.
    pub path: PathBuf,
    process: Process,
}

impl Window {
    /// Process id of the program.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What the window has received so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.path).unwrap_or_default()).into_owned()
    }

    /// Waits up to `limit` until the window holds exactly `expected`.
    #[track_caller]
    pub fn expect(&self, expected: &str, limit: Duration) {
        let start = Instant::now();
        while self.text() != expected {
            assert!(start.elapsed() < limit, "expected {expected:?} after {limit:?}, there is {:?}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A window of a program that is ready when `ready` exists.
    pub(super) fn open(mut command: Command, path: PathBuf, ready: &Path) -> Window {
        let log = path.with_extension("log");
        let process = Process::start(&mut command, log.clone());
        wait_until("the window", || ready.exists());
        Window { id: String::new(), path, process }
    }
}

/// The command line of the editor, without the program of a wrapper.
pub(super) fn editor_args(path: &Path, title: &str, ready: &Path) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    vec!["-c".into(), EDITOR.into(), text(path), title.into(), text(ready)]
}

/// The shell command line of the terminal.
pub(super) fn terminal_args(path: &Path, ready: &Path) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    vec!["sh".into(), "-c".into(), TERMINAL.into(), "sh".into(), text(path), text(ready)]
}

impl Desktop {
    /// A GTK editor with the keyboard focus. Its window class is `title`.
    #[track_caller]
    pub fn editor(&self, title: &str) -> Window {
        let (path, ready) = (self.folder().join(format!("{title}.txt")), self.folder().join(format!("{title}.ready")));
        // The system's Python has GTK; another one first in PATH has not.
        let mut command = self.command("/usr/bin/python3");
        command.args(editor_args(&path, title, &ready));
        self.activate(Window::open(command, path, &ready))
    }

    /// An xterm with the keyboard focus; further arguments go to xterm.
    #[track_caller]
    pub fn xterm(&self, title: &str, args: &[&str]) -> Window {
        let (path, ready) = (self.folder().join(format!("{title}.txt")), self.folder().join(format!("{title}.ready")));
        let mut command = self.command("xterm");
        command.args(["-u8", "-T", title]).args(args).arg("-e").args(terminal_args(&path, &ready));
        self.activate(Window::open(command, path, &ready))
    }

    #[track_caller]
    fn activate(&self, mut window: Window) -> Window {
        let title = window.path.file_stem().expect("a title").display().to_string();
        let found = self.xdotool(["search", "--sync", "--onlyvisible", "--name", &format!("^{title}$")]);
        window.id = found.lines().last().expect("a window").to_owned();
        self.focus(&window);
        window
    }

    /// Gives the keyboard focus to a window.
    #[track_caller]
    pub fn focus(&self, window: &Window) {
        self.xdotool(["windowactivate", "--sync", &window.id]);
        // Between two windows none is active for a moment, which xdotool calls a failure.
        let active = || String::from_utf8_lossy(&self.run("xdotool", ["getactivewindow"]).stdout).trim().to_owned();
        wait_until("the focus", || active() == window.id);
    }
}
