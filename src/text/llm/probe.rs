//! Finds out once what a server can do.

use super::transport::Transport;
use super::{Capabilities, LlmError};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::OnceLock;
use std::time::Instant;
use tokio::sync::Mutex;

/// The remembered result of a probe, shared by all callers.
#[derive(Debug, Default)]
pub(super) struct Probe {
    known: OnceLock<Capabilities>,
    /// Held while a probe runs. The failure in it is for those who waited meanwhile, not for later callers.
    running: Mutex<Option<(Instant, LlmError)>>,
}

impl Probe {
    /// What is known, or what `probe` finds. A caller that gives up in the middle leaves the next one to probe.
    pub async fn get<F: Future<Output = Result<Capabilities, LlmError>>>(
        &self,
        probe: impl FnOnce() -> F,
    ) -> Result<Capabilities, LlmError> {
        if let Some(known) = self.known.get() {
            return Ok(known.clone());
        }
        let came = Instant::now();
        let mut failed = self.running.lock().await;
        if let Some(known) = self.known.get() {
            return Ok(known.clone());
        }
        if let Some((_, error)) = failed.as_ref().filter(|(at, _)| *at >= came) {
            return Err(error.clone());
        }
        match probe().await {
            Ok(found) => Ok(self.known.get_or_init(|| found).clone()),
            Err(error) => {
                *failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

/// Asks the server: llama.cpp's `/props` first, then `/v1/models`, then a token under a grammar.
pub(super) async fn run(
    transport: &Transport,
    model: Option<&str>,
    deadline: Instant,
) -> Result<Capabilities, LlmError> {
    let mut found = match transport.get("/props", deadline).await {
        Ok(props) => from_props(&props),
        // No such path, or a catch-all page: some other server.
        Err(LlmError::Status { status: 400 | 403..=405 | 501, .. } | LlmError::Garbage { .. }) => None,
        Err(error) => return Err(error),
    }
    .unwrap_or_default();
    if !found.native {
        found.model = first_model(transport, deadline).await?;
    }
    let model = model.or(if found.native { None } else { found.model.as_deref() });
    found.grammar = match obeys_grammar(transport, model, deadline).await {
        // Refused. A 500 of llama.cpp is trouble; of others it may well be the unknown field.
        Err(LlmError::Status { status: 400 | 404 | 422, .. }) => false,
        Err(LlmError::Status { status: 500, .. }) if !found.native => false,
        answer => answer?,
    };
    tracing::debug!(?found, "probed");
    Ok(found)
}

fn from_props(props: &Value) -> Option<Capabilities> {
    let small = |path: &str| props.pointer(path).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let text = |key: &str| props.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    Some(Capabilities {
        grammar: false,
        native: true,
        slots: small("/total_slots")?,
        context: small("/default_generation_settings/n_ctx"),
        tools: props.pointer("/chat_template_caps/supports_tools").and_then(Value::as_bool),
        model: text("model_alias").or(text("model_path")).map(str::to_owned),
    })
}

async fn first_model(transport: &Transport, deadline: Instant) -> Result<Option<String>, LlmError> {
    match transport.get("/v1/models", deadline).await {
        Ok(models) => Ok(models.pointer("/data/0/id").and_then(Value::as_str).map(str::to_owned)),
        // Optional in the API: chat may work all the same.
        Err(LlmError::Status { status: 404 | 405 | 501, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One token under a grammar that allows only "Z". Servers that do not know the field ignore it or refuse the request.
async fn obeys_grammar(transport: &Transport, model: Option<&str>, deadline: Instant) -> Result<bool, LlmError> {
    let mut body = json!({
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 1,
        "temperature": 0,
        "grammar": "root ::= \"Z\"",
        // Known to llama.cpp and vLLM; without it a thinking model's template could open a thought.
        "chat_template_kwargs": {"enable_thinking": false},
    });
    if let Some(model) = model {
        body["model"] = json!(model);
    }
    let answer = transport.post("/v1/chat/completions", &body, deadline).await?;
    Ok(answer.pointer("/choices/0/message/content").and_then(Value::as_str) == Some("Z"))
}
