//! What the tests of the agent share: a model that says what it is told to say (for faults of the protocol and for what
//! no real model does on demand), and real servers of tools.

use super::support::fake::{Fake, Kind, Reply, Seen, delta};
use super::support::llama::cache;
use bestbox::agent::tools::{PolicySettings, ToolSettings, Toolbox};
use bestbox::agent::{Agent, AgentSettings, Limits, MemoryLimits, Program, Reach, ServerSettings, Talks};
use bestbox::outcome::Tier;
use bestbox::text::llm::{Client, Endpoint};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A model that answers one request after the other with these; the last one again and again.
pub async fn scripted(replies: Vec<Reply>) -> Fake {
    Fake::start(Kind::Llama, move |count, request| {
        let asked = request.path == "/v1/chat/completions";
        asked.then(|| replies[count.min(replies.len() - 1)].clone())
    })
    .await
}

/// The model says this.
pub fn says(text: &str) -> Reply {
    let pieces: Vec<String> = text.split_inclusive(' ').map(delta).collect();
    let end = json!({"choices": [{"finish_reason": "stop", "delta": {}}]}).to_string();
    let mut events: Vec<&str> = pieces.iter().map(String::as_str).collect();
    events.extend([end.as_str(), "[DONE]"]);
    Reply::events(&events)
}

/// The model calls these, after some text; arguments come in pieces.
pub fn calls(text: &str, calls: &[(&str, &str)]) -> Reply {
    let mut events = vec![delta(text)];
    let piece =
        |value: Value| json!({"choices": [{"finish_reason": null, "delta": {"tool_calls": [value]}}]}).to_string();
    for (at, (name, arguments)) in calls.iter().enumerate() {
        events
            .push(piece(json!({"index": at, "id": format!("call-{at}"), "function": {"name": name, "arguments": ""}})));
        for part in arguments.as_bytes().chunks(5) {
            let part = String::from_utf8_lossy(part);
            events.push(piece(json!({"index": at, "function": {"arguments": part}})));
        }
    }
    events.push(json!({"choices": [{"finish_reason": "tool_calls", "delta": {}}]}).to_string());
    events.push("[DONE]".into());
    Reply::events(&events.iter().map(String::as_str).collect::<Vec<_>>())
}

pub fn client(base_url: &str) -> Client {
    Client::new(Endpoint {
        tier: Tier::Heavy,
        base_url: base_url.to_owned(),
        model: None,
        key: None,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(60),
    })
    .expect("client")
}

/// What is allowed, and by whom tools are served.
#[derive(Default)]
pub struct Tools<'a> {
    pub allow: &'a [&'a str],
    pub read_only: &'a [&'a str],
    pub network: &'a [&'a str],
    pub unconfirmed: &'a [&'a str],
    pub notes: PathBuf,
    pub servers: Vec<ServerSettings>,
}

impl Tools<'_> {
    pub fn toolbox(self) -> Toolbox {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let policy = PolicySettings {
            allow: list(self.allow),
            read_only: list(self.read_only),
            network: list(self.network),
            unconfirmed: list(self.unconfirmed),
        };
        Toolbox::new(ToolSettings { policy, notes: self.notes, servers: self.servers }).expect("globs")
    }
}

/// An agent with short limits that remembers.
pub fn agent(fake: &Fake, toolbox: &Toolbox) -> Agent {
    let limits = Limits {
        steps: 4,
        calls: 3,
        result_chars: 1000,
        call_timeout: Duration::from_secs(2),
        confirm: Duration::from_secs(60),
        ..Limits::default()
    };
    Agent::new(client(&fake.base_url), AgentSettings { timeout: Duration::from_secs(60), ..AgentSettings::heavy() })
        .with_tools(toolbox.clone(), limits)
        .with_talks(talks())
}

pub fn talks() -> Talks {
    Talks::new(MemoryLimits { turns: 8, age: Duration::from_secs(600) })
}

/// The messages of the `n`th request for an answer.
pub fn messages(fake: &Fake, n: usize) -> Vec<Value> {
    let requests = fake.requests("/v1/chat/completions");
    let Seen { body, .. } = requests.get(n).unwrap_or_else(|| panic!("request {n} of {}", requests.len()));
    body["messages"].as_array().cloned().expect("messages")
}

/// A server of tools that is started.
pub fn program(name: &str, command: impl Into<PathBuf>, args: &[&str]) -> ServerSettings {
    let program = Program {
        command: command.into().display().to_string(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: BTreeMap::new(),
        guard: env!("CARGO_BIN_EXE_bestbox").into(),
    };
    let start_timeout = Duration::from_secs(60);
    ServerSettings { name: name.to_owned(), reach: Reach::Program(program), start_timeout, trust_hints: false }
}

/// The hostile one, which writes down in `record` what it is asked.
pub fn hostile(record: &Path) -> ServerSettings {
    program("evil", "python3", &[&script("hostile.py"), &record.display().to_string()])
}

pub fn script(name: &str) -> String {
    format!("{}/tests/clients/mcp/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What `make setup` installs for the tests of tools.
pub fn installed(path: &str) -> PathBuf {
    let path = cache().join("clients/mcp").join(path);
    assert!(path.exists(), "{} is missing: run make setup", path.display());
    path
}

/// Polls until it is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn recorded(record: &Path) -> String {
    std::fs::read_to_string(record).unwrap_or_default()
}

/// Whether a process is there (and no zombie).
pub fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}
