//! A running `bestbox up` with a cache of its own, so that nobody shares its servers.

use super::llama::{Alone, alone, cache, free_port};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Seconds in which everything must have happened on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A folder with the models and programs of the real cache, ports, and arguments.
pub struct Place {
    folder: tempfile::TempDir,
    args: Vec<String>,
    env: Vec<(String, String)>,
    pub light: u16,
    pub heavy: u16,
    _alone: Alone,
}

/// The smallest models, no key, answers without much waiting.
pub fn place() -> Place {
    let hold = alone();
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["models", "bin"] {
        std::os::unix::fs::symlink(cache().join(name), folder.path().join(name)).expect("a link");
    }
    let (light, heavy) = (free_port(), free_port());
    let place = Place { folder, args: Vec::new(), env: Vec::new(), light, heavy, _alone: hold };
    place
        .args(["--profile", "tiny"])
        .set(&format!("light.port={light}"))
        .set(&format!("heavy.port={heavy}"))
        .set("light.context=2048")
        .set("light.threads=1")
        .set("servers.grace_seconds=2")
        .set("up.key=none")
}

impl Place {
    pub fn set(self, pair: &str) -> Self {
        self.args(["--set", pair])
    }

    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// An executable script in the folder.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        path
    }

    /// `bestbox ARGS…` with this place's settings.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bestbox"));
        let (name, rest) = args.split_first().expect("a command");
        command
            .arg(name)
            // Flags for all commands count together only on one side of the command's name.
            .args(&self.args)
            .args(rest)
            .current_dir(self.path())
            .env("XDG_CONFIG_HOME", self.path())
            .env("BESTBOX_CACHE", self.path())
            .env_remove("BESTBOX_LONG")
            .envs(self.env.clone())
            .stdin(Stdio::null());
        command
    }

    /// The same, run to its end.
    pub fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = self.command(args).output().expect("bestbox runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (status.code(), text(&stdout), text(&stderr))
    }

    /// `bestbox up ARGS…`.
    pub fn up(&self, args: &[&str]) -> Up<'_> {
        let mut child = self
            .command(&[&["up"], args].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bestbox starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let into = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                into.lock().expect("log").push_str(&format!("{line}\n"));
            }
        });
        Up { place: self, child, log }
    }

    /// `bestbox status --json`, as servers by tier.
    pub fn status(&self, tier: &str) -> Value {
        let (_, out, err) = self.run(&["status", "--json"]);
        let status: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {err}"));
        let servers = status["servers"].as_array().expect("servers").clone();
        servers.into_iter().find(|server| server["tier"] == tier).unwrap_or(Value::Null)
    }
}

/// It runs; dropping it ends it.
pub struct Up<'a> {
    pub place: &'a Place,
    pub child: Child,
    pub log: Arc<Mutex<String>>,
}

impl Up<'_> {
    pub fn said(&self) -> String {
        self.log.lock().expect("log").clone()
    }

    /// Waits until it has said that.
    #[track_caller]
    pub fn says(&self, words: &str) -> String {
        self.says_times(words, 1)
    }

    #[track_caller]
    pub fn says_times(&self, words: &str, times: usize) -> String {
        let begun = Instant::now();
        loop {
            let said = self.said();
            if said.matches(words).count() >= times {
                return said;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not say '{words}': {said}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("pid"));
        nix::sys::signal::kill(pid, signal).expect("kill");
    }

    /// SIGTERM, and its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.ended()
    }

    pub fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("child") {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(40), "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The front's health page.
    #[track_caller]
    pub fn health(&self, port: u16) -> (u16, Value) {
        self.try_health(port).unwrap_or_else(|error| panic!("{error}: {}", self.said()))
    }

    /// The same, where it may not listen yet.
    fn try_health(&self, port: u16) -> Result<(u16, Value), reqwest::Error> {
        block(async move {
            let answer = http().get(format!("http://127.0.0.1:{port}/health")).send().await?;
            Ok((answer.status().as_u16(), answer.json().await?))
        })
    }

    /// Waits until the front's state is this.
    #[track_caller]
    pub fn is(&self, port: u16, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            let health = self.try_health(port);
            match &health {
                Ok((_, health)) if health["bestbox"]["state"] == state => return health["bestbox"].clone(),
                _ => assert!(begun.elapsed() < PATIENCE, "not {state}: {health:?} {}", self.said()),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Process id of the server behind a front that is ready.
    #[track_caller]
    pub fn pid(&self, port: u16) -> u32 {
        u32::try_from(self.is(port, "ready")["pid"].as_u64().expect("a pid")).expect("a pid")
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            self.signal(nix::sys::signal::Signal::SIGTERM);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(20) {
                if self.child.try_wait().ok().flatten().is_some() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits for it.
pub fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// A client of any make.
pub fn http() -> reqwest::Client {
    // Err: another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(PATIENCE).no_proxy().pool_max_idle_per_host(0).build().expect("a client")
}

/// A chat of a few tokens: the status and the body, whatever it is.
pub async fn chat(port: u16, key: Option<&str>, tokens: u32) -> (u16, Value) {
    let body =
        json!({"messages": [{"role": "user", "content": "Count to twenty."}], "max_tokens": tokens, "temperature": 0});
    let mut request = http().post(format!("http://127.0.0.1:{port}/v1/chat/completions")).json(&body);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return (0, json!(error.to_string())),
    };
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_else(|error| json!(error.to_string())))
}
