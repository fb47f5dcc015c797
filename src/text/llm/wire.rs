//! The JSON of llama.cpp's server and of the OpenAI API: bodies out, answers in. No I/O.

use super::think::ThinkFilter;
use super::{Capabilities, ChatRequest, Completion, Message, Role, Scores};
use crate::outcome::Finish;
use serde_json::{Value, json};
use std::time::Duration;

/// Token probabilities to ask llama.cpp for. A label that is not among these has less than 1/512 of the mass.
const NATIVE_TOP: u32 = 512;
/// The most that the OpenAI API gives.
const OPENAI_TOP: u32 = 20;

pub(super) fn messages(messages: &[Message]) -> Value {
    let role = |role| match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    messages.iter().map(|message| json!({"role": role(message.role), "content": message.content})).collect()
}

/// Body of a chat completion; fields beyond the OpenAI API only where the server knows them.
pub(super) fn chat_body(request: &ChatRequest, can: &Capabilities, model: Option<&str>) -> Value {
    let mut body = json!({
        "messages": messages(&request.messages),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
    });
    if let Some(model) = model {
        body["model"] = json!(model);
    }
    if let (Some(grammar), true) = (&request.grammar, can.grammar) {
        body["grammar"] = json!(grammar);
        if can.native {
            // What the grammar made is text to the last tag, not something to take thoughts out of.
            body["reasoning_format"] = json!("none");
        }
    }
    if can.native {
        body["cache_prompt"] = json!(true);
        body["chat_template_kwargs"] = json!({"enable_thinking": false});
        if let Some(slot) = request.slot.filter(|slot| *slot < can.slots) {
            body["id_slot"] = json!(slot);
        }
    }
    body
}

/// Body for llama.cpp's `/completion` that returns the raw softmax of the next token.
pub(super) fn score_body(prompt: &str, slot: Option<u32>) -> Value {
    let mut body = json!({
        "prompt": prompt,
        "n_predict": 1,
        "n_probs": NATIVE_TOP,
        // Before the samplers, so neither temperature nor top-k shape what comes back.
        "post_sampling_probs": false,
        "temperature": 0,
        "cache_prompt": true,
        "response_fields": ["completion_probabilities", "tokens_evaluated", "timings"],
    });
    if let Some(slot) = slot {
        body["id_slot"] = json!(slot);
    }
    body
}

/// The same through the OpenAI API.
pub(super) fn openai_score_body(prompt: &[Message], model: Option<&str>) -> Value {
    let mut body = json!({
        "messages": messages(prompt),
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": true,
        "top_logprobs": OPENAI_TOP,
    });
    if let Some(model) = model {
        body["model"] = json!(model);
    }
    body
}

/// Label masses out of either kind of answer.
pub(super) fn scores(answer: &Value, labels: &[String]) -> Result<Scores, String> {
    let first = answer
        .pointer("/completion_probabilities/0")
        .or_else(|| answer.pointer("/choices/0/logprobs/content/0"))
        .ok_or("no token probabilities in it")?;
    let listed = first.get("top_logprobs").and_then(Value::as_array).ok_or("no top_logprobs in it")?;
    let mut mass = vec![0.0; labels.len()];
    for entry in listed {
        let token = entry.get("token").and_then(Value::as_str).unwrap_or_default();
        let logprob = entry.get("logprob").and_then(Value::as_f64).ok_or("a token without logprob in it")?;
        let spelled = token.strip_prefix(' ').unwrap_or(token);
        for (label, mass) in labels.iter().zip(&mut mass) {
            if token == label || spelled == label {
                *mass += logprob.exp();
            }
        }
    }
    let mut counts = Counts::default();
    counts.read(answer);
    Ok(Scores { mass, prompt_tokens: counts.prompt, cached_tokens: counts.cached })
}

/// Token counts, from `usage`, `timings` or llama.cpp's own fields.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub prompt: Option<u32>,
    pub cached: Option<u32>,
    pub generated: Option<u32>,
}

impl Counts {
    /// Takes what `object` says; keeps what it does not.
    pub fn read(&mut self, object: &Value) {
        let number = |path: &str| object.pointer(path).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        self.prompt = number("/usage/prompt_tokens").or_else(|| number("/tokens_evaluated")).or(self.prompt);
        self.cached =
            number("/timings/cache_n").or_else(|| number("/usage/prompt_tokens_details/cached_tokens")).or(self.cached);
        self.generated =
            number("/usage/completion_tokens").or_else(|| number("/timings/predicted_n")).or(self.generated);
    }
}

/// An answer on its way to becoming a `Completion`.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    /// Visible text; thinking tags are still in it unless it was filtered while streaming.
    pub text: String,
    pub finish: Option<Finish>,
    pub model: String,
    pub counts: Counts,
}

impl Reply {
    /// Takes model name and counts from an answer or a chunk.
    pub fn note(&mut self, object: &Value) {
        if let Some(model) = object.get("model").and_then(Value::as_str) {
            self.model = model.to_owned();
        }
        self.counts.read(object);
    }

    /// The completion of an answer that came whole.
    pub fn finished(mut self, keep_tags: bool, took: Duration) -> Completion {
        if !keep_tags {
            let mut filter = ThinkFilter::default();
            let mut visible = filter.push(&self.text);
            visible.push_str(&filter.finish());
            self.text = visible;
        }
        self.completion(took)
    }

    /// The completion of an answer whose text is already visible text only.
    pub fn completion(self, first_token: Duration) -> Completion {
        Completion {
            text: self.text,
            finish: self.finish.unwrap_or(Finish::Stop),
            model: self.model,
            prompt_tokens: self.counts.prompt,
            cached_tokens: self.counts.cached,
            generated_tokens: self.counts.generated,
            first_token_ms: first_token.as_secs_f64() * 1000.0,
        }
    }
}

/// A whole chat completion. `reasoning_content` is never looked at.
pub(super) fn completion(answer: &Value) -> Result<Reply, String> {
    let choice = answer.pointer("/choices/0").ok_or("no choices in it")?;
    let message = choice.get("message").ok_or("no message in it")?;
    let text = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        // All tokens went into thinking, or nothing was generated.
        Some(Value::Null) | None => String::new(),
        Some(_) => return Err("the message's content is not text".to_owned()),
    };
    let mut reply = Reply { text, finish: finish(choice), ..Reply::default() };
    reply.note(answer);
    Ok(reply)
}

/// `finish_reason` of a choice, where it has one.
pub(super) fn finish(choice: &Value) -> Option<Finish> {
    match choice.get("finish_reason")?.as_str()? {
        "length" => Some(Finish::Length),
        _ => Some(Finish::Stop),
    }
}
