//! A running `bestbox serve`.

use super::llama::{Alone, alone, cache};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A service on a free port with a data folder of its own; stopped by process id when dropped.
pub struct Served {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    pub child: Child,
    /// What it said on standard error so far.
    pub log: Arc<Mutex<String>>,
    folder: Arc<tempfile::TempDir>,
    _alone: Option<Alone>,
}

/// How a service is started.
pub struct Serve {
    args: Vec<String>,
    env: Vec<(String, String)>,
    folder: Arc<tempfile::TempDir>,
    alone: bool,
}

/// The smallest models, no language model servers unless a test asks for them.
pub fn serve() -> Serve {
    let folder = Arc::new(tempfile::tempdir().expect("a folder"));
    Serve { args: vec!["--profile".into(), "tiny".into()], env: Vec::new(), folder, alone: true }
}

impl Serve {
    /// One more `--set key=value`.
    pub fn set(mut self, pair: &str) -> Self {
        self.args.extend(["--set".into(), pair.into()]);
        self
    }

    /// More arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The data folder of an earlier service.
    pub fn again(mut self, of: &Served) -> Self {
        self.folder = of.folder.clone();
        self
    }

    /// For a second service in one test: the first one has the cores already.
    pub fn beside(mut self) -> Self {
        self.alone = false;
        self
    }

    /// Starts it and waits until it can recognise speech.
    pub fn start(self) -> Served {
        self.start_until("bestbox is ready")
    }

    /// Starts it and waits until it listens; it may still be loading.
    pub fn start_listening(self) -> Served {
        self.start_until("listens on ")
    }

    fn start_until(self, word: &str) -> Served {
        let hold = self.alone.then(alone);
        let mut child = Command::new(env!("CARGO_BIN_EXE_bestbox"))
            .arg("serve")
            .args(["--port", "0", "--set"])
            .arg(format!("serve.data_dir={}", self.folder.path().join("data").display()))
            .args(&self.args)
            .current_dir(self.folder.path())
            .env("XDG_CONFIG_HOME", self.folder.path())
            .env("BESTBOX_CACHE", cache())
            .env_remove("BESTBOX_LONG")
            .envs(self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bestbox starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let into = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = into.lock().expect("log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let begun = Instant::now();
        let url = loop {
            let said = log.lock().expect("log").clone();
            if let Some(at) = said.find("listens on ").filter(|_| said.contains(word)) {
                let rest = &said[at + "listens on ".len()..];
                if let Some(url) = rest.split_whitespace().next() {
                    break url.to_owned();
                }
            }
            assert!(child.try_wait().expect("child").is_none(), "it ended: {said}");
            assert!(begun.elapsed() < Duration::from_secs(120), "it does not listen: {said}");
            std::thread::sleep(Duration::from_millis(20));
        };
        Served { url, child, log, folder: self.folder, _alone: hold }
    }

    /// Starts it where it must fail; what it said and its exit code.
    pub fn refused(self) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_bestbox"))
            .arg("serve")
            .args(["--port", "0", "--set"])
            .arg(format!("serve.data_dir={}", self.folder.path().join("data").display()))
            .args(&self.args)
            .current_dir(self.folder.path())
            .env("XDG_CONFIG_HOME", self.folder.path())
            .env("BESTBOX_CACHE", cache())
            .envs(self.env)
            .output()
            .expect("bestbox starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Served {
    /// The service's data folder.
    pub fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Sends a signal by process id.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("pid"));
        nix::sys::signal::kill(pid, signal).expect("kill");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // SIGTERM first, so that its servers end with it; not for ever.
        self.signal_if_there();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if self.child.try_wait().ok().flatten().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn signal_if_there(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("pid"));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
    }
}
