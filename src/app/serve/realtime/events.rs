//! The messages of a session as OpenAI's clients send and expect them.

use crate::speech::TokenLogprob;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most bytes of audio in one `input_audio_buffer.append`; OpenAI's limit.
pub(super) const MAX_APPEND: usize = 15 << 20;

/// What a client says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// `session.update` or `transcription_session.update` with its `session`.
    Update { session: Value, older: bool },
    /// `input_audio_buffer.append`, decoded.
    Append(Vec<u8>),
    /// `input_audio_buffer.commit`
    Commit,
    /// `input_audio_buffer.clear`
    Clear,
}

/// Every type of event that is understood.
const TYPES: &str = "'session.update', 'transcription_session.update', 'input_audio_buffer.append', \
                     'input_audio_buffer.commit' and 'input_audio_buffer.clear'";

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: Option<String>,
    event_id: Option<String>,
}

#[derive(Deserialize)]
struct Append {
    audio: Option<String>,
}

#[derive(Deserialize)]
struct Update {
    session: Option<Value>,
}

/// Reads one message, and the id that the client gave it. Nothing in it ends the session: whatever is wrong comes back
/// as what to answer.
pub(super) fn parse(message: &str) -> (Option<String>, Result<Said, Fault>) {
    let bad = |why: &dyn std::fmt::Display| Fault::new("invalid_json", format!("the event is not understood: {why}"));
    // serde takes an array for a struct too.
    if !message.trim_start().starts_with('{') {
        return (None, Err(bad(&"it is not a JSON object")));
    }
    match serde_json::from_str::<Head>(message) {
        Ok(head) => (head.event_id, body(message, head.kind.as_deref())),
        Err(error) => (None, Err(bad(&error))),
    }
}

fn body(message: &str, kind: Option<&str>) -> Result<Said, Fault> {
    let missing = |name: &str| {
        Fault::new("missing_required_parameter", format!("Missing required parameter: '{name}'.")).param(name)
    };
    let malformed = |error: serde_json::Error| Fault::new("invalid_type", format!("the event is malformed: {error}"));
    match kind {
        Some("input_audio_buffer.append") => {
            let append: Append = serde_json::from_str(message).map_err(|e| malformed(e).param("audio"))?;
            decode(&append.audio.ok_or_else(|| missing("audio"))?).map(Said::Append)
        }
        Some("input_audio_buffer.commit") => Ok(Said::Commit),
        Some("input_audio_buffer.clear") => Ok(Said::Clear),
        Some(kind @ ("session.update" | "transcription_session.update")) => {
            let update: Update = serde_json::from_str(message).map_err(|e| malformed(e).param("session"))?;
            let session = update.session.ok_or_else(|| missing("session"))?;
            Ok(Said::Update { session, older: kind.starts_with("transcription") })
        }
        Some(other) => {
            let shown: String = other.chars().take(64).collect();
            let message = format!("Invalid value: '{shown}'. A transcription session understands {TYPES}.");
            Err(Fault::new("invalid_value", message).param("type"))
        }
        None => Err(missing("type")),
    }
}

fn decode(audio: &str) -> Result<Vec<u8>, Fault> {
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    use base64::{Engine, alphabet};
    const BASE64: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let too_large = || {
        let message = format!("one event may bring {MAX_APPEND} bytes of audio; send it in smaller pieces");
        Fault::new("audio_too_large", message).param("audio")
    };
    // Before anything is decoded.
    if audio.len() / 4 * 3 > MAX_APPEND + 3 {
        return Err(too_large());
    }
    let bytes = BASE64
        .decode(audio)
        .map_err(|error| Fault::new("invalid_value", format!("'audio' is not base64: {error}")).param("audio"))?;
    if bytes.len() > MAX_APPEND { Err(too_large()) } else { Ok(bytes) }
}

/// Something that a client did which cannot be done. The session goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub code: &'static str,
    pub message: String,
    pub param: Option<String>,
    /// Of the client's event.
    pub event_id: Option<String>,
}

impl Fault {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Fault { kind: "invalid_request_error", code, message: message.into(), param: None, event_id: None }
    }

    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }
}

/// Why an utterance has no text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub code: &'static str,
    pub message: String,
    pub param: Option<&'static str>,
}

/// What a session says. On the wire each has an `event_id` too.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
pub(super) enum Event {
    #[serde(rename = "session.created")]
    Created { session: Value },
    #[serde(rename = "session.updated")]
    Updated { session: Value },
    #[serde(rename = "transcription_session.created")]
    OlderCreated { session: Value },
    #[serde(rename = "transcription_session.updated")]
    OlderUpdated { session: Value },
    #[serde(rename = "input_audio_buffer.speech_started")]
    SpeechStarted { audio_start_ms: u64, item_id: String },
    #[serde(rename = "input_audio_buffer.speech_stopped")]
    SpeechStopped { audio_end_ms: u64, item_id: String },
    #[serde(rename = "input_audio_buffer.committed")]
    Committed { previous_item_id: Option<String>, item_id: String },
    #[serde(rename = "input_audio_buffer.cleared")]
    Cleared,
    /// Of the 2026 shape.
    #[serde(rename = "conversation.item.added")]
    ItemAdded { previous_item_id: Option<String>, item: Item },
    /// Of the 2026 shape.
    #[serde(rename = "conversation.item.done")]
    ItemDone { previous_item_id: Option<String>, item: Item },
    /// Of the older shape.
    #[serde(rename = "conversation.item.created")]
    ItemCreated { previous_item_id: Option<String>, item: Item },
    #[serde(rename = "conversation.item.input_audio_transcription.delta")]
    Delta { item_id: String, content_index: u32, delta: String },
    #[serde(rename = "conversation.item.input_audio_transcription.completed")]
    Completed {
        item_id: String,
        content_index: u32,
        transcript: String,
        usage: Usage,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        languages: Vec<Language>,
        #[serde(skip_serializing_if = "Option::is_none")]
        logprobs: Option<Vec<TokenLogprob>>,
    },
    #[serde(rename = "conversation.item.input_audio_transcription.failed")]
    Failed { item_id: String, content_index: u32, error: Failure },
    #[serde(rename = "error")]
    Error { error: Fault },
}

impl Event {
    /// The message, with an id of its own.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Message<'a> {
            #[serde(flatten)]
            event: &'a Event,
            event_id: String,
        }
        // Strings, numbers and maps with string keys: there is nothing in it that cannot be written.
        serde_json::to_string(&Message { event: self, event_id: new_id("event") }).unwrap_or_default()
    }
}

/// A message item with the audio of one turn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Item {
    pub id: String,
    object: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    role: &'static str,
    content: [Content; 1],
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Content {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Comes later, in `completed`.
    transcript: Option<String>,
}

impl Item {
    pub fn new(id: String) -> Self {
        let content = [Content { kind: "input_audio", transcript: None }];
        Item { id, object: "realtime.item", kind: "message", status: "completed", role: "user", content }
    }
}

/// What is billed elsewhere, and counted here.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Usage {
    /// Seconds of audio in the item.
    Duration { seconds: f64 },
}

/// A language heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Language {
    pub code: &'static str,
}

/// `event_…`, `item_…`, `sess_…`: unique, in order of time.
pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(message: &str) -> (&'static str, Option<String>, Option<String>) {
        let (id, said) = parse(message);
        let fault = said.expect_err("a fault");
        (fault.code, fault.param, id)
    }

    #[test]
    fn what_clients_send_is_read() {
        assert_eq!(parse(r#"{"type":"input_audio_buffer.append","audio":"AAEC"}"#).1, Ok(Said::Append(vec![0, 1, 2])));
        assert_eq!(parse(r#"{"audio":"AAE","type":"input_audio_buffer.append"}"#).1, Ok(Said::Append(vec![0, 1])));
        assert_eq!(parse(r#"{"type":"input_audio_buffer.commit","more":[1]}"#).1, Ok(Said::Commit));
        let update = parse(r#"{"type":"session.update","session":{"type":"transcription"}}"#).1;
        assert_eq!(update, Ok(Said::Update { session: json!({"type": "transcription"}), older: false }));
        let update = parse(r#"{"type":"transcription_session.update","session":{}}"#).1;
        assert_eq!(update, Ok(Said::Update { session: json!({}), older: true }));
    }

    #[test]
    fn whatever_else_comes_is_a_fault_that_names_the_event() {
        let named = Some("e1".to_owned());
        assert_eq!(fault("{"), ("invalid_json", None, None));
        assert_eq!(fault("[1]").0, "invalid_json");
        assert_eq!(fault("null").0, "invalid_json");
        assert_eq!(fault(r#"{"type":3}"#).0, "invalid_json");
        assert_eq!(fault(r#"{"event_id":"e1"}"#), ("missing_required_parameter", Some("type".into()), named.clone()));
        let unknown = fault(r#"{"event_id":"e1","type":"response.create"}"#);
        assert_eq!(unknown, ("invalid_value", Some("type".into()), named.clone()));
        let no_audio = fault(r#"{"event_id":"e1","type":"input_audio_buffer.append"}"#);
        assert_eq!(no_audio, ("missing_required_parameter", Some("audio".into()), named.clone()));
        let no_base64 = fault(r#"{"event_id":"e1","type":"input_audio_buffer.append","audio":"*"}"#);
        assert_eq!(no_base64, ("invalid_value", Some("audio".into()), named.clone()));
        let number = fault(r#"{"event_id":"e1","type":"input_audio_buffer.append","audio":5}"#);
        assert_eq!(number, ("invalid_type", Some("audio".into()), named));
        let large = format!(r#"{{"type":"input_audio_buffer.append","audio":"{}"}}"#, "AAAA".repeat(5 << 20 | 1));
        assert_eq!(fault(&large).0, "audio_too_large");
    }

    #[test]
    fn messages_have_a_type_and_an_id_of_their_own() {
        let event = Event::Completed {
            item_id: "item_1".into(),
            content_index: 0,
            transcript: "Hello.".into(),
            usage: Usage::Duration { seconds: 1.5 },
            languages: vec![Language { code: "en" }],
            logprobs: None,
        };
        let json: Value = serde_json::from_str(&event.to_json()).expect("JSON");
        assert_eq!(json["type"], "conversation.item.input_audio_transcription.completed");
        assert!(json["event_id"].as_str().is_some_and(|id| id.starts_with("event_")));
        assert_eq!(json["usage"], json!({"type": "duration", "seconds": 1.5}));
        assert_eq!(json["languages"], json!([{"code": "en"}]));
        assert_ne!(Event::Cleared.to_json(), Event::Cleared.to_json());
    }
}
