//! `[agent]`: answers of the heavy model, the tools it may use, and what it remembers.

use super::AnswerConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `[agent]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// Empty: the built-in one.
    pub system_prompt: String,
    /// Limit on generated tokens of one step.
    pub max_tokens: u32,
    /// Limit on the whole answer with all its tools, seconds.
    pub timeout_seconds: f64,
    /// 0 is greedy.
    pub temperature: f32,
    /// Tools that the model may see and call: names, or globs such as `time__*`. Tools of MCP servers are named
    /// `server__tool`. Empty: it answers without tools.
    pub allow: Vec<String>,
    /// Of the tools of MCP servers, those that change nothing: they are called without asking.
    pub read_only: Vec<String>,
    /// Tools that can send data out of this machine: once a tool's result has been read they are only called after
    /// asking, whatever else is configured.
    pub network: Vec<String>,
    /// Tools that change something and are called without asking all the same.
    pub unconfirmed: Vec<String>,
    /// Completions of one answer.
    pub max_steps: u32,
    /// Calls of one step; what is more is refused.
    pub max_calls: u32,
    /// Tokens of one answer, read and generated, over all its steps.
    pub max_total_tokens: u32,
    /// Longest result of a tool that the model gets, characters.
    pub max_result_chars: u32,
    /// Longest time for one call, seconds.
    pub call_timeout_seconds: f64,
    /// How long a call waits to be confirmed, seconds.
    pub confirm_seconds: f64,
    /// Turns of a conversation that are remembered; 0: none.
    pub memory_turns: u32,
    /// Minutes after the last turn in which a conversation goes on.
    pub memory_minutes: f64,
    /// File, or folder (`notes.md` in it), that `write_note` appends to; empty: in the platform's folder for data.
    pub notes: PathBuf,
    /// Folders with transcripts (of `bestbox batch` and others) that `search_transcripts` looks in besides the history
    /// of dictation.
    pub transcripts: Vec<PathBuf>,
    /// Servers of the Model Context Protocol.
    pub mcp: Vec<McpConfig>,
}

impl Default for AgentConfig {
    fn default() -> Self {
        let answer = AnswerConfig::default();
        AgentConfig {
            system_prompt: answer.system_prompt,
            max_tokens: answer.max_tokens,
            timeout_seconds: answer.timeout_seconds,
            temperature: answer.temperature,
            allow: Vec::new(),
            read_only: Vec::new(),
            network: Vec::new(),
            unconfirmed: Vec::new(),
            max_steps: 6,
            max_calls: 4,
            max_total_tokens: 24_000,
            max_result_chars: 4000,
            call_timeout_seconds: 30.0,
            confirm_seconds: 120.0,
            memory_turns: 8,
            memory_minutes: 15.0,
            notes: PathBuf::new(),
            transcripts: Vec::new(),
            mcp: Vec::new(),
        }
    }
}

impl AgentConfig {
    /// What it has in common with `[quick]`.
    pub fn answer(&self) -> AnswerConfig {
        AnswerConfig {
            system_prompt: self.system_prompt.clone(),
            max_tokens: self.max_tokens,
            timeout_seconds: self.timeout_seconds,
            temperature: self.temperature,
        }
    }

    /// A value that makes no sense: its key and why.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let mut names = std::collections::BTreeSet::new();
        for server in &self.mcp {
            let name = &server.name;
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if name.is_empty() || name.len() > 32 || !name.chars().all(plain) || name.contains("__") {
                let reason = format!("'{}' is no name of letters, digits, - and _", name.escape_debug());
                return Some(("agent.mcp", reason));
            }
            if !names.insert(name) {
                return Some(("agent.mcp", format!("there are two servers named '{name}'")));
            }
            match (server.command.is_empty(), server.url.is_empty()) {
                (true, true) => return Some(("agent.mcp", format!("server '{name}' needs a command or a url"))),
                (false, false) => return Some(("agent.mcp", format!("server '{name}' has a command and a url"))),
                _ => {}
            }
            if !server.url.is_empty() && !server.url.starts_with("http://") && !server.url.starts_with("https://") {
                return Some((
                    "agent.mcp",
                    format!("the url of server '{name}' does not begin with http:// or https://"),
                ));
            }
            let seconds = server.start_timeout_seconds;
            if !(0.1..=600.0).contains(&seconds) {
                let reason = format!("start_timeout_seconds of server '{name}': {seconds} is not between 0.1 and 600");
                return Some(("agent.mcp", reason));
            }
        }
        let globs = [
            ("agent.allow", &self.allow),
            ("agent.read_only", &self.read_only),
            ("agent.network", &self.network),
            ("agent.unconfirmed", &self.unconfirmed),
        ];
        for (key, patterns) in globs {
            if let Some(error) = patterns.iter().find_map(|pattern| globset::Glob::new(pattern).err()) {
                return Some((key, error.to_string()));
            }
        }
        None
    }
}

/// `[[agent.mcp]]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpConfig {
    /// Stands before the names of its tools: `name__tool`.
    pub name: String,
    /// Program to start, which speaks MCP over its standard input and output.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, besides PATH, HOME and the like.
    pub env: BTreeMap<String, String>,
    /// Address of a server that speaks streamable HTTP, instead of a command.
    pub url: String,
    /// Headers for `url`.
    pub headers: BTreeMap<String, String>,
    /// Environment variable with the bearer token for `url`.
    pub bearer_env: String,
    /// To start and to list its tools, seconds.
    pub start_timeout_seconds: f64,
    /// Whether its own word is taken for which of its tools change nothing.
    pub trust_hints: bool,
}

impl Default for McpConfig {
    fn default() -> Self {
        McpConfig {
            name: String::new(),
            command: String::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            url: String::new(),
            headers: BTreeMap::new(),
            bearer_env: String::new(),
            start_timeout_seconds: 20.0,
            trust_hints: false,
        }
    }
}
