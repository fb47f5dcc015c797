//! A headless Wayland compositor (sway on its pixman renderer). sway refuses to run as root, so as root it runs as
//! `nobody`; clients may still be root's.

use super::process::Process;
use super::windows::{Window, editor_args, terminal_args};
use super::{private, wait_until};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// A running compositor with a D-Bus session; dropping it ends both.
pub struct Sway {
    // Ended in this order, clients before servers.
    _keyboard: Process,
    _compositor: Process,
    _bus: Process,
    folder: tempfile::TempDir,
}

impl Sway {
    /// Starts it; `config` is added to sway's configuration (`bindsym`, `input * xkb_layout de`).
    pub fn start(config: &str) -> Sway {
        let folder = tempfile::Builder::new().prefix("bestbox-sway-").tempdir().expect("a folder");
        let run = folder.path().join("run");
        std::fs::create_dir_all(&run).expect("run folder");
        private(&run);
        std::fs::write(folder.path().join("config"), format!("xwayland disable\n{config}\n")).expect("config");
        let root = nix::unistd::geteuid().is_root();
        if root {
            for path in [folder.path(), &run] {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
            }
        }
        let mut command = if root {
            let mut wrapped = Command::new("setpriv");
            wrapped.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()]);
            wrapped.arg("sway");
            wrapped
        } else {
            Command::new("sway")
        };
        command.arg("-c").arg(folder.path().join("config")).current_dir(folder.path());
        command.env_remove("WAYLAND_DISPLAY").env_remove("DISPLAY").env_remove("SWAYSOCK");
        command.env("HOME", folder.path()).env("XDG_RUNTIME_DIR", &run);
        command.envs([("WLR_BACKENDS", "headless"), ("WLR_RENDERER", "pixman"), ("WLR_LIBINPUT_NO_DEVICES", "1")]);
        let compositor = Process::start(&mut command, folder.path().join("sway.log"));
        let bus_path = run.join("bus");
        let bus = Process::start(
            Command::new("dbus-daemon")
                .args(["--session", "--nofork", "--nopidfile"])
                .arg(format!("--address=unix:path={}", bus_path.display())),
            folder.path().join("dbus.log"),
        );
        let mut sway = Sway { _keyboard: Process::none(), _compositor: compositor, _bus: bus, folder };
        wait_until("sway", || sway.socket().is_some() && run.join("wayland-1").exists() && bus_path.exists());
        // A seat as people have it: with a keyboard. Programs do not listen to the keys of a seat without.
        let mut keyboard = sway.command("wtype");
        sway._keyboard = Process::start(keyboard.args(["-s", "3600000"]), sway.folder.path().join("keyboard.log"));
        wait_until("the keyboard", || {
            let inputs = sway.run("swaymsg", ["-t", "get_inputs", "-r"]);
            String::from_utf8_lossy(&inputs.stdout).contains("\"keyboard\"")
        });
        sway
    }

    fn socket(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join("run")).ok()?;
        entries.filter_map(Result::ok).map(|e| e.path()).find(|p| p.display().to_string().contains("sway-ipc"))
    }

    /// Private folder; gone with the compositor.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A program on this desktop, in its private folder.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let (folder, run) = (self.folder.path(), self.folder.path().join("run"));
        let mut command = Command::new(program);
        command.current_dir(folder).env_remove("DISPLAY").env("HOME", folder).env("XDG_RUNTIME_DIR", &run);
        command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", run.join("bus").display()));
        command.env("SWAYSOCK", self.socket().expect("sway runs"));
        command.env("BESTBOX_CACHE", super::super::llama::cache());
        command.env("XDG_CONFIG_HOME", folder.join("config-home"));
        command.envs([("WAYLAND_DISPLAY", "wayland-1"), ("XDG_SESSION_TYPE", "wayland"), ("LC_ALL", "C.UTF-8")]);
        command.envs([("XDG_CURRENT_DESKTOP", "sway"), ("GDK_BACKEND", "wayland"), ("NO_AT_BRIDGE", "1")]);
        command
    }

    /// bestbox on this desktop.
    pub fn bestbox<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_bestbox"));
        command.args(args);
        command
    }

    /// Runs a program to its end (at most 20 s).
    pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, program: &str, args: I) -> Output {
        let mut command = self.command("timeout");
        command.args(["20", program]).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"))
    }

    /// Text of the clipboard; empty when there is none.
    pub fn clipboard(&self) -> String {
        String::from_utf8_lossy(&self.run("wl-paste", ["--no-newline"]).stdout).into_owned()
    }

    /// A GTK editor; the newest window has the keyboard focus. Its application id is `title`.
    #[track_caller]
    pub fn editor(&self, title: &str) -> Window {
        let (path, ready) = self.files(title);
        let mut command = self.command("/usr/bin/python3");
        command.args(editor_args(&path, title, &ready));
        self.focused(title, Window::open(command, path, &ready))
    }

    /// A foot terminal. Its application id is `foot`.
    #[track_caller]
    pub fn terminal(&self, title: &str) -> Window {
        let (path, ready) = self.files(title);
        let mut command = self.command("foot");
        command.args(["--config=/dev/null", "--title", title]).args(terminal_args(&path, &ready));
        self.focused("foot", Window::open(command, path, &ready))
    }

    fn files(&self, title: &str) -> (PathBuf, PathBuf) {
        (self.folder().join(format!("{title}.txt")), self.folder().join(format!("{title}.ready")))
    }

    #[track_caller]
    fn focused(&self, id: &str, window: Window) -> Window {
        wait_until("the focus", || self.focused_app().as_deref() == Some(id));
        window
    }

    /// Application id of the focused window.
    pub fn focused_app(&self) -> Option<String> {
        fn find(node: &serde_json::Value) -> Option<String> {
            if node["focused"] == true {
                return node["app_id"].as_str().map(str::to_owned);
            }
            let children = ["nodes", "floating_nodes"].into_iter().filter_map(|key| node[key].as_array()).flatten();
            children.into_iter().find_map(find)
        }
        let tree = self.run("swaymsg", ["-t", "get_tree", "-r"]);
        find(&serde_json::from_slice(&tree.stdout).ok()?)
    }
}
