//! The loop: completion, calls, results, completion, until the model answers or a limit cuts it.
//!
//! What holds over all steps is in [`Work`]; an answer that waits for a person is its work with the step that is open
//! ([`Suspended`]). Nothing that a tool returns can change what is allowed: permissions are looked up by this loop, from
//! the toolbox, for every call; results only ever make it more careful (`tainted`).

use super::calls::{Held, Prepared, prepare};
use super::fence::fenced;
use super::memory::tokens;
use super::spoken::{Splitter, Spoken};
use super::suspended::{Open, Suspended};
use super::tools::{Arguments, Offer, Permission, Toolbox};
use super::work::Work;
use super::{AgentError, AgentSettings, Confirm, Event, Limits};
use crate::outcome::{Finish, ToolEnd, Warning, WarningCode};
use crate::text::llm::{
    Client, Completion, LlmError, Message, Role, ToolCall, ToolChoice, ToolRequest, ToolSpec, Turn,
};
use serde_json::Value;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Fewest tokens worth asking for.
const FEWEST: u32 = 16;
/// Steps with calls that cannot be made, before the model must answer without.
const FAULTS: u32 = 2;

/// Who is told what happens.
pub(super) type OnEvent<'a> = &'a mut (dyn FnMut(Event<'_>) + Send);

/// How the loop ended.
pub(super) enum End {
    Answered(Box<Work>, Finish),
    Suspended(Box<Suspended>),
}

/// What the loop works with.
pub(super) struct Loop<'a> {
    pub client: &'a Client,
    pub settings: &'a AgentSettings,
    pub limits: &'a Limits,
    pub toolbox: Option<&'a Toolbox>,
    pub offer: Offer,
    pub confirm: &'a Confirm,
    pub cancel: &'a CancellationToken,
    pub began: Instant,
}

impl Loop<'_> {
    /// From the question, or from where it was.
    pub async fn run(&mut self, mut work: Work, on_event: OnEvent<'_>) -> Result<End, AgentError> {
        loop {
            let Some(left) = self.left(&work) else { return Ok(End::Answered(Box::new(work), Finish::Timeout)) };
            let Some((max_tokens, last)) = self.budget(&work) else {
                return Ok(End::Answered(Box::new(work), Finish::Length));
            };
            let (completion, calls) = match self.step(&mut work, (left, max_tokens, last), on_event).await {
                Ok(step) => step,
                Err(LlmError::Cancelled) => return Err(LlmError::Cancelled.into()),
                Err(LlmError::TooLong { .. }) if work.shrink() => continue,
                Err(error) if self.knows_no_tools(&error, &work) => {
                    self.offer.tools.clear();
                    work.warnings.push(no_tools());
                    continue;
                }
                Err(error) if work.text.trim().is_empty() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, "an answer broke off between two steps");
                    let late = matches!(error, LlmError::Timeout { .. });
                    return Ok(End::Answered(Box::new(work), if late { Finish::Timeout } else { Finish::Broken }));
                }
            };
            if calls.is_empty() {
                return Ok(End::Answered(Box::new(work), completion.finish));
            }
            if last {
                // It was told to answer and calls all the same.
                return Ok(End::Answered(Box::new(work), Finish::Length));
            }
            let open = self.calls(&mut work, &calls, on_event).await?;
            if let Some(end) = self.close(&mut work, open, on_event).await? {
                return Ok(suspended(work, end, self.began));
            }
        }
    }

    /// Goes on after a person's word about the call that was asked about.
    pub async fn resume(
        &mut self,
        suspended_work: Suspended,
        approved: bool,
        on_event: OnEvent<'_>,
    ) -> Result<End, AgentError> {
        let Suspended { mut work, mut open, asked } = suspended_work;
        let result = self.decided(&mut work, &asked, approved, on_event).await?;
        if let Some((at, _)) = open.waiting.pop_front() {
            open.results[at] = Some(result);
        }
        match self.close(&mut work, open, on_event).await? {
            Some(end) => Ok(suspended(work, end, self.began)),
            None => self.run(work, on_event).await,
        }
    }

    /// One completion. Its text is shown, its calls are returned.
    async fn step(
        &self,
        work: &mut Work,
        (left, max_tokens, last): (Duration, u32, bool),
        on_event: OnEvent<'_>,
    ) -> Result<(Completion, Vec<ToolCall>), LlmError> {
        let specs: Vec<ToolSpec> = self.offer.tools.iter().map(|tool| tool.spec.clone()).collect();
        let choice = if last { ToolChoice::None } else { ToolChoice::Auto };
        let holds = !specs.is_empty() && !last;
        let (mut held, mut splitter, mut raw) = (Held::default(), Splitter::default(), String::new());
        let (turns, text) = (&work.turns, &mut work.text);
        let from = text.len();
        let mut show = |visible: &str| {
            let visible = if text.len() == from { visible.trim_start() } else { visible };
            if visible.is_empty() {
                return;
            }
            if text.len() == from && from > 0 {
                text.push_str("\n\n");
                on_event(Event::Delta("\n\n"));
            }
            text.push_str(visible);
            on_event(Event::Delta(visible));
        };
        let mut on_delta = |piece: &str| {
            raw.push_str(piece);
            let free = if holds { held.push(piece) } else { piece.to_owned() };
            show(&splitter.push(&free));
        };
        let request = ToolRequest {
            turns,
            tools: &specs,
            choice,
            max_tokens,
            temperature: self.settings.temperature,
            timeout: left,
        };
        let answer = self.client.chat_tools(&request, self.cancel, &mut on_delta).await;
        let (completion, mut calls) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                show(&splitter.finish().0);
                return Err(error);
            }
        };
        let mut written = false;
        if holds {
            match held.finish(&self.offer) {
                Ok(found) if calls.is_empty() => {
                    calls = found;
                    written = true;
                }
                Ok(_) => {}
                Err(rest) => show(&splitter.push(&rest)),
            }
        }
        let (rest, spoken) = splitter.finish();
        show(&rest);
        work.steps += 1;
        work.spoken = match spoken {
            Spoken::Said(words) => Some(words),
            Spoken::Rule => Some(super::spoken::by_rule(&work.text[from..])),
        };
        work.count(&completion);
        let text = if written { String::new() } else { raw };
        work.turns.push(if calls.is_empty() {
            Turn::Said(Message { role: Role::Assistant, content: text })
        } else {
            Turn::Called { text, calls: calls.iter().map(readable).collect() }
        });
        Ok((completion, calls))
    }

    /// Makes the calls of a step that need nobody's word; the others are left open.
    async fn calls(&self, work: &mut Work, calls: &[ToolCall], on_event: OnEvent<'_>) -> Result<Open, AgentError> {
        let mut open = Open {
            calls: calls.iter().map(|call| (call.id.clone(), call.name.clone())).collect(),
            results: vec![None; calls.len()],
            waiting: VecDeque::new(),
        };
        let before = work.made.clone();
        let (mut together, mut in_turn, mut fault) = (Vec::new(), Vec::new(), false);
        for (at, call) in calls.iter().enumerate() {
            let prepared = match prepare(call, &self.offer) {
                _ if at >= self.limits.calls => {
                    Err(format!("at most {} calls are made at a time; this one was not", self.limits.calls))
                }
                Ok(prepared) if !work.made.insert(prepared.key()) => {
                    // The same thing again will not help: it must answer.
                    work.answer_now |= before.contains(&prepared.key());
                    Err("this very call was made before; answer with what it returned".to_owned())
                }
                Err(complaint) => {
                    fault = true;
                    Err(complaint)
                }
                Ok(prepared) => Ok(prepared),
            };
            match prepared {
                Err(complaint) => {
                    work.note(&call.name, arguments_of(call), (ToolEnd::Refused, &complaint), on_event);
                    open.results[at] = Some(Err(complaint));
                }
                Ok(prepared) if self.asks(work, &prepared) => open.waiting.push_back((at, prepared)),
                Ok(prepared) if prepared.tool.permission == Permission::ReadOnly => together.push((at, prepared)),
                Ok(prepared) => in_turn.push((at, prepared)),
            }
        }
        work.faults += u32::from(fault);
        work.answer_now |= work.faults >= FAULTS;
        for (_, prepared) in &together {
            told(prepared, on_event);
        }
        let limit = self.call_limit(work);
        let all = futures_util::future::join_all(together.iter().map(|(_, prepared)| self.call(prepared, limit)));
        let results = self.cancel.run_until_cancelled(all).await.ok_or(LlmError::Cancelled)?;
        for ((at, prepared), result) in together.iter().zip(results) {
            work.ended(prepared, &result, on_event);
            open.results[*at] = Some(result);
        }
        for (at, prepared) in &in_turn {
            open.results[*at] = Some(self.made(work, prepared, on_event).await?);
        }
        Ok(open)
    }

    /// Has the waiting calls decided, if somebody is there to decide; then the results are part of the conversation.
    /// Otherwise the step as it stands, with the call to ask about.
    async fn close(
        &mut self,
        work: &mut Work,
        mut open: Open,
        on_event: OnEvent<'_>,
    ) -> Result<Option<(Open, Prepared)>, AgentError> {
        while let Some((at, prepared)) = open.waiting.front().cloned() {
            let approved = match self.confirm {
                Confirm::Later => return Ok(Some((open, prepared))),
                Confirm::Never(reason) => {
                    let message = format!("{} was not called: {reason}", prepared.tool.spec.name);
                    work.warnings.push(Warning::new(WarningCode::ToolDenied, message));
                    false
                }
                Confirm::Ask(ask) => {
                    let asked = Instant::now();
                    let arguments = Value::Object(prepared.arguments.clone());
                    let question = ask(prepared.tool.spec.name.clone(), arguments);
                    let question = tokio::time::timeout(self.limits.confirm, question);
                    let answer = self.cancel.run_until_cancelled(question).await.ok_or(LlmError::Cancelled)?;
                    // A person's time is not the model's.
                    self.began += asked.elapsed();
                    answer.unwrap_or(false)
                }
            };
            open.waiting.pop_front();
            open.results[at] = Some(self.decided(work, &prepared, approved, on_event).await?);
        }
        for ((id, name), result) in open.calls.into_iter().zip(open.results) {
            let result = result.unwrap_or_else(|| Err("it was not made".to_owned()));
            if self.offer.find(&name).is_none_or(|tool| tool.untrusted) {
                (work.tainted, work.tainted_since) = (true, true);
            }
            let content = fenced(&printable(&name), &result, self.limits.result_chars);
            work.turns.push(Turn::Returned { id, name: printable(&name), content });
        }
        Ok(None)
    }

    /// A call that a person has decided about: made only if it is still what was shown.
    async fn decided(
        &self,
        work: &mut Work,
        prepared: &Prepared,
        approved: bool,
        on_event: OnEvent<'_>,
    ) -> Result<Result<String, String>, AgentError> {
        let name = &prepared.tool.spec.name;
        let same = self.offer.find(name).is_some_and(|tool| tool.is_same(&prepared.tool));
        let refused = match (approved, same) {
            (true, true) => return self.made(work, prepared, on_event).await,
            (true, false) => "the tool is gone or has changed since the user was asked; it was not called",
            (false, _) => "the user did not allow this call; do not try it again, answer without it",
        };
        let arguments = Value::Object(prepared.arguments.clone());
        work.note(name, arguments, (ToolEnd::Denied, refused), on_event);
        Ok(Err(refused.to_owned()))
    }

    async fn made(
        &self,
        work: &mut Work,
        prepared: &Prepared,
        on_event: OnEvent<'_>,
    ) -> Result<Result<String, String>, AgentError> {
        told(prepared, on_event);
        let call = self.call(prepared, self.call_limit(work));
        let result = self.cancel.run_until_cancelled(call).await.ok_or(LlmError::Cancelled)?;
        work.ended(prepared, &result, on_event);
        Ok(result)
    }

    async fn call(&self, prepared: &Prepared, limit: Duration) -> Result<String, String> {
        match self.toolbox {
            Some(toolbox) => toolbox.call(&prepared.tool, &prepared.arguments, limit).await,
            None => Err("there are no tools".into()),
        }
    }

    /// Whether a person must say yes. What came from a stranger may have put the idea into the model's head: from then
    /// on whatever changes something or sends something out is asked about, also where that was waived.
    fn asks(&self, work: &Work, prepared: &Prepared) -> bool {
        match prepared.tool.permission {
            Permission::Ask | Permission::Forbidden => true,
            Permission::Unconfirmed => work.tainted,
            Permission::ReadOnly => work.tainted && prepared.tool.network,
        }
    }

    fn left(&self, work: &Work) -> Option<Duration> {
        let left = self.settings.timeout.checked_sub(work.used + self.began.elapsed())?;
        (!left.is_zero()).then_some(left)
    }

    /// A tool must leave time for the answer.
    fn call_limit(&self, work: &Work) -> Duration {
        self.limits.call_timeout.min(self.left(work).unwrap_or_default().mul_f64(0.8))
    }

    /// Tokens that the next step may generate, and whether it must be the last; none where nothing is left.
    fn budget(&self, work: &Work) -> Option<(u32, bool)> {
        let first = work.steps == 0;
        let last = work.answer_now || self.offer.tools.is_empty() || work.steps + 1 >= self.limits.steps;
        if first {
            // Without tools there is one step, whose limit is its own.
            return Some((self.settings.max_tokens, last));
        }
        if work.steps >= self.limits.steps {
            return None;
        }
        // What is new in the prompt is read, the rest is cached.
        let news = work.prompt.map_or(0, |(_, turns)| tokens(&work.turns[turns.min(work.turns.len())..]));
        let news = u32::try_from(news).unwrap_or(u32::MAX);
        let left = self.limits.tokens.saturating_sub(work.spent).saturating_sub(news);
        let max_tokens = left.min(self.settings.max_tokens);
        (max_tokens >= FEWEST).then_some((max_tokens, last || left < 2 * self.settings.max_tokens))
    }

    /// Whether a server refused the request because of the tools in it.
    fn knows_no_tools(&self, error: &LlmError, work: &Work) -> bool {
        let refused = matches!(error, LlmError::Status { status: 400 | 404 | 422 | 500 | 501, message, .. }
            if message.to_lowercase().contains("tool") || message.to_lowercase().contains("jinja"));
        refused && work.steps == 0 && !self.offer.tools.is_empty()
    }
}

fn told(prepared: &Prepared, on_event: OnEvent<'_>) {
    let arguments = Value::Object(prepared.arguments.clone());
    on_event(Event::ToolCall { tool: &prepared.tool.spec.name, arguments: &arguments });
}

fn suspended(mut work: Work, (open, asked): (Open, Prepared), began: Instant) -> End {
    work.used += began.elapsed();
    End::Suspended(Box::new(Suspended { work, open, asked }))
}

/// A call as it is sent back: chat templates read its arguments, and fail where they are no JSON object.
fn readable(call: &ToolCall) -> ToolCall {
    let arguments =
        serde_json::from_str::<Arguments>(&call.arguments).map_or("{}".to_owned(), |_| call.arguments.clone());
    ToolCall { arguments, name: printable(&call.name), id: call.id.clone() }
}

/// A name that a model made up, as it may be shown.
fn printable(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')).take(64).collect()
}

fn arguments_of(call: &ToolCall) -> Value {
    serde_json::from_str(&call.arguments).unwrap_or_else(|_| Value::String(call.arguments.chars().take(500).collect()))
}

/// The model cannot be offered tools.
pub(super) fn no_tools() -> Warning {
    let message =
        "the model's chat template knows no tools: it answered without; choose another model, or set agent.allow = []";
    Warning::new(WarningCode::ToolsUnavailable, message)
}
