//! What a model wrote as calls, made sense of: arguments held against the tool's schema, and calls that a small model
//! writes as plain text because its training and its template disagree.

use super::tools::{Arguments, Offer, Tool};
use crate::text::llm::ToolCall;
use serde_json::Value;

/// Longest complaint about arguments that the model is told, characters.
const MAX_COMPLAINT: usize = 400;

/// A call that can be made.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub tool: Tool,
    pub arguments: Arguments,
}

/// Two calls with the same key are the same call.
pub(super) type Key = (String, String);

impl Prepared {
    /// The order in which a model writes arguments does not make another call.
    pub fn key(&self) -> Key {
        (self.tool.spec.name.clone(), sorted(&Value::Object(self.arguments.clone())).to_string())
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> =
                map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The call, if its tool is offered and its arguments fit.
///
/// # Errors
/// What is wrong, for the model.
pub(super) fn prepare(call: &ToolCall, offer: &Offer) -> Result<Prepared, String> {
    let Some(tool) = offer.find(&call.name) else {
        let names: Vec<&str> = offer.tools.iter().map(|tool| tool.spec.name.as_str()).collect();
        return Err(format!("there is no tool '{}'; there are: {}", short(&call.name), names.join(", ")));
    };
    let written = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
    let arguments = match serde_json::from_str(written) {
        Ok(Value::Object(arguments)) => arguments,
        Ok(_) => return Err("the arguments are not a JSON object".into()),
        Err(error) => return Err(short(&format!("the arguments are not valid JSON: {error}"))),
    };
    fits(&tool.spec.parameters, &arguments)?;
    Ok(Prepared { tool: tool.clone(), arguments })
}

/// A schema that is none lets nothing through: what a server cannot describe is not called.
fn fits(schema: &Value, arguments: &Arguments) -> Result<(), String> {
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| short(&format!("the tool cannot be used, its schema is broken: {error}")))?;
    let arguments = Value::Object(arguments.clone());
    let complaints: Vec<String> =
        validator.iter_errors(&arguments).take(3).map(|error| format!("{}: {error}", error.instance_path())).collect();
    if complaints.is_empty() { Ok(()) } else { Err(short(&format!("wrong arguments: {}", complaints.join("; ")))) }
}

fn short(text: &str) -> String {
    text.chars().take(MAX_COMPLAINT).collect()
}

/// Text that may be a call written out, held back until it is known. Only the beginning of a step counts: an answer
/// that shows JSON further down is an answer.
#[derive(Debug, Default)]
pub(super) struct Held {
    text: String,
    released: bool,
}

/// Longest text that is held back, bytes.
const MAX_HELD: usize = 4 << 10;

impl Held {
    /// What of the text may be shown now.
    pub fn push(&mut self, piece: &str) -> String {
        if self.released {
            return piece.to_owned();
        }
        self.text.push_str(piece);
        if may_be_call(&self.text) && self.text.len() <= MAX_HELD {
            return String::new();
        }
        self.released = true;
        std::mem::take(&mut self.text)
    }

    /// The calls that were held back; otherwise the text.
    pub fn finish(self, offer: &Offer) -> Result<Vec<ToolCall>, String> {
        if self.released || self.text.is_empty() {
            return Err(self.text);
        }
        written(&self.text, offer).ok_or(self.text)
    }
}

const OPENINGS: [&str; 6] = ["<tool_call>", "<tools>", "<function_call>", "```json", "```xml", "```"];

fn may_be_call(text: &str) -> bool {
    let text = text.trim_start();
    if text.is_empty() || text.starts_with('{') || text.starts_with("[{") || text == "[" {
        return true;
    }
    if let Some(inside) = text.strip_prefix("```") {
        // A fence with another language is an answer.
        let inside = inside.trim_start_matches("json").trim_start_matches("xml");
        let inside = inside.trim_start();
        return inside.is_empty() || "jsonxml".contains(inside) || inside.starts_with(['{', '<', '[']);
    }
    OPENINGS.iter().any(|opening| text.starts_with(opening) || opening.starts_with(text))
}

/// Calls out of `{"name": …, "arguments": {…}}`, alone, in a list, or fenced; all of them of offered tools.
fn written(text: &str, offer: &Offer) -> Option<Vec<ToolCall>> {
    let mut calls = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let mut stream = serde_json::Deserializer::from_str(&rest[at..]).into_iter::<Value>();
        let object = stream.next()?.ok()?;
        rest = &rest[at + stream.byte_offset()..];
        let object = object.get("function").filter(|function| function.is_object()).unwrap_or(&object);
        let name = object.get("name")?.as_str()?;
        let arguments = object.get("arguments").or_else(|| object.get("parameters"))?;
        offer.find(name)?;
        let arguments = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
        let id = format!("written_{}_{:08x}", calls.len(), fastrand::u32(..));
        calls.push(ToolCall { id, name: name.to_owned(), arguments });
    }
    // Words after it make it an answer that shows a call.
    let marks = |c: char| c.is_whitespace() || "`]}<>/_,".contains(c);
    let tail: String = rest.replace("tool_call", "").replace("tools", "").chars().filter(|c| !marks(*c)).collect();
    (!calls.is_empty() && tail.is_empty()).then_some(calls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tools::{PolicySettings, ToolSettings, Toolbox};

    async fn offer() -> Offer {
        let policy = PolicySettings { allow: vec!["c*".into()], ..PolicySettings::default() };
        Toolbox::new(ToolSettings { policy, ..ToolSettings::default() }).unwrap().offer().await
    }

    fn call(name: &str, arguments: &str) -> ToolCall {
        ToolCall { id: "1".into(), name: name.into(), arguments: arguments.into() }
    }

    #[tokio::test]
    async fn only_calls_that_fit_are_made() {
        let offer = offer().await;
        let key = prepare(&call("calculator", r#"{"expression": "1+1"}"#), &offer).unwrap().key();
        assert_eq!(key, prepare(&call("calculator", r#" {"expression":"1+1"} "#), &offer).unwrap().key());
        assert!(prepare(&call("current_time", ""), &offer).is_ok());
        for (name, arguments, word) in [
            ("write_note", "{}", "no tool 'write_note'"),
            ("calculator", "{\"expression\": ", "JSON"),
            ("calculator", "[]", "object"),
            ("calculator", "{}", "expression"),
            ("calculator", r#"{"expression": 5}"#, "string"),
            ("calculator", r#"{"expression": "1", "evil": true}"#, "evil"),
        ] {
            let error = prepare(&call(name, arguments), &offer).unwrap_err();
            assert!(error.contains(word) && error.len() < 1000, "{error}");
        }
    }

    #[test]
    fn a_broken_schema_lets_nothing_through() {
        assert!(fits(&serde_json::json!({"type": "nonsense"}), &Arguments::new()).is_err());
    }

    #[tokio::test]
    async fn calls_written_as_text_are_read_and_answers_are_not_held() {
        let offer = offer().await;
        let read = |text: &str| {
            let mut held = Held::default();
            let shown: String = text.chars().map(|c| held.push(&c.to_string())).collect();
            (shown, held.finish(&offer))
        };
        for text in [
            r#"{"name": "calculator", "arguments": {"expression": "2*3"}}"#,
            "```json\n{\"name\": \"calculator\", \"arguments\": {\"expression\": \"2*3\"}}\n```",
            "<tool_call>\n{\"name\": \"calculator\", \"arguments\": {\"expression\": \"2*3\"}}\n</tool_call>",
            r#"[{"function": {"name": "calculator", "arguments": "{\"expression\": \"2*3\"}"}}]"#,
        ] {
            let (shown, calls) = read(text);
            assert_eq!(shown, "", "{text}");
            let calls = calls.unwrap();
            assert_eq!(prepare(&calls[0], &offer).unwrap().arguments["expression"], "2*3");
        }
        for text in ["Six.", "```python\nprint(6)\n```", "<b>Six</b>", "[1] is a footnote", "The {answer}"] {
            let (shown, rest) = read(text);
            assert_eq!(format!("{shown}{}", rest.unwrap_err()), text);
            assert!(!shown.is_empty(), "{text}");
        }
        // Held, but no call: an answer all the same.
        for text in [r#"{"name": "write_note", "arguments": {}}"#, r#"{"name": "Ada", "age": 36}"#, "{broken"] {
            let (shown, rest) = read(text);
            assert_eq!((shown.as_str(), rest.unwrap_err().as_str()), ("", text));
        }
    }
}
