//! The bestbox program as a user runs it.

use super::llama::{Alone, alone, cache};
use bestbox::outcome::Outcome;
use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A run of bestbox that is alone on the machine's cores among these tests.
pub struct Cli {
    command: Command,
    input: Vec<u8>,
    /// Empty working folder, so that no configuration of the checkout counts.
    folder: tempfile::TempDir,
    _alone: Alone,
}

/// What came of it.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A file of samples/.
pub fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples").join(name)
}

/// `bestbox ARGS…` in an empty folder, with the real cache and no configuration of the user's.
pub fn bestbox<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Cli {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bestbox"));
    command
        .args(args)
        .current_dir(&folder)
        .env("XDG_CONFIG_HOME", folder.path())
        .env("BESTBOX_CACHE", cache())
        .env_remove("BESTBOX_LONG");
    Cli { command, input: Vec::new(), folder, _alone: alone() }
}

impl Cli {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    pub fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.folder.path().join(name), text).expect("a file");
        self
    }

    /// For tests that signal the process. Its standard input stays open.
    pub fn spawn(mut self) -> (std::process::Child, Self) {
        let child = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        (child.expect("bestbox starts"), self)
    }

    pub fn run(mut self) -> Ran {
        let child = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("bestbox starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = std::mem::take(&mut self.input);
        // A program that does not want its input closes the pipe: no failure of the test.
        let writer = std::thread::spawn(move || stdin.write_all(&input).ok());
        let output = child.wait_with_output().expect("bestbox ends");
        writer.join().expect("writer");
        Ran::of(output)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Succeeded, or shows why not.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "stderr: {}", self.err);
        self
    }

    /// Failed with this code and one sentence that names all of these.
    #[track_caller]
    pub fn failed(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "stdout: {} stderr: {}", self.out, self.err);
        let last = self.err.lines().rfind(|line| line.starts_with("bestbox: ") || line.starts_with("error: "));
        let sentence = last.unwrap_or_default();
        assert!(parts.iter().all(|part| sentence.contains(part)), "expected {parts:?} in: {}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }

    /// The outcome in `--format json`.
    #[track_caller]
    pub fn outcome(&self) -> Outcome {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {} / {}", self.out, self.err))
    }
}

impl Cli {
    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Runs, and looks at what it left behind while the folder is still there.
    pub fn run_keeping<T>(mut self, look: impl FnOnce(Ran) -> T) -> T {
        let output = self.command.stdin(Stdio::null()).output().expect("bestbox starts");
        look(Ran::of(output))
    }
}

/// The browser of the system.
pub fn chromium() -> PathBuf {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|p| p.exists());
    std::env::var_os("CHROMIUM").map(PathBuf::from).or(found).expect("Chromium is missing: run make setup")
}
