//! The agent's part of an engine: its tools, what it remembers, and what waits for a person.

use super::{Engine, settings};
use crate::agent::{
    Agent, AgentError, Answer, Confirm, Event, Limits, MemoryLimits, NothingPending, Program, Reach, ServerSettings,
    Suspended, Talk, Talks,
    tools::{PolicySettings, ToolSettings, Toolbox, Transcripts},
};
use crate::config::{AgentConfig, McpConfig};
use crate::error::Error;
use crate::outcome::{Action, Intent, Reply, Tier, Warning, WarningCode};
use crate::text::llm::Secret;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What came of an answer.
pub(crate) type Answered = (Option<Reply>, Vec<Warning>);

/// What all answers of an engine share.
pub(super) struct Agents {
    pub toolbox: Toolbox,
    limits: Limits,
    talks: Talks,
}

impl Agents {
    /// Starts nothing yet. `program` is bestbox itself.
    pub fn new(config: &AgentConfig, program: &Path) -> Result<Self, Error> {
        let age = Duration::from_secs_f64(config.memory_minutes * 60.0);
        let talks = Talks::new(MemoryLimits { turns: config.memory_turns as usize, age });
        let limits = Limits {
            steps: config.max_steps,
            calls: config.max_calls as usize,
            tokens: config.max_total_tokens,
            result_chars: config.max_result_chars as usize,
            call_timeout: Duration::from_secs_f64(config.call_timeout_seconds),
            confirm: Duration::from_secs_f64(config.confirm_seconds),
        };
        Ok(Agents { toolbox: toolbox(config, program)?, limits, talks })
    }
}

/// The tools of a configuration. Starts nothing yet; `program` is bestbox itself.
///
/// # Errors
/// A glob that is none.
pub fn toolbox(config: &AgentConfig, program: &Path) -> Result<Toolbox, Error> {
    let policy = PolicySettings {
        allow: config.allow.clone(),
        read_only: config.read_only.clone(),
        network: config.network.clone(),
        unconfirmed: config.unconfirmed.clone(),
    };
    let notes = if config.notes.as_os_str().is_empty() { notes() } else { config.notes.clone() };
    let servers = config.mcp.iter().map(|server| mcp_server(server, program)).collect();
    Toolbox::new(ToolSettings { policy, notes, servers }).map_err(|error| Error::Usage(format!("agent: {error}")))
}

/// Where notes go when the configuration names nothing.
fn notes() -> PathBuf {
    let dirs = directories::ProjectDirs::from("", "", "bestbox");
    dirs.map_or_else(|| PathBuf::from("notes"), |dirs| dirs.data_dir().join("notes"))
}

fn mcp_server(config: &McpConfig, program: &Path) -> ServerSettings {
    let reach = if config.url.is_empty() {
        Reach::Program(Program {
            command: config.command.clone(),
            args: config.args.clone(),
            env: config.env.clone(),
            guard: program.to_owned(),
        })
    } else {
        let variable = &config.bearer_env;
        let bearer = (!variable.is_empty()).then(|| {
            let value = std::env::var(variable).ok().filter(|value| !value.trim().is_empty());
            value.map(|value| Secret::new(value.trim())).ok_or_else(|| format!("{variable} (bearer_env) is not set"))
        });
        Reach::Http { url: config.url.clone(), headers: config.headers.clone(), bearer }
    };
    ServerSettings {
        name: config.name.clone(),
        reach,
        start_timeout: Duration::from_secs_f64(config.start_timeout_seconds),
        trust_hints: config.trust_hints,
    }
}

impl Engine {
    /// Where `search_transcripts` looks.
    pub fn set_transcripts(&self, transcripts: Arc<dyn Transcripts>) {
        self.agents.toolbox.set_transcripts(transcripts);
    }

    /// The answer that `intent` asks for; none for text.
    pub(crate) async fn answer(
        &self,
        intent: &Intent,
        text: &str,
        talk: &Talk,
        cancel: &CancellationToken,
        on_event: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Answered {
        let tier = match intent.action {
            Action::Text => return (None, Vec::new()),
            Action::Light => Tier::Light,
            Action::Heavy => Tier::Heavy,
        };
        match self.agent(tier, &self.route_prompts(intent)).await {
            Ok(agent) => answered(agent.converse(text, talk, cancel, on_event).await),
            Err(reason) => unavailable(&reason),
        }
    }

    /// Where a call waits in this conversation and `text` is a plain yes or no: the answer that waits, and the word.
    pub(crate) fn word(&self, talk: &Talk, text: &str) -> Option<(Suspended, bool)> {
        self.agents.talks.word(talk, text)
    }

    /// The answer that waits under `token`.
    ///
    /// # Errors
    /// When there is none for this owner: it can be taken once, in time, by whoever asked for it.
    pub(crate) fn waiting(&self, token: &str, owner: &str) -> Result<Suspended, NothingPending> {
        self.agents.talks.take(token, owner)
    }

    /// Goes on with an answer that waited.
    pub(crate) async fn resume(
        &self,
        word: (Suspended, bool),
        talk: &Talk,
        cancel: &CancellationToken,
        on_event: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Answered {
        match self.agent(Tier::Heavy, &[]).await {
            Ok(agent) => answered(agent.resume(word, talk, cancel, on_event).await),
            Err(reason) => unavailable(&reason),
        }
    }

    /// `prompts` are what the route adds to the instructions.
    pub(super) async fn agent(&self, tier: Tier, prompts: &[String]) -> Result<Agent, String> {
        let client = self.tiers.client(tier).await?;
        let config = match tier {
            Tier::Light => self.config.quick.clone(),
            Tier::Heavy => self.config.agent.answer(),
        };
        let mut settings = settings::answer(&config, tier);
        for prompt in prompts {
            settings.system_prompt = format!("{}\n\n{prompt}", settings.system_prompt).trim_start().to_owned();
        }
        let agent = Agent::new(client, settings).with_talks(self.agents.talks.clone());
        Ok(match tier {
            Tier::Light => agent,
            Tier::Heavy => agent.with_tools(self.agents.toolbox.clone(), self.agents.limits.clone()),
        })
    }
}

fn answered(result: Result<Answer, AgentError>) -> Answered {
    match result {
        Ok(answer) => {
            let cut = answer.warning();
            (Some(answer.reply), answer.warnings.into_iter().chain(cut).collect())
        }
        Err(error) => unavailable(&error.to_string()),
    }
}

fn unavailable(reason: &str) -> Answered {
    (None, vec![Warning::new(WarningCode::ReplyUnavailable, format!("no answer: {reason}"))])
}

/// Nobody is there who could confirm a call.
pub(crate) fn nobody(why: &str) -> Confirm {
    Confirm::Never(why.to_owned())
}
