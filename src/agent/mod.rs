//! Answers: what a language model says to an utterance. The heavy tier answers what needs thought, the light one quick
//! questions; both are an `Agent`, with another client and other settings.
//!
//! An answer is a sequence of steps over one conversation. A step is one completion; today every step is the last,
//! because the model is offered no tools. Tools come in between two steps: [`Agent::answer`] owns the conversation and
//! the limits (time, tokens, cancellation) that hold over all of them, `step` knows one request.
//!
//! What the speaker said is data: it is the user message, whole and alone, and never becomes part of the instructions.

use crate::outcome::{Finish, Reply, Tier, Warning, WarningCode};
use crate::text::llm::{ChatRequest, Client, Completion, LlmError, Message, Role};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Instructions of the heavy model when none are configured.
pub const HEAVY_PROMPT: &str = "You are BestBox, a capable assistant on the user's own computer. \
The user speaks to you; their words come from speech recognition and may hold recognition errors, so go by what they \
most likely meant. Answer in the language of the user. Be direct and complete: give the result first, then what is \
needed to use it. You have no access to the user's files, mail, calendar, devices or the internet. Where a request \
needs them, say so in one sentence, never pretend to have done it, and give what you can instead, such as a draft, \
the steps or the code.";

/// Instructions of the light model when none are configured.
pub const LIGHT_PROMPT: &str = "You are BestBox, an assistant that answers short spoken questions. The words come from \
speech recognition and may hold errors. Answer in the language of the question, correctly and in one or two short \
sentences. If you do not know, say so.";

/// How an agent answers.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentSettings {
    /// Instructions.
    pub system_prompt: String,
    /// Limit on generated tokens.
    pub max_tokens: u32,
    /// Limit on the whole answer.
    pub timeout: Duration,
    /// 0 is greedy.
    pub temperature: f32,
}

impl AgentSettings {
    /// For the heavy model: 512 tokens, two minutes.
    pub fn heavy() -> Self {
        AgentSettings {
            system_prompt: HEAVY_PROMPT.to_owned(),
            max_tokens: 512,
            timeout: Duration::from_secs(120),
            temperature: 0.0,
        }
    }

    /// For quick questions: 160 tokens, thirty seconds.
    pub fn light() -> Self {
        AgentSettings {
            system_prompt: LIGHT_PROMPT.to_owned(),
            max_tokens: 160,
            timeout: Duration::from_secs(30),
            temperature: 0.0,
        }
    }
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
}

impl Answer {
    /// What a person should know when the answer is not whole.
    pub fn warning(&self) -> Option<Warning> {
        let tier = self.reply.tier.name();
        let reason = match self.reply.finish {
            Finish::Stop => return None,
            Finish::Length => "reached its limit of tokens; raise max_tokens for longer answers",
            Finish::Timeout => "reached its time limit; raise timeout_seconds for longer answers",
            Finish::Broken => "broke off because the connection to the model server was lost",
        };
        Some(Warning::new(WarningCode::ReplyTruncated, format!("the {tier} model's answer {reason}")))
    }
}

/// Answers utterances with one model. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Agent {
    client: Client,
    settings: AgentSettings,
}

impl Agent {
    /// Does not connect.
    pub fn new(client: Client, settings: AgentSettings) -> Self {
        Agent { client, settings }
    }

    /// Answers `text`; `on_delta` gets each piece of the answer as it comes. Ends at the token limit, the time limit or
    /// a broken stream with the text so far (see `Reply::finish`). Cancelling drops the connection, which stops the server.
    pub async fn answer(
        &self,
        text: &str,
        cancel: &CancellationToken,
        on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Answer, AgentError> {
        let start = Instant::now();
        let mut first = None;
        let mut pass_on = |delta: &str| {
            first.get_or_insert_with(|| start.elapsed());
            on_delta(delta);
        };
        let completion = self.step(self.conversation(text), cancel, &mut pass_on).await?;
        let total = start.elapsed();
        let tier = self.client.endpoint().tier;
        let text = completion.text.trim();
        if text.is_empty() {
            return Err(AgentError::Empty { tier });
        }
        let reply = Reply {
            text: text.to_owned(),
            tier,
            model: completion.model,
            finish: completion.finish,
            tokens: completion.generated_tokens,
        };
        Ok(Answer { reply, first_ms: millis(first.unwrap_or(total)), total_ms: millis(total) })
    }

    /// Has the server read what an answer to `text` begins with, so that the answer itself begins sooner.
    pub async fn read_ahead(&self, text: &str, cancel: &CancellationToken) -> Result<(), LlmError> {
        self.client.read_ahead(&self.conversation(text), cancel).await
    }

    /// Instructions, then the speaker's words.
    fn conversation(&self, text: &str) -> Vec<Message> {
        let message = |role, content: &str| Message { role, content: content.to_owned() };
        let mut messages = Vec::with_capacity(2);
        if !self.settings.system_prompt.trim().is_empty() {
            messages.push(message(Role::System, &self.settings.system_prompt));
        }
        messages.push(message(Role::User, text));
        messages
    }

    /// One completion over the conversation so far.
    async fn step(
        &self,
        messages: Vec<Message>,
        cancel: &CancellationToken,
        on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Completion, LlmError> {
        let request = ChatRequest {
            messages,
            max_tokens: self.settings.max_tokens,
            temperature: self.settings.temperature,
            grammar: None,
            slot: None,
            timeout: Some(self.settings.timeout),
        };
        self.client.chat_stream(&request, cancel, on_delta).await
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(finish: Finish) -> Answer {
        let reply = Reply { text: "So".into(), tier: Tier::Heavy, model: "m".into(), finish, tokens: Some(1) };
        Answer { reply, first_ms: 1.0, total_ms: 2.0 }
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
