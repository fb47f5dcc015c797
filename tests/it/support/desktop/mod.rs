//! A headless desktop for tests: an X server, a window manager, a private D-Bus session and, on request, PulseAudio
//! with a microphone into which recordings are played. [`sway::Sway`] is the same on Wayland.
//!
//! Every process belongs to the [`Desktop`] that started it and ends with it, by process id. Works as root and in a
//! container: nothing here needs a GPU, a seat, systemd or a sound card.

mod process;
pub mod sound;
pub mod sway;
pub mod windows;

use process::Process;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A running desktop; dropping it ends everything on it.
pub struct Desktop {
    /// `:N`.
    pub display: String,
    // Ended in this order, clients before servers.
    sound: Option<sound::Sound>,
    _manager: Process,
    _bus: Process,
    _server: Process,
    folder: tempfile::TempDir,
}

impl Desktop {
    /// X server (1280x800, US keyboard), openbox, D-Bus session. Takes about half a second.
    pub fn start() -> Desktop {
        let folder = tempfile::Builder::new().prefix("bestbox-desktop-").tempdir().expect("a folder");
        let run = folder.path().join("run");
        std::fs::create_dir_all(&run).expect("run folder");
        private(&run);
        let bus_address = format!("unix:path={}", run.join("bus").display());
        let bus = Process::start(
            Command::new("dbus-daemon").args(["--session", "--nofork", "--nopidfile", "--address"]).arg(&bus_address),
            folder.path().join("dbus.log"),
        );
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"]);
        let (server, number) = Process::start_reading_line(&mut command, folder.path().join("xvfb.log"));
        let display = format!(":{number}");
        wait_until("the D-Bus session", || run.join("bus").exists());
        let mut desktop =
            Desktop { display, sound: None, _manager: Process::none(), _bus: bus, _server: server, folder };
        desktop.layout("us");
        desktop._manager = Process::start(&mut desktop.command("openbox"), desktop.folder.path().join("openbox.log"));
        wait_until("the window manager", || {
            let said = desktop.run("xprop", ["-root", "_NET_SUPPORTING_WM_CHECK"]);
            String::from_utf8_lossy(&said.stdout).contains("window id")
        });
        desktop
    }

    /// The same with PulseAudio: "default" of ALSA and of cpal is a microphone that hears what [`Desktop::play`] plays.
    pub fn with_sound() -> Desktop {
        let mut desktop = Desktop::start();
        desktop.sound = Some(sound::Sound::start(&desktop));
        desktop
    }

    /// Environment of programs on this desktop.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let run = self.run_dir();
        let mut env = vec![
            ("DISPLAY", self.display.clone()),
            ("XDG_RUNTIME_DIR", run.display().to_string()),
            ("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", run.join("bus").display())),
            ("XDG_SESSION_TYPE", "x11".to_owned()),
            ("XDG_CURRENT_DESKTOP", "openbox".to_owned()),
            // Private files of the programs; bestbox finds its models through BESTBOX_CACHE.
            ("HOME", self.folder.path().display().to_string()),
            ("XDG_CONFIG_HOME", self.folder.path().join("config").display().to_string()),
            ("XDG_DATA_HOME", self.folder.path().join("data").display().to_string()),
            ("XDG_STATE_HOME", self.folder.path().join("state").display().to_string()),
            ("BESTBOX_CACHE", super::llama::cache().display().to_string()),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("GDK_BACKEND", "x11".to_owned()),
            ("NO_AT_BRIDGE", "1".to_owned()),
        ];
        if let Some(sound) = &self.sound {
            env.extend(sound.env(self.folder.path()));
        }
        env
    }

    /// Private folder of the desktop: home of its programs; gone with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `XDG_RUNTIME_DIR`.
    pub fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// A program on this desktop, in its private folder.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.envs(self.env()).current_dir(self.folder.path());
        for outer in ["WAYLAND_DISPLAY", "SWAYSOCK", "SSH_TTY", "XAUTHORITY"] {
            command.env_remove(outer);
        }
        command
    }

    /// bestbox on this desktop, without any configuration of the user's.
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

    /// xdotool: `desktop.xdotool(["key", "ctrl+v"])`; what it prints.
    #[track_caller]
    pub fn xdotool<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> String {
        let ran = self.run("xdotool", args);
        assert!(ran.status.success(), "xdotool: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("UTF-8").trim().to_owned()
    }

    /// Sets the keyboard layout: `us`, `de`, `us,ru`.
    #[track_caller]
    pub fn layout(&self, layout: &str) {
        let ran = self.run("setxkbmap", ["-layout", layout]);
        assert!(ran.status.success(), "setxkbmap {layout}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    /// Text of the clipboard; empty when there is none.
    pub fn clipboard(&self) -> String {
        let ran = self.run("xclip", ["-selection", "clipboard", "-out", "-target", "UTF8_STRING"]);
        String::from_utf8(ran.stdout).expect("UTF-8")
    }

    /// The clipboard as one type: its bytes.
    pub fn clipboard_as(&self, target: &str) -> Vec<u8> {
        self.run("xclip", ["-selection", "clipboard", "-out", "-target", target]).stdout
    }

    /// Puts a file into the clipboard as this type; an xclip owns it until another owner comes.
    #[track_caller]
    pub fn copy_file(&self, path: &Path, target: &str) {
        // xclip goes to the background with its output open: no pipes.
        let mut command = self.command("xclip");
        command.args(["-selection", "clipboard", "-in", "-target", target, "-i"]).arg(path);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        assert!(command.stderr(std::process::Stdio::null()).status().expect("xclip").success());
    }

    /// Plays a recording into the microphone; returns when it has been played.
    #[track_caller]
    pub fn play(&self, wav: &Path) {
        self.sound.as_ref().expect("a desktop with sound").play(self, wav);
    }

    /// Takes the microphone away, or brings it back.
    #[track_caller]
    pub fn microphone(&mut self, plugged: sound::Plugged) {
        let mut sound = self.sound.take().expect("a desktop with sound");
        sound.set(self, plugged);
        self.sound = Some(sound);
    }

    /// Brings the headset (ALSA's "headset"), or takes it away. At first it is away.
    #[track_caller]
    pub fn headset(&mut self, plugged: sound::Plugged) {
        let mut sound = self.sound.take().expect("a desktop with sound");
        sound.set_headset(self, plugged);
        self.sound = Some(sound);
    }
}

/// Waits up to 10 s for something to become true.
#[track_caller]
pub fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited 10 s for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Only its owner may enter the folder.
fn private(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).expect("permissions");
}
