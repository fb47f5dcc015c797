//! `bestbox dictate` as a user runs it: with folders of its own, driven through `bestbox ctl`.

use super::cli::{Ran, sample};
use super::desktop::Desktop;
use super::llama::{Alone, alone, cache};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything takes, even on a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where a dictation lives: its runtime, data and configuration folders and its desktop, if any.
pub struct Home {
    folder: tempfile::TempDir,
    env: Vec<(String, String)>,
    config: PathBuf,
    _alone: Alone,
}

/// A dictation that runs; dropping it ends it.
pub struct Dictation {
    child: Child,
    said: Arc<Mutex<String>>,
    out: Arc<Mutex<String>>,
}

/// What a dictation tells, as it happens.
pub struct Follower {
    child: Child,
    events: Arc<Mutex<Vec<Value>>>,
    /// Events that were looked at.
    seen: usize,
}

impl Home {
    /// Without a desktop. `config` is the text of its configuration file.
    pub fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let run = folder.path().join("run");
        std::fs::create_dir(&run).expect("a folder");
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o700)).expect("permissions");
        let path = |path: PathBuf| path.display().to_string();
        let env = vec![
            ("XDG_RUNTIME_DIR".to_owned(), path(run)),
            ("XDG_DATA_HOME".to_owned(), path(folder.path().join("share"))),
            ("XDG_CONFIG_HOME".to_owned(), path(folder.path().join("config"))),
            ("BESTBOX_CACHE".to_owned(), path(cache())),
        ];
        Home::with(folder, env, config)
    }

    /// On a desktop.
    pub fn on(desktop: &Desktop, config: &str) -> Self {
        let env = desktop.env().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Home::with(tempfile::tempdir().expect("a folder"), env, config)
    }

    fn with(folder: tempfile::TempDir, env: Vec<(String, String)>, text: &str) -> Self {
        let config = folder.path().join("bestbox.toml");
        std::fs::write(&config, text).expect("a file");
        Home { folder, env, config, _alone: alone() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Folder of the history.
    pub fn data(&self) -> PathBuf {
        let share = self.env.iter().find(|(name, _)| name == "XDG_DATA_HOME").expect("set").1.clone();
        PathBuf::from(share).join("bestbox/dictate")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        let run = self.env.iter().find(|(name, _)| name == "XDG_RUNTIME_DIR").expect("set").1.clone();
        PathBuf::from(run).join("bestbox/dictate.sock")
    }

    /// Audio of takes that is kept, and its bytes.
    pub fn audio(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(self.data().join("takes")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).collect()
    }

    pub fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bestbox"));
        for outer in ["DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "BESTBOX_LONG", "PULSE_SERVER"] {
            command.env_remove(outer);
        }
        command
            .arg("--config")
            .arg(&self.config)
            .args(args.iter().map(AsRef::as_ref))
            .current_dir(&self.folder)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// Runs one command to its end.
    pub fn run<S: AsRef<str>>(&self, args: &[S]) -> Ran {
        Ran::of(self.command(args).output().expect("bestbox starts"))
    }

    /// `bestbox ctl ARGS…`, which must succeed; what it prints.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> String {
        self.run(&[["ctl"].as_slice(), args].concat()).ok().out.trim().to_owned()
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ctl(&["status", "--json"])).expect("JSON")
    }

    /// Waits for a status.
    #[track_caller]
    pub fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if is(&status) {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "waited for {what}: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts `bestbox dictate ARGS…` and waits until it can be driven.
    #[track_caller]
    pub fn dictate(&self, args: &[&str]) -> Dictation {
        let mut command = self.command(&[["dictate"].as_slice(), args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bestbox starts");
        let said = collect(child.stderr.take().expect("a pipe"));
        let out = collect(child.stdout.take().expect("a pipe"));
        let mut dictation = Dictation { child, said, out };
        dictation.wait_for("dictation is ready");
        dictation
    }

    /// The same, hearing a sample with every take.
    #[track_caller]
    pub fn dictate_hearing(&self, name: &str, args: &[&str]) -> Dictation {
        let source = format!("file:{}", sample(name).display());
        self.dictate(&[["--source", &source].as_slice(), args].concat())
    }

    /// What happens from now on.
    #[track_caller]
    pub fn follow(&self) -> Follower {
        let mut command = self.command(&["ctl", "follow", "--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("bestbox starts");
        let events = Arc::new(Mutex::new(Vec::new()));
        let (into, stdout) = (events.clone(), child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                into.lock().expect("events").push(serde_json::from_str(&line).expect("JSON"));
            }
        });
        let mut follower = Follower { child, events, seen: 0 };
        // The first line says that it follows.
        follower.next("status");
        follower
    }
}

impl Dictation {
    /// Waits until it has said so on standard error.
    #[track_caller]
    pub fn wait_for(&mut self, word: &str) {
        let begun = Instant::now();
        while !self.said().contains(word) {
            assert!(self.child.try_wait().expect("child").is_none(), "it ended: {}", self.said());
            assert!(begun.elapsed() < PATIENCE, "waited for {word:?}: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().expect("log").clone()
    }

    /// Standard output so far.
    pub fn printed(&self) -> String {
        self.out.lock().expect("log").clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill_9(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// Waits until it has ended by itself; its exit code.
    #[track_caller]
    pub fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("child") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Dictation {
    fn drop(&mut self) {
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(10) && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Follower {
    /// The next event of this name (`status`: the first line); those before it are passed over.
    #[track_caller]
    pub fn next(&mut self, name: &str) -> Value {
        let begun = Instant::now();
        loop {
            let event = self.events.lock().expect("events").get(self.seen).cloned();
            match event {
                Some(event) => {
                    self.seen += 1;
                    if event["event"] == name || (name == "status" && event.get("status").is_some()) {
                        return event;
                    }
                }
                None => {
                    assert!(begun.elapsed() < PATIENCE, "waited for {name}: {:?}", self.all());
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    /// All events so far but levels.
    pub fn all(&self) -> Vec<Value> {
        let events = self.events.lock().expect("events").clone();
        events.into_iter().filter(|event| event["event"] != "level").collect()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let into = text.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(read) = from.read(&mut bytes) {
            if read == 0 {
                return;
            }
            into.lock().expect("log").push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    });
    text
}

/// Words in lower case without punctuation.
pub fn words(text: &str) -> Vec<String> {
    let letters = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    text.split_whitespace().map(letters).filter(|word| !word.is_empty()).collect()
}

/// Memory and open files of a process: bytes and a count.
pub fn resources(pid: u32) -> (u64, usize) {
    let statm = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("statm")).expect("it runs");
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    let files = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).expect("it runs").count();
    (pages * 4096, files)
}
