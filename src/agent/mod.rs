//! Answers: what a language model says to an utterance, and what it does for it. The heavy tier answers what needs
//! thought, with tools where the configuration allows any; the light one answers quick questions. Both are an `Agent`,
//! with another client and other settings.
//!
//! ```text
//! question + memory -> completion -> calls -> allowed? read-only? confirmed? -> results (fenced) -> completion -> answer
//! ```
//!
//! What the speaker said is data: it is the user message, whole and alone, and never becomes part of the instructions.
//! What a tool returns is data too: it can neither widen what is allowed nor confirm anything (see [`tools`], `steps`).

mod calls;
mod consent;
mod fence;
mod mcp;
mod mcp_process;
mod memory;
mod pending;
mod settings;
mod spoken;
mod steps;
mod suspended;
mod talk;
pub mod tools;
mod work;

pub use consent::{Consent, consent};
pub use mcp::{Reach, ServerSettings};
pub use mcp_process::{GUARD_ARGUMENT, Program, guard_main};
pub use memory::{ConversationId, Memory, MemoryLimits};
pub use pending::NothingPending;
pub use settings::{AgentSettings, HEAVY_PROMPT, LIGHT_PROMPT, Limits};
pub use suspended::Suspended;
pub use talk::{Ask, Confirm, Talk, Talks};

use crate::outcome::{Finish, PendingCall, Reply, Tier, ToolEnd, Warning, WarningCode};
use crate::text::llm::{Client, LlmError, Message, Role, Turn};
use memory::Exchange;
use serde_json::Value;
use std::time::{Duration, Instant};
use steps::{End, Loop, OnEvent};
use tokio_util::sync::CancellationToken;
use tools::{Offer, Toolbox};
use work::Work;

/// What happens while an answer is made.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A piece of the answer.
    Delta(&'a str),
    /// A tool is called.
    ToolCall {
        /// Its name.
        tool: &'a str,
        /// Its arguments.
        arguments: &'a Value,
    },
    /// What came of a call, or why it was not made.
    ToolResult {
        /// Name of the tool.
        tool: &'a str,
        /// What became of it.
        end: ToolEnd,
        /// The result, or the reason.
        text: &'a str,
    },
    /// A call waits for a person; the answer ends here for now.
    Pending(&'a PendingCall),
}

/// Why there is no answer at all. An answer that began and was cut is not an error: see [`Answer::warning`].
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The server failed, or the caller gave up, before any text came.
    #[error(transparent)]
    Model(#[from] LlmError),
    /// The model ended its turn without a word.
    #[error("the {} model had nothing to say", tier.name())]
    Empty { tier: Tier },
    /// A limit came before any text.
    #[error("the {} model used up {what} before it said a word", tier.name())]
    Limit { tier: Tier, what: &'static str },
    /// A call cannot wait for its confirmation.
    #[error("a call of a tool cannot be confirmed: {0}")]
    Confirmation(String),
}

/// An answer and how long it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The answer.
    pub reply: Reply,
    /// Milliseconds from the call to the first text.
    pub first_ms: f64,
    /// Milliseconds from the call to the end.
    pub total_ms: f64,
    /// What did not work on the way.
    pub warnings: Vec<Warning>,
    /// Tokens of the first prompt that the server had cached, where it counts them.
    pub cached_tokens: Option<u32>,
}

impl Answer {
    /// What a person should know when the answer is not whole.
    pub fn warning(&self) -> Option<Warning> {
        let tier = self.reply.tier.name();
        let reason = match self.reply.finish {
            Finish::Stop => return None,
            Finish::Length => "reached its limit of tokens or steps; raise max_tokens for longer answers",
            Finish::Timeout => "reached its time limit; raise timeout_seconds for longer answers",
            Finish::Broken => "broke off because the connection to the model server was lost",
        };
        Some(Warning::new(WarningCode::ReplyTruncated, format!("the {tier} model's answer {reason}")))
    }
}

/// Answers utterances with one model. Cheap to clone.
#[derive(Clone)]
pub struct Agent {
    client: Client,
    settings: AgentSettings,
    tools: Option<(Toolbox, Limits)>,
    talks: Option<Talks>,
}

impl Agent {
    /// Does not connect. Without tools, without memory.
    pub fn new(client: Client, settings: AgentSettings) -> Self {
        Agent { client, settings, tools: None, talks: None }
    }

    /// Same agent with tools.
    pub fn with_tools(mut self, toolbox: Toolbox, limits: Limits) -> Self {
        self.tools = Some((toolbox, limits));
        self
    }

    /// Same agent that remembers, and whose calls can be confirmed later.
    pub fn with_talks(mut self, talks: Talks) -> Self {
        self.talks = Some(talks);
        self
    }

    /// Answers `text`; `on_delta` gets each piece of the answer as it comes. Ends at the token limit, the time limit or
    /// a broken stream with the text so far (see `Reply::finish`). Cancelling drops the connection, which stops the server.
    pub async fn answer(
        &self,
        text: &str,
        cancel: &CancellationToken,
        on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Answer, AgentError> {
        let mut on_event = |event: Event<'_>| {
            if let Event::Delta(delta) = event {
                on_delta(delta);
            }
        };
        self.converse(text, &Talk::default(), cancel, &mut on_event).await
    }

    /// Has the server read what an answer to `text` begins with, so that the answer itself begins sooner. Not where there
    /// are tools: which ones, and with that what the prompt begins with, is only known once their servers were asked.
    pub async fn read_ahead(&self, text: &str, talk: &Talk, cancel: &CancellationToken) -> Result<(), LlmError> {
        if self.tools.as_ref().is_some_and(|(toolbox, _)| !toolbox.is_empty()) {
            return Ok(());
        }
        let message = |turn| match turn {
            Turn::Said(message) => Some(message),
            Turn::Called { .. } | Turn::Returned { .. } => None,
        };
        let work = self.work(text, talk, &Offer::default()).await;
        let messages: Vec<Message> = work.turns.into_iter().filter_map(message).collect();
        self.client.read_ahead(&messages, cancel).await
    }

    /// The same in a conversation, with tools.
    pub async fn converse(
        &self,
        text: &str,
        talk: &Talk,
        cancel: &CancellationToken,
        on_event: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Result<Answer, AgentError> {
        let began = Instant::now();
        let (offer, warnings) = self.offer(cancel).await?;
        let mut work = self.work(text, talk, &offer).await;
        work.warnings = warnings;
        self.drive(Step::Ask(Box::new(work)), Driven { talk, cancel, offer, began }, on_event).await
    }

    /// Goes on with an answer that waited for a person.
    pub async fn resume(
        &self,
        (suspended, approved): (Suspended, bool),
        talk: &Talk,
        cancel: &CancellationToken,
        on_event: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Result<Answer, AgentError> {
        let began = Instant::now();
        let (offer, _) = self.offer(cancel).await?;
        self.drive(Step::Resume(Box::new(suspended), approved), Driven { talk, cancel, offer, began }, on_event).await
    }

    /// The tools for this answer, and what to say about those that are not there.
    async fn offer(&self, cancel: &CancellationToken) -> Result<(Offer, Vec<Warning>), AgentError> {
        let Some((toolbox, _)) = self.tools.as_ref().filter(|(toolbox, _)| !toolbox.is_empty()) else {
            return Ok((Offer::default(), Vec::new()));
        };
        let can = cancel.run_until_cancelled(self.client.capabilities()).await.ok_or(LlmError::Cancelled)??;
        if can.tools == Some(false) {
            return Ok((Offer::default(), vec![steps::no_tools()]));
        }
        let offer = cancel.run_until_cancelled(toolbox.offer()).await.ok_or(LlmError::Cancelled)?;
        let unavailable = |problem: &String| Warning::new(WarningCode::ToolsUnavailable, problem.clone());
        let warnings = offer.problems.iter().map(unavailable).collect();
        Ok((offer, warnings))
    }

    /// Instructions, what is remembered, and the speaker's words.
    async fn work(&self, text: &str, talk: &Talk, offer: &Offer) -> Work {
        let said = |role, content: &str| Turn::Said(Message { role, content: content.to_owned() });
        let mut turns = Vec::new();
        let instructions = self.settings.instructions(!offer.tools.is_empty());
        if !instructions.trim().is_empty() {
            turns.push(said(Role::System, &instructions));
        }
        let mut tainted = false;
        if let (Some(talks), Some(id)) = (&self.talks, talk.id()) {
            let question = vec![said(Role::User, text)];
            let specs: usize = offer.tools.iter().map(|tool| tool.spec.parameters.to_string().len() / 3 + 300).sum();
            let taken = memory::tokens(&turns) + memory::tokens(&question) + specs + self.settings.max_tokens as usize;
            // Results of tools need room too.
            let results = if offer.tools.is_empty() { 0 } else { 1024 };
            let context = self.client.capabilities().await.ok().and_then(|can| can.context).unwrap_or(4096) as usize;
            let remembered = talks.memory.recall(&id, context.saturating_sub(taken + results));
            tainted = remembered.tainted;
            turns.extend(remembered.turns);
        }
        turns.push(said(Role::User, text));
        Work::new(turns, tainted, talk.id())
    }

    async fn drive(&self, step: Step, driven: Driven<'_>, on_event: OnEvent<'_>) -> Result<Answer, AgentError> {
        let Driven { talk, cancel, offer, began } = driven;
        let tier = self.client.endpoint().tier;
        let none = Limits::default();
        let limits = self.tools.as_ref().map_or(&none, |(_, limits)| limits);
        let mut first = None;
        let mut pass_on = |event: Event<'_>| {
            if let Event::Delta(_) = event {
                first.get_or_insert_with(|| began.elapsed());
            }
            on_event(event);
        };
        let mut work = Loop {
            client: &self.client,
            settings: &self.settings,
            limits,
            toolbox: self.tools.as_ref().map(|(toolbox, _)| toolbox),
            offer,
            confirm: &talk.confirm,
            cancel,
            began,
        };
        let end = match step {
            Step::Ask(asked) => work.run(*asked, &mut pass_on).await?,
            Step::Resume(suspended, approved) => work.resume(*suspended, approved, &mut pass_on).await?,
        };
        let mut cached_tokens = None;
        let (reply, warnings) = match end {
            End::Answered(mut work, finish) => {
                let reply = reply(&mut work, tier, finish)?;
                cached_tokens = work.cached;
                self.remember(&mut work);
                (reply, work.warnings)
            }
            End::Suspended(suspended) => {
                let (reply, warnings) = self.suspend(*suspended, talk, limits, tier)?;
                if let Some(pending) = &reply.pending {
                    pass_on(Event::Pending(pending));
                }
                (reply, warnings)
            }
        };
        let total = began.elapsed();
        Ok(Answer { reply, first_ms: millis(first.unwrap_or(total)), total_ms: millis(total), warnings, cached_tokens })
    }

    fn remember(&self, work: &mut Work) {
        if let (Some(talks), Some(id)) = (&self.talks, work.conversation.take()) {
            let turns = work.turns.split_off(work.question);
            talks.memory.remember(&id, Exchange { turns, tainted: work.tainted_since });
        }
    }

    fn suspend(
        &self,
        mut suspended: Suspended,
        talk: &Talk,
        limits: &Limits,
        tier: Tier,
    ) -> Result<(Reply, Vec<Warning>), AgentError> {
        let Some(talks) = &self.talks else { return Err(AgentError::Confirmation("nothing is kept".into())) };
        let (mut reply, warnings) = suspended.so_far(tier);
        let conversation = suspended.conversation();
        let pending = talks.pending.keep(&talk.owner, conversation, suspended, limits.confirm);
        let pending = pending.map_err(AgentError::Confirmation)?;
        let question = format!("{}({}): yes or no?", pending.tool, pending.arguments);
        reply.spoken = Some(format!("May I use {}?", pending.tool.replace("__", " ").replace('_', " ")));
        reply.text = if reply.text.is_empty() { question } else { format!("{}\n\n{question}", reply.text) };
        reply.pending = Some(pending);
        Ok((reply, warnings))
    }
}

enum Step {
    Ask(Box<Work>),
    Resume(Box<Suspended>, bool),
}

struct Driven<'a> {
    talk: &'a Talk,
    cancel: &'a CancellationToken,
    offer: Offer,
    began: Instant,
}

/// What was answered, as it is delivered.
fn reply(work: &mut Work, tier: Tier, finish: Finish) -> Result<Reply, AgentError> {
    let text = work.text.trim().to_owned();
    if text.is_empty() {
        return Err(match finish {
            Finish::Timeout => AgentError::Limit { tier, what: "its time" },
            Finish::Length => AgentError::Limit { tier, what: "its tokens or steps" },
            Finish::Stop | Finish::Broken => AgentError::Empty { tier },
        });
    }
    Ok(Reply {
        spoken: work.spoken.take().filter(|spoken| !spoken.is_empty()),
        text,
        tier,
        model: std::mem::take(&mut work.model),
        finish,
        tokens: work.generated,
        tools: std::mem::take(&mut work.uses),
        pending: None,
    })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(finish: Finish) -> Answer {
        let reply = Reply {
            text: "So".into(),
            tier: Tier::Heavy,
            model: "m".into(),
            finish,
            tokens: Some(1),
            spoken: None,
            tools: Vec::new(),
            pending: None,
        };
        Answer { reply, first_ms: 1.0, total_ms: 2.0, warnings: Vec::new(), cached_tokens: None }
    }

    #[test]
    fn a_whole_answer_needs_no_warning_and_each_cut_one_says_why() {
        assert_eq!(answer(Finish::Stop).warning(), None);
        for (finish, word) in
            [(Finish::Length, "max_tokens"), (Finish::Timeout, "timeout_seconds"), (Finish::Broken, "connection")]
        {
            let warning = answer(finish).warning().unwrap();
            assert_eq!(warning.code, WarningCode::ReplyTruncated);
            assert!(warning.message.contains(word) && warning.message.contains("heavy"), "{}", warning.message);
        }
    }
}
