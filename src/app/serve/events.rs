//! What happens in a run, as it is sent to clients: the name in `event:` and in the data's `type`.

use super::error::{ApiError, ErrorDetail};
use super::sse::Sent;
use crate::language::Lang;
use crate::outcome::{Cue, Intent, Outcome, PendingCall, ToolEnd, Warning};
use crate::pipeline::Event;
use crate::speech::Segment;
use axum::response::sse;
use serde::Serialize;
use utoipa::ToSchema;

/// Characters of a tool's result in its event.
const SHOWN: usize = 1000;

/// An event of a run. The last one is `done` or `error`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(super) enum RunEvent {
    /// The recording was opened; its length in seconds where the file says it.
    #[serde(rename = "opened")]
    Opened { format: String, duration: Option<f64> },
    /// The language of the recording, before its first text.
    #[serde(rename = "language")]
    Language { language: Lang },
    /// Recognised up to this second of the recording.
    #[serde(rename = "progress")]
    Progress { seconds: f64 },
    /// Text was recognised.
    #[serde(rename = "segment")]
    Segment(Segment),
    /// An utterance was cleaned.
    #[serde(rename = "cleaned")]
    Cleaned { cues: Vec<Cue> },
    /// An utterance was translated.
    #[serde(rename = "translated")]
    Translated { cues: Vec<Cue> },
    /// The intent is known.
    #[serde(rename = "intent")]
    Intent(Intent),
    /// A piece of the answer.
    #[serde(rename = "reply.delta")]
    ReplyDelta { delta: String },
    /// A tool is called.
    #[serde(rename = "tool_call")]
    ToolCall {
        tool: String,
        #[schema(value_type = Object)]
        arguments: serde_json::Value,
    },
    /// What came of a call (its beginning), or why it was not made.
    #[serde(rename = "tool_result")]
    ToolResult { tool: String, end: ToolEnd, text: String },
    /// A call waits for `POST /v1/agent/confirm`; the answer ends here for now.
    #[serde(rename = "pending")]
    Pending(PendingCall),
    /// Something did not work; the best text so far is delivered all the same.
    #[serde(rename = "warning")]
    Warning(Warning),
    /// Everything.
    #[serde(rename = "done")]
    Done { outcome: Box<Outcome> },
    /// There is no outcome.
    #[serde(rename = "error")]
    Error { error: ErrorDetail },
}

impl RunEvent {
    /// The name of the event.
    pub fn name(&self) -> &'static str {
        match self {
            RunEvent::Opened { .. } => "opened",
            RunEvent::Language { .. } => "language",
            RunEvent::Progress { .. } => "progress",
            RunEvent::Segment(_) => "segment",
            RunEvent::Cleaned { .. } => "cleaned",
            RunEvent::Translated { .. } => "translated",
            RunEvent::Intent(_) => "intent",
            RunEvent::ReplyDelta { .. } => "reply.delta",
            RunEvent::ToolCall { .. } => "tool_call",
            RunEvent::ToolResult { .. } => "tool_result",
            RunEvent::Pending(_) => "pending",
            RunEvent::Warning(_) => "warning",
            RunEvent::Done { .. } => "done",
            RunEvent::Error { .. } => "error",
        }
    }

    /// For the wire.
    pub fn sent(&self) -> Sent {
        sse::Event::default().event(self.name()).json_data(self)
    }
}

impl From<Event<'_>> for RunEvent {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Opened { format, duration } => RunEvent::Opened { format: format.to_owned(), duration },
            Event::Language(language) => RunEvent::Language { language },
            Event::Progress { seconds } => RunEvent::Progress { seconds },
            Event::Segment(segment) => RunEvent::Segment(segment.clone()),
            Event::Cleaned(cues) => RunEvent::Cleaned { cues: cues.to_vec() },
            Event::Translated(cues) => RunEvent::Translated { cues: cues.to_vec() },
            Event::Intent(intent) => RunEvent::Intent(intent.clone()),
            Event::ReplyDelta(delta) => RunEvent::ReplyDelta { delta: delta.to_owned() },
            Event::ToolCall { tool, arguments } => {
                RunEvent::ToolCall { tool: tool.to_owned(), arguments: arguments.clone() }
            }
            Event::ToolResult { tool, end, text } => {
                let text = text.chars().take(SHOWN).collect();
                RunEvent::ToolResult { tool: tool.to_owned(), end, text }
            }
            Event::Pending(call) => RunEvent::Pending(call.clone()),
            Event::Warning(warning) => RunEvent::Warning(warning.clone()),
        }
    }
}

impl From<Result<Outcome, ApiError>> for RunEvent {
    fn from(ended: Result<Outcome, ApiError>) -> Self {
        match ended {
            Ok(outcome) => RunEvent::Done { outcome: Box::new(outcome) },
            Err(error) => RunEvent::Error { error: error.body().error },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::WarningCode;

    #[test]
    fn the_name_stands_in_the_data_too() {
        let events = [
            RunEvent::Opened { format: "wav/pcm".into(), duration: None },
            RunEvent::Language { language: Lang::ENGLISH },
            RunEvent::Progress { seconds: 1.0 },
            RunEvent::Segment(Segment::default()),
            RunEvent::Cleaned { cues: Vec::new() },
            RunEvent::Translated { cues: Vec::new() },
            RunEvent::ReplyDelta { delta: "a".into() },
            RunEvent::ToolCall { tool: "t".into(), arguments: serde_json::json!({}) },
            RunEvent::ToolResult { tool: "t".into(), end: ToolEnd::Done, text: "x".into() },
            RunEvent::Warning(Warning::new(WarningCode::NoSpeech, "none")),
            RunEvent::from(Err(ApiError::bad_field("file", "no audio"))),
        ];
        for event in events {
            let json = serde_json::to_value(&event).unwrap();
            assert_eq!(json["type"], event.name(), "{json}");
        }
    }
}
