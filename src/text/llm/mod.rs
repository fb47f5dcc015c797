//! The only place that speaks HTTP to a language model. One `Client` a tier; cheap to clone.

use crate::outcome::{Finish, Tier};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

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
    /// Model name as the server gives it.
    pub model: Option<String>,
}

/// Why a request to a language model failed. Keys never stand in here.
#[derive(Debug, thiserror::Error)]
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

/// Chat completions, label scores and tokens from one server.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: std::sync::Arc<Endpoint>,
}

impl Client {
    /// Builds the client; does not connect.
    pub fn new(endpoint: Endpoint) -> Result<Self, LlmError> {
        Ok(Client { endpoint: std::sync::Arc::new(endpoint) })
    }
    /// Where this client sends to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
    /// What the server can do; probed on the first call that gets an answer, then remembered.
    pub async fn capabilities(&self) -> Result<Capabilities, LlmError> {
        todo!()
    }
    /// One completion, whole.
    pub async fn chat(&self, _request: &ChatRequest, _cancel: &CancellationToken) -> Result<Completion, LlmError> {
        todo!()
    }
    /// One completion, streamed: `on_delta` gets each piece of visible text. A stream that breaks after text came
    /// is not an error: `finish` is `Broken` and the text so far is kept. Cancelling closes the connection.
    pub async fn chat_stream(
        &self,
        _request: &ChatRequest,
        _cancel: &CancellationToken,
        _on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Completion, LlmError> {
        todo!()
    }
    /// Probabilities of single-token labels as the next token: raw softmax, before any grammar.
    pub async fn score(&self, _request: &ScoreRequest, _cancel: &CancellationToken) -> Result<Scores, LlmError> {
        todo!()
    }
    /// How many tokens `text` is, where the server can say.
    pub async fn count_tokens(&self, _text: &str) -> Result<Option<usize>, LlmError> {
        todo!()
    }
    /// Reads a static prefix into the server's cache (one-token completion), in `slot`.
    pub async fn warm_up(
        &self,
        _messages: &[Message],
        _slot: Option<u32>,
        _cancel: &CancellationToken,
    ) -> Result<(), LlmError> {
        todo!()
    }
}
