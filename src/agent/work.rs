//! What holds over all steps of an answer.

use super::Event;
use super::calls::{Key, Prepared};
use super::memory::{ConversationId, tokens};
use super::steps::OnEvent;
use crate::outcome::{ToolEnd, ToolUse, Warning};
use crate::text::llm::{Completion, Message, Role, Turn};
use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Instructions, what is remembered, the question, and what came of it so far.
    pub turns: Vec<Turn>,
    /// Where the question stands in `turns`.
    pub question: usize,
    /// Words of a stranger are among `turns`.
    pub tainted: bool,
    /// Of them, some came since the question.
    pub tainted_since: bool,
    /// Where it is remembered.
    pub conversation: Option<ConversationId>,
    /// What the person sees.
    pub text: String,
    pub spoken: Option<String>,
    pub uses: Vec<ToolUse>,
    pub warnings: Vec<Warning>,
    pub model: String,
    pub generated: Option<u32>,
    pub made: HashSet<Key>,
    pub steps: u32,
    pub faults: u32,
    /// No more calls.
    pub answer_now: bool,
    /// Tokens read (not cached) and generated.
    pub spent: u32,
    /// Tokens of the last prompt, and how many turns it had.
    pub prompt: Option<(u32, usize)>,
    /// Of the first prompt, tokens that the server had cached.
    pub cached: Option<u32>,
    /// Time used before it was suspended.
    pub used: Duration,
}

impl Work {
    /// A question: what stands before it, and its own turn at the end.
    pub fn new(turns: Vec<Turn>, tainted: bool, conversation: Option<ConversationId>) -> Self {
        Work { question: turns.len().saturating_sub(1), turns, tainted, conversation, ..Work::default() }
    }

    /// Makes room in the model's context: what is remembered goes first, then the longest result is halved.
    pub fn shrink(&mut self) -> bool {
        let start = usize::from(matches!(self.turns.first(), Some(Turn::Said(Message { role: Role::System, .. }))));
        if self.question > start {
            self.turns.drain(start..self.question);
            self.question = start;
            self.prompt = None;
            return true;
        }
        let results = self.turns.iter_mut().filter_map(|turn| match turn {
            Turn::Returned { content, .. } if content.len() > 800 => Some(content),
            _ => None,
        });
        let Some(longest) = results.max_by_key(|content| content.len()) else { return false };
        let half = longest.chars().count() / 2;
        *longest = longest.chars().take(half).collect();
        longest.push_str("\n[cut: the rest does not fit]\n</tool_data>");
        true
    }

    pub fn count(&mut self, completion: &Completion) {
        self.model.clone_from(&completion.model);
        let prompt = completion.prompt_tokens.unwrap_or_else(|| u32::try_from(tokens(&self.turns)).unwrap_or(u32::MAX));
        let read = prompt.saturating_sub(completion.cached_tokens.unwrap_or(0));
        self.cached = self.cached.or(completion.cached_tokens);
        let generated = completion.generated_tokens;
        self.spent = self.spent.saturating_add(read).saturating_add(generated.unwrap_or(0));
        self.prompt = Some((prompt, self.turns.len()));
        self.generated = generated.map(|tokens| self.generated.unwrap_or(0) + tokens).or(self.generated);
    }

    pub fn ended(&mut self, prepared: &Prepared, result: &Result<String, String>, on_event: OnEvent<'_>) {
        let (end, text) = match result {
            Ok(text) => (ToolEnd::Done, text),
            Err(text) => (ToolEnd::Failed, text),
        };
        let arguments = Value::Object(prepared.arguments.clone());
        self.note(&prepared.tool.spec.name, arguments, (end, text), on_event);
    }

    pub fn note(&mut self, tool: &str, arguments: Value, (end, text): (ToolEnd, &str), on_event: OnEvent<'_>) {
        on_event(Event::ToolResult { tool, end, text });
        self.uses.push(ToolUse { tool: tool.to_owned(), arguments, end });
    }
}
