//! The loop of tools against a model that says what it is told: protocol, limits, faults.

use super::agent_support::*;
use super::support::fake::{Fake, Kind, Reply, Then, delta};
use bestbox::agent::{Agent, AgentError, AgentSettings, Answer, Event, Limits, Talk};
use bestbox::outcome::{Finish, ToolEnd, WarningCode};
use bestbox::text::llm::LlmError;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

async fn answer(agent: &Agent, text: &str) -> Result<Answer, AgentError> {
    agent.answer(text, &CancellationToken::new(), &mut |_| ()).await
}

fn builtins() -> Tools<'static> {
    Tools { allow: &["current_time", "calculator"], ..Tools::default() }
}

#[tokio::test]
async fn calls_are_made_at_once_and_their_results_come_in_order() {
    let both = [("calculator", r#"{"expression": "17*23"}"#), ("current_time", r#"{"zone": "Asia/Tokyo"}"#)];
    let fake = scripted(vec![calls("Let me see.", &both), says("[SPEECH]It is 391.[/SPEECH] And late.")]).await;
    let agent = agent(&fake, &builtins().toolbox());
    let mut told = Vec::new();
    let mut shown = String::new();
    let mut on_event = |event: Event<'_>| match event {
        Event::Delta(delta) => shown.push_str(delta),
        Event::ToolCall { tool, arguments } => told.push(format!("call {tool} {arguments}")),
        Event::ToolResult { tool, end, .. } => told.push(format!("{end:?} {tool}")),
        Event::Pending(_) => told.push("pending".into()),
    };
    let talk = Talk::default();
    let answer = agent.converse("17 times 23?", &talk, &CancellationToken::new(), &mut on_event).await.expect("answer");
    assert_eq!(answer.reply.text, "Let me see.\n\nIt is 391.\n\nAnd late.");
    assert_eq!(shown.trim(), answer.reply.text);
    assert_eq!((answer.reply.spoken.as_deref(), answer.reply.finish), (Some("It is 391."), Finish::Stop));
    assert_eq!(told[0], r#"call calculator {"expression":"17*23"}"#);
    assert_eq!(told[2..], ["Done calculator", "Done current_time"]);
    assert!(answer.reply.tools.iter().all(|call| call.end == ToolEnd::Done), "{:?}", answer.reply.tools);

    let requests = fake.requests("/v1/chat/completions");
    let tools = requests[0].body["tools"].as_array().expect("tools");
    assert_eq!((tools.len(), &requests[0].body["tool_choice"]), (2, &json!("auto")));
    assert_eq!(tools[1]["function"]["parameters"]["required"], json!(["expression"]));
    let sent = messages(&fake, 1);
    assert_eq!(sent[2]["tool_calls"][1]["function"]["name"], json!("current_time"));
    assert_eq!((&sent[3]["role"], &sent[3]["tool_call_id"]), (&json!("tool"), &json!("call-0")));
    let first = sent[3]["content"].as_str().expect("text");
    assert!(first.starts_with("<tool_data tool=\"calculator\"") && first.contains("\n391\n"), "{first}");
    assert_eq!(sent[4]["tool_call_id"], json!("call-1"));
    assert!(sent[4]["content"].as_str().is_some_and(|text| text.contains("Asia/Tokyo")));
    // The request begins with the bytes of the one before: the server's cache holds.
    assert_eq!(messages(&fake, 0)[..2], sent[..2]);
}

#[tokio::test]
async fn a_model_that_repeats_itself_must_answer() {
    let same = calls("", &[("calculator", r#"{"expression": "1+1"}"#)]);
    let spaced = calls("", &[("calculator", r#"{ "expression" : "1+1" }"#)]);
    let fake = scripted(vec![same, spaced, says("Two.")]).await;
    let answer = answer(&agent(&fake, &builtins().toolbox()), "One and one?").await.expect("an answer");
    let ends: Vec<ToolEnd> = answer.reply.tools.iter().map(|call| call.end).collect();
    assert_eq!((answer.reply.text.as_str(), ends), ("Two.", vec![ToolEnd::Done, ToolEnd::Refused]));
    let choices: Vec<_> = fake.requests("/v1/chat/completions").iter().map(|r| r.body["tool_choice"].clone()).collect();
    assert_eq!(choices, [json!("auto"), json!("auto"), json!("none")]);
}

#[tokio::test]
async fn wrong_calls_are_corrected_once() {
    let wrong =
        [("calculater", r#"{"expression": "1"}"#), ("calculator", r#"{"expr": 1}"#), ("calculator", "{\"expre")];
    let fake = scripted(vec![calls("", &wrong), calls("", &[("calculator", "[]")]), says("I cannot.")]).await;
    let reply = answer(&agent(&fake, &builtins().toolbox()), "x").await.expect("an answer").reply;
    assert_eq!((reply.text.as_str(), reply.tools.len()), ("I cannot.", 4));
    assert!(reply.tools.iter().all(|call| call.end == ToolEnd::Refused));
    let sent = messages(&fake, 1);
    for (at, word) in
        [(3, "calculator, "), (4, "expr"), (5, "JSON")].map(|(at, word)| (at, word.trim_end_matches(", ")))
    {
        assert!(sent[at]["content"].as_str().is_some_and(|text| text.contains(word)), "{}", sent[at]);
    }
    // Chat templates fail on arguments that are no JSON.
    assert_eq!(sent[2]["tool_calls"][2]["function"]["arguments"], json!("{}"));
    let last = &fake.requests("/v1/chat/completions")[2].body;
    assert_eq!(last["tool_choice"], json!("none"));
}

#[tokio::test]
async fn limits_cut_and_keep_what_was_said() {
    let call = |n: usize| calls(&format!("Step {n}."), &[("calculator", &format!(r#"{{"expression": "{n}+1"}}"#))]);
    // Steps: the fourth must answer, and calls all the same.
    let fake = scripted((0..6).map(call).collect()).await;
    let agent_ = agent(&fake, &builtins().toolbox());
    let cut = answer(&agent_, "count").await.expect("an answer");
    assert_eq!((cut.reply.finish, cut.warning().map(|w| w.code)), (Finish::Length, Some(WarningCode::ReplyTruncated)));
    assert_eq!(cut.reply.text, "Step 0.\n\nStep 1.\n\nStep 2.\n\nStep 3.");
    assert_eq!(fake.requests("/v1/chat/completions").len(), 4);

    // Tokens in all.
    let fake = scripted((0..6).map(call).collect()).await;
    let few = Limits { tokens: 400, ..Limits::default() };
    let settings = AgentSettings { max_tokens: 40, ..AgentSettings::heavy() };
    let spare = Agent::new(client(&fake.base_url), settings).with_tools(builtins().toolbox(), few);
    let cut = answer(&spare, "count").await.expect("an answer");
    assert_eq!(cut.reply.finish, Finish::Length);
    assert!(cut.reply.text.starts_with("Step 0.") && fake.requests("/v1/chat/completions").len() < 4);

    // Calls of a step.
    let many: Vec<(String, String)> =
        (0..5).map(|n| ("calculator".into(), format!(r#"{{"expression": "{n}"}}"#))).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, arguments)| (name.as_str(), arguments.as_str())).collect();
    let fake = scripted(vec![calls("", &many), says("Done.")]).await;
    let ends: Vec<ToolEnd> = answer(&agent(&fake, &builtins().toolbox()), "x")
        .await
        .expect("an answer")
        .reply
        .tools
        .iter()
        .map(|c| c.end)
        .collect();
    assert_eq!(ends.iter().filter(|end| **end == ToolEnd::Done).count(), 3, "{ends:?}");

    // Time, in the second step: the first one's text is there.
    let stuck = Reply::with_head(200, "Content-Type: text/event-stream\r\n", b"").then(Then::Hold);
    let fake = scripted(vec![call(0), stuck]).await;
    let settings = AgentSettings { timeout: Duration::from_secs(2), ..AgentSettings::heavy() };
    let short = Agent::new(client(&fake.base_url), settings).with_tools(builtins().toolbox(), Limits::default());
    let begun = Instant::now();
    let cut = answer(&short, "x").await.expect("an answer");
    assert_eq!((cut.reply.text.as_str(), cut.reply.finish), ("Step 0.", Finish::Timeout));
    assert!(begun.elapsed() < Duration::from_secs(20));

    // The connection, likewise.
    let fake = scripted(vec![call(0), Reply { bytes: Vec::new(), then: Then::Close }]).await;
    let broken = answer(&agent(&fake, &builtins().toolbox()), "x").await.expect("an answer");
    assert_eq!((broken.reply.text.as_str(), broken.reply.finish), ("Step 0.", Finish::Broken));
}

#[tokio::test]
async fn a_model_without_tools_answers_without() {
    let refused = Reply::json(500, &json!({"error": {"code": 500, "message": "tools param requires --jinja flag"}}));
    let fake = scripted(vec![refused, says("Plain.")]).await;
    let plain = answer(&agent(&fake, &builtins().toolbox()), "x").await.expect("an answer");
    assert_eq!((plain.reply.text.as_str(), plain.warnings[0].code), ("Plain.", WarningCode::ToolsUnavailable));
    assert!(fake.requests("/v1/chat/completions")[1].body.get("tools").is_none());

    let fake = Fake::start(Kind::Llama, |_, request| match request.path.as_str() {
        "/props" => {
            let caps = json!({"supports_tools": false});
            Some(Reply::json(200, &json!({"total_slots": 1, "chat_template_caps": caps})))
        }
        "/v1/chat/completions" => Some(says("Plain.")),
        _ => None,
    })
    .await;
    let plain = answer(&agent(&fake, &builtins().toolbox()), "x").await.expect("an answer");
    assert_eq!((plain.reply.text.as_str(), plain.warnings[0].code), ("Plain.", WarningCode::ToolsUnavailable));
}

#[tokio::test]
async fn what_does_not_fit_in_the_context_is_made_to_fit() {
    let record = tempfile::tempdir().expect("a folder");
    let tools = Tools {
        allow: &["evil__giant"],
        read_only: &["evil__giant"],
        servers: vec![hostile(&record.path().join("record"))],
        ..Tools::default()
    };
    let long = json!({"error": {"code": 400, "type": "exceed_context_size_error", "message": "exceeds the available context size"}});
    let replies = vec![calls("", &[("evil__giant", "{}")]), Reply::json(400, &long), says("Much.")];
    let fake = scripted(replies).await;
    let toolbox = tools.toolbox();
    let reply = answer(&agent(&fake, &toolbox), "x").await.expect("an answer").reply;
    assert_eq!(reply.text, "Much.");
    let length = |n: usize| messages(&fake, n)[3]["content"].as_str().map_or(0, str::len);
    // Five million characters were cut to a thousand, with a note, and then to half of that.
    assert!(length(1) > 1000 && length(1) < 1300, "{}", length(1));
    assert!(length(2) < length(1) * 2 / 3, "{}", length(2));
    toolbox.stop().await;
}

#[tokio::test]
async fn an_answer_is_cancelled_between_and_within_calls() {
    let record = tempfile::tempdir().expect("a folder");
    let path = record.path().join("record");
    let tools =
        Tools { allow: &["evil__hang"], read_only: &["evil__hang"], servers: vec![hostile(&path)], ..Tools::default() };
    let toolbox = tools.toolbox();
    let fake = scripted(vec![calls("", &[("evil__hang", "{}")]), says("Never.")]).await;
    let agent = agent(&fake, &toolbox);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let watched = path.clone();
    let watch = tokio::task::spawn_blocking(move || {
        until("the call was made", || {
            recorded(&watched).contains("call evil") || recorded(&watched).contains("call hang")
        });
        stop.cancel();
    });
    let result = agent.answer("x", &cancel, &mut |_| ()).await;
    assert!(matches!(result, Err(AgentError::Model(LlmError::Cancelled))), "{result:?}");
    watch.await.expect("watched");
    tokio::task::spawn_blocking(move || until("the server was told", || recorded(&path).contains("cancelled")))
        .await
        .expect("told");
    assert_eq!(fake.requests("/v1/chat/completions").len(), 1);
    toolbox.stop().await;
}

/// A conversation goes on, and the bytes of its beginning stay.
#[tokio::test]
async fn a_conversation_is_remembered_by_its_owner() {
    let fake = Fake::chat(Kind::Llama, Reply::events(&[&delta("Noted."), "[DONE]"])).await;
    let agent = Agent::new(client(&fake.base_url), AgentSettings::heavy()).with_talks(talks());
    let talk = |owner: &str| Talk { owner: owner.into(), conversation: Some("c".into()), ..Talk::default() };
    let never = CancellationToken::new();
    for (owner, text) in [("ann", "I am Ann."), ("ann", "Who am I?"), ("bob", "Who am I?")] {
        agent.converse(text, &talk(owner), &never, &mut |_| ()).await.ok();
    }
    let (first, second, other) = (messages(&fake, 0), messages(&fake, 1), messages(&fake, 2));
    assert_eq!(second[..2], first[..]);
    assert_eq!((second.len(), &second[2]["content"], other.len()), (4, &json!("Noted."), 2));
}
