//! Routing as a supervisor agent does it: the model reasons in words and names a department in JSON. What the two-tier
//! router replaces, kept here to be measured against.

use crate::error::Error;
use crate::text::intent::RouteSet;
use crate::text::llm::{ChatRequest, Client, LlmError, Message, Role};
use tokio_util::sync::CancellationToken;

/// A sentence or two and the name; a model that goes on is cut off.
const MOST_TOKENS: u32 = 200;

/// The route the model names; `None` where it names none that there is.
///
/// # Errors
/// When the server does not answer.
pub(super) async fn route(
    client: &Client,
    routes: &RouteSet,
    text: &str,
    cancel: &CancellationToken,
) -> Result<Option<String>, Error> {
    let message = |role, content: String| Message { role, content };
    let request = ChatRequest {
        messages: vec![message(Role::System, instruction(routes)), message(Role::User, text.to_owned())],
        max_tokens: MOST_TOKENS,
        temperature: 0.0,
        grammar: None,
        slot: None,
        timeout: None,
    };
    let answer = client.chat(&request, cancel).await.map_err(|error| match error {
        LlmError::Cancelled => Error::Interrupted,
        error => Error::Usage(format!("the JSON route failed: {error}")),
    })?;
    let named = department(&answer.text);
    Ok(named.and_then(|named| routes.names().iter().find(|name| **name == named).map(|name| (*name).to_owned())))
}

fn instruction(routes: &RouteSet) -> String {
    let mut text = String::from(
        "You are the supervisor of an assistant. Read what the user said, think about which department has to handle \
         it, and hand it over.\n\nDepartments:\n",
    );
    for route in routes.routes() {
        text.push_str(&format!("- {}: {}\n", route.name, route.description));
    }
    text.push_str(
        "\nAnswer with one JSON object and nothing else:\n\
         {\"reasoning\": \"why this department, in one or two sentences\", \"department\": \"",
    );
    text.push_str(&routes.names().join(" | "));
    text.push_str("\"}");
    text
}

/// The department in an answer that is JSON, has JSON in it, or is cut off after it.
fn department(answer: &str) -> Option<String> {
    let from = answer.find('{')?;
    if let Some(value) = serde_json::Deserializer::from_str(&answer[from..]).into_iter::<serde_json::Value>().next()
        && let Ok(value) = value
    {
        return value.get("department")?.as_str().map(normal);
    }
    let (_, rest) = answer.rsplit_once("\"department\"")?;
    rest.split('"').nth(1).map(normal)
}

fn normal(name: &str) -> String {
    name.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_department_is_found_in_what_models_write() {
        let found = |text| department(text).unwrap_or_default();
        assert_eq!(found("{\"reasoning\": \"a {b}\", \"department\": \"Note \"}"), "note");
        assert_eq!(found("Sure!\n```json\n{\"reasoning\": \"x\", \"department\": \"agent\"}\n```"), "agent");
        assert_eq!(found("{\"reasoning\": \"he said \"yes\"\", \"department\": \"quick\"}"), "quick");
        assert_eq!(found("{\"reasoning\": \"it goes on and on"), "");
        assert_eq!(found("note"), "");
    }

    #[test]
    fn the_instruction_names_every_route_and_no_example() {
        let routes = RouteSet::built_in();
        let text = instruction(&routes);
        for route in routes.routes() {
            assert!(text.contains(&format!("- {}: {}", route.name, route.description)), "{text}");
            assert!(route.examples.iter().all(|example| !text.contains(example)), "{text}");
        }
    }
}
