//! The only place that speaks HTTP to a language model. One `Client` a tier; cheap to clone.
//!
//! Every call is bounded by its time limit and its cancellation token from the first connect to the last byte; giving
//! up drops the request, which closes the connection, which makes llama-server stop generating.

mod probe;
mod sse;
mod template;
mod think;
mod tools;
mod transport;
mod usage;
mod wire;

use crate::outcome::{Finish, Tier};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
pub use tools::{ToolCall, ToolChoice, ToolRequest, ToolSpec, Turn};
use transport::Transport;
pub use usage::Usage;

/// Where a tier is and how patient to be with it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Which tier this is, for messages.
    pub tier: Tier,
    /// Such as `http://127.0.0.1:8081` (a trailing `/v1` is accepted).
    pub base_url: String,
    /// Model name to send; servers with one model ignore it.
    pub model: Option<String>,
    /// Bearer key.
    pub key: Option<Secret>,
    /// To connect.
    pub connect_timeout: Duration,
    /// For a whole request, unless the request says otherwise.
    pub timeout: Duration,
}

/// A key that never shows in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key.
    pub fn new(key: impl Into<String>) -> Self {
        Secret(key.into())
    }
    /// The key itself, for the request header only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One chat message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// A chat completion to ask for.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// Static prefix first, the changing part last, so that the server's prefix cache holds.
    pub messages: Vec<Message>,
    /// Limit on generated tokens.
    pub max_tokens: u32,
    /// 0 is greedy.
    pub temperature: f32,
    /// GBNF; only sent where `Capabilities::grammar`.
    pub grammar: Option<String>,
    /// Slot to run in, so that each task keeps its own cached prefix; only sent where `Capabilities::slots`.
    pub slot: Option<u32>,
    /// Overrides the endpoint's.
    pub timeout: Option<Duration>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The text, thinking stripped.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Model name as the server gives it.
    pub model: String,
    /// Tokens of the prompt, where the server counts them.
    pub prompt_tokens: Option<u32>,
    /// Of those, how many came from the prefix cache.
    pub cached_tokens: Option<u32>,
    /// Tokens generated.
    pub generated_tokens: Option<u32>,
    /// Request to first token, milliseconds (streaming) or to the answer (not streaming).
    pub first_token_ms: f64,
}

/// One token's worth of probabilities over labels.
#[derive(Clone, Debug)]
pub struct ScoreRequest {
    /// The prompt; the next token is the label.
    pub messages: Vec<Message>,
    /// Single-token labels.
    pub labels: Vec<String>,
    /// Slot to run in.
    pub slot: Option<u32>,
    /// Overrides the endpoint's.
    pub timeout: Option<Duration>,
}

/// Raw probability mass of each label, in the order asked; they sum to at most 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// One a label.
    pub mass: Vec<f64>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Of those, how many came from the prefix cache.
    pub cached_tokens: Option<u32>,
}

/// What the server can do, probed once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Obeys `grammar` (GBNF).
    pub grammar: bool,
    /// Has llama.cpp's `/completion` with `n_probs`, `/tokenize` and `/apply-template`.
    pub native: bool,
    /// Slots that can be named with `id_slot`; 0 where unknown.
    pub slots: u32,
    /// Tokens of context a request may use, where known.
    pub context: Option<u32>,
    /// Whether the model's chat template knows tools, where the server says so.
    pub tools: Option<bool>,
    /// Model name as the server gives it.
    pub model: Option<String>,
}

/// Why a request to a language model failed. Keys never stand in here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LlmError {
    /// Nothing listens, or the connection broke before an answer began.
    #[error("the {} model server at {url} does not answer: {reason}", tier.name())]
    Unreachable { tier: Tier, url: String, reason: String },
    /// It did not finish in time.
    #[error("the {} model server did not answer within {seconds:.1} s", tier.name())]
    Timeout { tier: Tier, seconds: f64 },
    /// An HTTP error status.
    #[error("the {} model server answered {status}: {message}", tier.name())]
    Status { tier: Tier, status: u16, message: String },
    /// An answer that is not what the API promises, or one cut short.
    #[error("the {} model server sent an answer that makes no sense: {reason}", tier.name())]
    Garbage { tier: Tier, reason: String },
    /// The prompt does not fit in the model's context.
    #[error("the text is too long for the {} model's context", tier.name())]
    TooLong { tier: Tier },
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
}

/// Longest silence in the middle of a stream before it counts as stalled. Pings of the server do not break it.
const STALL: Duration = Duration::from_secs(60);

/// Chat completions, label scores and tokens from one server.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Arc<Endpoint>,
    transport: Arc<Transport>,
    probe: Arc<probe::Probe>,
    stall: Duration,
    trouble: Option<Arc<Notify>>,
    templates: Arc<template::Templates>,
}

impl Client {
    /// Builds the client; does not connect. Fails on a base URL that is none (`Unreachable`).
    pub fn new(endpoint: Endpoint) -> Result<Self, LlmError> {
        let transport = Transport::new(&endpoint)?;
        let (endpoint, transport) = (Arc::new(endpoint), Arc::new(transport));
        Ok(Client {
            endpoint,
            transport,
            probe: Arc::default(),
            stall: STALL,
            trouble: None,
            templates: Arc::default(),
        })
    }

    /// Same client; `trouble` is notified when a request fails in a way that a server which is gone would explain.
    pub fn with_trouble(mut self, trouble: Arc<Notify>) -> Self {
        self.trouble = Some(trouble);
        self
    }

    /// Same client with another limit on silence in the middle of a stream (60 s otherwise).
    pub fn with_stall_limit(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }

    /// Where this client sends to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Milliseconds that this client and its clones have waited for answers that are not streamed: what the model calls
    /// cost, without what is done around them.
    pub fn waited_ms(&self) -> f64 {
        self.transport.waited_ms()
    }

    /// What the calls of this client and its clones have cost.
    pub fn usage(&self) -> Usage {
        self.transport.usage()
    }

    /// Whether the server answers at all: its health page, or any other answer where it has none, within `limit`. Runs
    /// no inference. A server that says that it is loading (503) does not answer yet.
    pub async fn alive(&self, limit: Duration) -> Result<(), LlmError> {
        let timeout = LlmError::Timeout { tier: self.endpoint.tier, seconds: limit.as_secs_f64() };
        tokio::time::timeout(limit, self.transport.alive()).await.unwrap_or(Err(timeout))
    }

    /// Whether a slot of the server is free, so that a request would be worked on at once; `None` where it does not say.
    /// Runs no inference.
    pub async fn has_free_slot(&self, limit: Duration) -> Option<bool> {
        let slots =
            tokio::time::timeout(limit, self.transport.get("/slots", Instant::now() + limit)).await.ok()?.ok()?;
        let slots = slots.as_array()?;
        Some(slots.iter().any(|slot| slot.get("is_processing").and_then(Value::as_bool) == Some(false)))
    }

    /// What the server can do; probed on the first call that gets an answer, then remembered. Callers that come while
    /// a probe runs share its result, also its failure; a failure is not remembered beyond that.
    pub async fn capabilities(&self) -> Result<Capabilities, LlmError> {
        let never = CancellationToken::new();
        self.bounded(None, &never, |deadline| self.probed(deadline)).await
    }

    /// One completion, whole.
    pub async fn chat(&self, request: &ChatRequest, cancel: &CancellationToken) -> Result<Completion, LlmError> {
        let work = |deadline| async move {
            let can = self.probed(deadline).await?;
            let started = Instant::now();
            let answer = self.transport.post("/v1/chat/completions", &self.chat_body(request, &can), deadline).await?;
            let reply = wire::completion(&answer).map_err(|reason| self.transport.garbage(reason))?;
            Ok(reply.finished(keeps_tags(request, &can), started.elapsed()))
        };
        self.bounded(request.timeout, cancel, work).await
    }

    /// One completion, streamed: `on_delta` gets each piece of visible text. A stream that breaks after text came
    /// is not an error: `finish` is `Broken` (or `Timeout`, where the time was up) and the text so far is kept.
    /// Cancelling closes the connection.
    pub async fn chat_stream(
        &self,
        request: &ChatRequest,
        cancel: &CancellationToken,
        on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Completion, LlmError> {
        let limit = request.timeout.unwrap_or(self.endpoint.timeout);
        let deadline = Instant::now() + limit;
        // Only up to the headers: after that the stream ends itself, so that text which came is kept.
        let open = |deadline| async move {
            let can = self.probed(deadline).await?;
            let mut body = self.chat_body(request, &can);
            body["stream"] = json!(true);
            body["stream_options"] = json!({"include_usage": true});
            let started = Instant::now();
            let response = self.transport.open("/v1/chat/completions", &body, deadline).await?;
            Ok((response, keeps_tags(request, &can), started))
        };
        let (response, keep_tags, started) = self.bounded(Some(limit), cancel, open).await?;
        let patience = sse::Patience { deadline, limit, stall: self.stall };
        let read = sse::Reader::new(&self.transport, keep_tags, started).read(response, patience, on_delta);
        let answer = cancel.run_until_cancelled(read).await.unwrap_or(Err(LlmError::Cancelled));
        if answer.as_ref().is_ok_and(|answer| matches!(answer.finish, Finish::Broken | Finish::Timeout)) {
            self.report_trouble();
        }
        self.watched(answer)
    }

    /// Probabilities of single-token labels as the next token: raw softmax, before any grammar.
    ///
    /// The mass of a label is the probability of the token spelled exactly like it plus that of the token with one
    /// space before it (which of the two a model prefers depends on its template, and both say the label). Other
    /// spellings do not count. A label outside the tokens that the server lists (512 most probable with llama.cpp,
    /// 20 with the OpenAI API) has mass 0.
    pub async fn score(&self, request: &ScoreRequest, cancel: &CancellationToken) -> Result<Scores, LlmError> {
        let work = |deadline| async move {
            let can = self.probed(deadline).await?;
            let answer = if can.native {
                let prompt = self.prompt(&request.messages, deadline).await?;
                let body = wire::score_body(&prompt, request.slot.filter(|slot| *slot < can.slots));
                self.transport.post("/completion", &body, deadline).await?
            } else {
                let body = wire::openai_score_body(&request.messages, self.model(&can));
                self.transport.post("/v1/chat/completions", &body, deadline).await?
            };
            wire::scores(&answer, &request.labels).map_err(|reason| self.transport.garbage(reason))
        };
        self.bounded(request.timeout, cancel, work).await
    }

    /// How many tokens `text` is, where the server can say.
    pub async fn count_tokens(&self, text: &str) -> Result<Option<usize>, LlmError> {
        let never = CancellationToken::new();
        let work = |deadline| async move {
            if !self.probed(deadline).await?.native {
                return Ok(None);
            }
            self.token_count(text, deadline).await.map(Some)
        };
        self.bounded(None, &never, work).await
    }

    /// Whether each label is one token (with or without a space before it), in the order asked; `None` where the
    /// server cannot say.
    pub async fn single_tokens(&self, labels: &[String]) -> Result<Option<Vec<bool>>, LlmError> {
        let never = CancellationToken::new();
        let work = |deadline| async move {
            if !self.probed(deadline).await?.native {
                return Ok(None);
            }
            let mut single = Vec::with_capacity(labels.len());
            for label in labels {
                let one = self.token_count(label, deadline).await? == 1
                    || self.token_count(&format!(" {label}"), deadline).await? == 1;
                single.push(one);
            }
            Ok(Some(single))
        };
        self.bounded(None, &never, work).await
    }

    /// Reads a static prefix into the server's cache (one-token completion), in `slot`.
    pub async fn warm_up(
        &self,
        messages: &[Message],
        slot: Option<u32>,
        cancel: &CancellationToken,
    ) -> Result<(), LlmError> {
        let request = ChatRequest {
            messages: messages.to_vec(),
            max_tokens: 1,
            temperature: 0.0,
            grammar: None,
            slot,
            timeout: None,
        };
        self.chat(&request, cancel).await.map(drop)
    }

    /// Reads `messages` into the server's cache, in the slot that the server chooses: the request that comes next with the
    /// same beginning starts where this ended. Generates no more than the one token that reading gives anyway.
    pub async fn read_ahead(&self, messages: &[Message], cancel: &CancellationToken) -> Result<(), LlmError> {
        let request = ChatRequest {
            messages: messages.to_vec(),
            max_tokens: 0,
            temperature: 0.0,
            grammar: None,
            slot: None,
            timeout: None,
        };
        let work = |deadline| async move {
            let can = self.probed(deadline).await?;
            if !can.native {
                // Others have no such thing as a prompt without an answer, or refuse it.
                return Ok(());
            }
            let body = self.chat_body(&request, &can);
            self.transport.post("/v1/chat/completions", &body, deadline).await.map(drop)
        };
        self.bounded(None, cancel, work).await
    }

    /// Has the server keep what `slot` has read in `file`, a plain name in the folder it was started with.
    pub async fn save_slot(&self, slot: u32, file: &str, cancel: &CancellationToken) -> Result<(), LlmError> {
        self.slot_action("save", slot, file, cancel).await
    }

    /// The reverse: as if the slot had just read it. Fails where the file is missing or another model's.
    pub async fn restore_slot(&self, slot: u32, file: &str, cancel: &CancellationToken) -> Result<(), LlmError> {
        self.slot_action("restore", slot, file, cancel).await
    }

    async fn slot_action(&self, what: &str, slot: u32, file: &str, cancel: &CancellationToken) -> Result<(), LlmError> {
        let path = format!("/slots/{slot}?action={what}");
        let body = json!({ "filename": file });
        let work = |deadline| async move { self.transport.post(&path, &body, deadline).await.map(drop) };
        self.bounded(None, cancel, work).await
    }

    async fn probed(&self, deadline: Instant) -> Result<Capabilities, LlmError> {
        self.probe.get(|| probe::run(&self.transport, self.endpoint.model.as_deref(), deadline)).await
    }

    /// Runs `work` until its deadline or until cancelled, whichever comes first; both drop it.
    async fn bounded<T, F, W>(
        &self,
        limit: Option<Duration>,
        cancel: &CancellationToken,
        work: W,
    ) -> Result<T, LlmError>
    where
        F: Future<Output = Result<T, LlmError>>,
        W: FnOnce(Instant) -> F,
    {
        let limit = limit.unwrap_or(self.endpoint.timeout);
        let timeout = LlmError::Timeout { tier: self.endpoint.tier, seconds: limit.as_secs_f64() };
        let timed = tokio::time::timeout(limit, work(Instant::now() + limit));
        let result = match cancel.run_until_cancelled(timed).await {
            None => Err(LlmError::Cancelled),
            Some(Err(_elapsed)) => Err(timeout),
            Some(Ok(result)) => result,
        };
        self.watched(result)
    }

    /// Passes a result on; a failure that a server which is gone would explain is reported.
    fn watched<T>(&self, result: Result<T, LlmError>) -> Result<T, LlmError> {
        if matches!(&result, Err(error) if !matches!(error, LlmError::TooLong { .. } | LlmError::Cancelled)) {
            self.report_trouble();
        }
        result
    }

    fn report_trouble(&self) {
        if let Some(trouble) = &self.trouble {
            trouble.notify_one();
        }
    }

    fn model<'a>(&'a self, can: &'a Capabilities) -> Option<&'a str> {
        self.endpoint.model.as_deref().or(if can.native { None } else { can.model.as_deref() })
    }

    fn chat_body(&self, request: &ChatRequest, can: &Capabilities) -> Value {
        wire::chat_body(request, can, self.model(can))
    }

    /// The prompt text that the server's own chat template makes of `messages`.
    async fn prompt(&self, messages: &[Message], deadline: Instant) -> Result<String, LlmError> {
        let known = self.templates.of(messages);
        if let template::Rendered::Prompt(prompt) = known {
            return Ok(prompt);
        }
        let prompt = self.rendered(messages, deadline).await?;
        if matches!(known, template::Rendered::Unknown) {
            let mut marked = messages.to_vec();
            marked.last_mut().into_iter().for_each(|last| template::MARK.clone_into(&mut last.content));
            self.templates.learn(messages, &prompt, &self.rendered(&marked, deadline).await?);
        }
        Ok(prompt)
    }

    async fn rendered(&self, messages: &[Message], deadline: Instant) -> Result<String, LlmError> {
        let body = json!({"messages": wire::messages(messages), "chat_template_kwargs": {"enable_thinking": false}});
        let answer = self.transport.post("/apply-template", &body, deadline).await?;
        match answer.get("prompt").and_then(Value::as_str) {
            Some(prompt) => Ok(prompt.to_owned()),
            None => Err(self.transport.garbage("no prompt in the answer of /apply-template")),
        }
    }

    async fn token_count(&self, text: &str, deadline: Instant) -> Result<usize, LlmError> {
        let answer = self.transport.post("/tokenize", &json!({"content": text}), deadline).await?;
        match answer.get("tokens").and_then(Value::as_array) {
            Some(tokens) => Ok(tokens.len()),
            None => Err(self.transport.garbage("no tokens in the answer of /tokenize")),
        }
    }
}

/// Text under a grammar is exactly what was asked for: a speaker may well have said "<think>".
fn keeps_tags(request: &ChatRequest, can: &Capabilities) -> bool {
    request.grammar.is_some() && can.grammar
}
