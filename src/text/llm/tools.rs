//! Completions in which the model may call tools: OpenAI's `tools`, `tool_calls` streamed in fragments, and
//! `role: "tool"` for what came of them.

use super::sse::{Patience, Reader};
use super::{Capabilities, ChatRequest, Client, Completion, LlmError, Message, wire};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Most calls of one completion that are read; a model that runs wild must not fill the memory.
const MAX_CALLS: usize = 64;
/// Longest arguments of a call, bytes of JSON.
const MAX_ARGUMENTS: usize = 256 << 10;

/// A tool as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Letters, digits, `_` and `-`.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON schema of its arguments, an object.
    pub parameters: Value,
}

/// A call as the model wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// What the result refers to; made up where the server gives none.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// JSON, if the model wrote it well.
    pub arguments: String,
}

/// One entry of a conversation with tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Instructions, the person, or plain text of the model.
    Said(Message),
    /// The model called tools, perhaps after some text.
    Called {
        /// The text before the calls.
        text: String,
        /// The calls.
        calls: Vec<ToolCall>,
    },
    /// What came of a call.
    Returned {
        /// Id of the call.
        id: String,
        /// Name of the tool.
        name: String,
        /// The result.
        content: String,
    },
}

/// Whether the model may call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it sees fit.
    #[default]
    Auto,
    /// It must answer. The tools are sent all the same: they stand in the cached prefix.
    None,
}

/// A completion to ask for.
#[derive(Clone, Debug)]
pub struct ToolRequest<'a> {
    /// The conversation.
    pub turns: &'a [Turn],
    /// Always in the same order, so that the server's prefix cache holds. Empty: a plain completion.
    pub tools: &'a [ToolSpec],
    /// Whether it may call.
    pub choice: ToolChoice,
    /// Limit on generated tokens.
    pub max_tokens: u32,
    /// 0 is greedy.
    pub temperature: f32,
    /// For all of it.
    pub timeout: Duration,
}

impl Client {
    /// One completion, streamed as [`Client::chat_stream`] does; with the calls in it. A stream that breaks off loses
    /// its calls: half a call is none.
    pub async fn chat_tools(
        &self,
        request: &ToolRequest<'_>,
        cancel: &CancellationToken,
        on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(Completion, Vec<ToolCall>), LlmError> {
        let limit = request.timeout;
        let deadline = Instant::now() + limit;
        let open = |deadline| async move {
            let can = self.probed(deadline).await?;
            let body = body(request, &can, self.model(&can));
            let started = Instant::now();
            let response = self.transport.open("/v1/chat/completions", &body, deadline).await?;
            Ok((response, started))
        };
        let (response, started) = self.bounded(Some(limit), cancel, open).await?;
        let patience = Patience { deadline, limit, stall: self.stall };
        let read = Reader::new(&self.transport, false, started).read_calls(response, patience, on_delta);
        let answer = cancel.run_until_cancelled(read).await.unwrap_or(Err(LlmError::Cancelled));
        self.watched(answer)
    }
}

fn body(request: &ToolRequest<'_>, can: &Capabilities, model: Option<&str>) -> Value {
    let plain = ChatRequest {
        messages: Vec::new(),
        max_tokens: request.max_tokens,
        temperature: request.temperature,
        grammar: None,
        slot: None,
        timeout: None,
    };
    let mut body = wire::chat_body(&plain, can, model);
    body["messages"] = request.turns.iter().map(turn).collect();
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    if !request.tools.is_empty() {
        let tool = |tool: &ToolSpec| {
            let ToolSpec { name, description, parameters } = tool;
            let function = json!({"name": name, "description": description, "parameters": parameters});
            json!({"type": "function", "function": function})
        };
        body["tools"] = request.tools.iter().map(tool).collect();
        body["tool_choice"] = json!(match request.choice {
            ToolChoice::Auto => "auto",
            ToolChoice::None => "none",
        });
        body["parallel_tool_calls"] = json!(true);
    }
    body
}

fn turn(turn: &Turn) -> Value {
    match turn {
        Turn::Said(message) => wire::messages(std::slice::from_ref(message))[0].take(),
        Turn::Called { text, calls } => {
            let call = |call: &ToolCall| {
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"id": call.id, "type": "function", "function": function})
            };
            let calls: Value = calls.iter().map(call).collect();
            json!({"role": "assistant", "content": text, "tool_calls": calls})
        }
        Turn::Returned { id, name, content } => {
            json!({"role": "tool", "tool_call_id": id, "name": name, "content": content})
        }
    }
}

/// Calls on their way out of a stream's fragments, or out of a whole message.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<(Option<u64>, ToolCall)>);

impl Calls {
    /// Whether any has begun.
    pub fn begun(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes `tool_calls` of a delta or of a message: fragments of one call share their index.
    ///
    /// # Errors
    /// When there is more than anybody needs.
    pub fn push(&mut self, fragments: &Value) -> Result<(), &'static str> {
        for fragment in fragments.as_array().into_iter().flatten() {
            let text = |path: &str| fragment.pointer(path).and_then(Value::as_str).unwrap_or_default();
            let index = fragment.get("index").and_then(Value::as_u64);
            let (id, name) = (text("/id"), text("/function/name"));
            let known = match index {
                Some(_) => self.0.iter().position(|(at, _)| *at == index),
                // Servers that leave the index out name each call once and go on with it.
                None if id.is_empty() && name.is_empty() => self.0.len().checked_sub(1),
                None => self.0.iter().position(|(_, call)| !id.is_empty() && call.id == id),
            };
            let at = known.unwrap_or_else(|| {
                self.0.push((index, ToolCall::default()));
                self.0.len() - 1
            });
            if self.0.len() > MAX_CALLS {
                return Err("calls of tools without end");
            }
            let call = &mut self.0[at].1;
            if call.id.is_empty() {
                id.clone_into(&mut call.id);
            }
            // Some servers repeat the name in every fragment, none sends it in pieces.
            if call.name.is_empty() {
                name.clone_into(&mut call.name);
            }
            match fragment.pointer("/function/arguments") {
                Some(Value::String(piece)) => call.arguments.push_str(piece),
                Some(whole @ Value::Object(_)) => call.arguments = whole.to_string(),
                _ => {}
            }
            if call.arguments.len() > MAX_ARGUMENTS {
                return Err("arguments of a tool without end");
            }
        }
        Ok(())
    }

    /// The calls, each with an id of its own.
    pub fn finish(self) -> Vec<ToolCall> {
        let mut calls: Vec<ToolCall> = self.0.into_iter().map(|(_, call)| call).collect();
        for at in 0..calls.len() {
            if calls[at].id.is_empty() || calls[..at].iter().any(|other| other.id == calls[at].id) {
                calls[at].id = format!("call_{at}_{:08x}", fastrand::u32(..));
            }
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(fragments: &[Value]) -> Vec<(String, String)> {
        let mut calls = Calls::default();
        for fragment in fragments {
            calls.push(fragment).expect("small");
        }
        let calls = calls.finish();
        assert!(calls.iter().all(|call| !call.id.is_empty()));
        calls.into_iter().map(|call| (call.name, call.arguments)).collect()
    }

    #[test]
    fn fragments_become_calls_whatever_the_server() {
        let of = |name: &str, arguments: &str| (name.to_owned(), arguments.to_owned());
        let llama = [
            json!([{"index": 0, "id": "a", "type": "function", "function": {"name": "one", "arguments": ""}}]),
            json!([{"index": 0, "function": {"arguments": "{\"x\":"}}]),
            json!([{"index": 1, "id": "b", "function": {"name": "two", "arguments": "{"}}]),
            json!([{"index": 0, "function": {"arguments": "1}"}}]),
            json!([{"index": 1, "function": {"arguments": "}"}}]),
        ];
        assert_eq!(calls(&llama), [of("one", "{\"x\":1}"), of("two", "{}")]);
        let without_index = [
            json!([{"id": "a", "function": {"name": "one", "arguments": "{"}}]),
            json!([{"function": {"arguments": "}"}}]),
            json!([{"id": "b", "function": {"name": "two", "arguments": {"y": 2}}}]),
        ];
        assert_eq!(calls(&without_index), [of("one", "{}"), of("two", "{\"y\":2}")]);
    }

    #[test]
    fn a_stream_without_end_is_refused() {
        let mut calls = Calls::default();
        let piece = "x".repeat(100_000);
        let fragment = json!([{"index": 0, "function": {"name": "a", "arguments": piece}}]);
        assert!((0..4).any(|_| calls.push(&fragment).is_err()));
        let mut calls = Calls::default();
        assert!((0..100).any(|index| calls.push(&json!([{"index": index}])).is_err()));
    }

    #[test]
    fn a_conversation_is_written_as_the_api_wants_it() {
        let call = ToolCall { id: "c".into(), name: "t".into(), arguments: "{}".into() };
        let called = turn(&Turn::Called { text: String::new(), calls: vec![call] });
        assert_eq!(called["tool_calls"][0]["function"], json!({"name": "t", "arguments": "{}"}));
        let returned = turn(&Turn::Returned { id: "c".into(), name: "t".into(), content: "ok".into() });
        assert_eq!(returned, json!({"role": "tool", "tool_call_id": "c", "name": "t", "content": "ok"}));
    }
}
