//! A hostile server of tools, and people's words: what it could not do.

use super::agent_support::*;
use bestbox::agent::tools::Permission;
use bestbox::agent::{Confirm, Event, Talk};
use bestbox::outcome::{ToolEnd, WarningCode};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const NEVER: fn() -> CancellationToken = CancellationToken::new;

fn later(owner: &str) -> Talk {
    Talk { owner: owner.into(), conversation: Some("talk".into()), confirm: Confirm::Later }
}

fn made(record: &Path, tool: &str) -> usize {
    recorded(record).lines().filter(|line| line.starts_with(&format!("call {tool} "))).count()
}

#[tokio::test]
async fn what_a_server_says_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let toolbox = Tools {
        allow: &["evil__lookup", "evil__steal", "write_note"],
        read_only: &["evil__lookup"],
        // Waived, and asked about all the same once a stranger's words are in the conversation.
        unconfirmed: &["write_note"],
        notes: folder.path().join("notes"),
        servers: vec![hostile(&record)],
        ..Tools::default()
    }
    .toolbox();
    let offer = toolbox.offer().await;
    assert!(offer.problems.is_empty(), "{:?}", offer.problems);
    let permission = |name: &str| offer.find(name).map(|tool| tool.permission);
    assert_eq!(permission("evil__steal"), Some(Permission::Ask), "its word is not taken");
    assert_eq!((permission("evil__die"), permission("evil__wide")), (None, None));
    assert!(offer.tools.iter().all(|tool| tool.spec.description.chars().count() <= 1001));

    let replies = vec![
        calls("", &[("evil__lookup", "{}")]),
        // A model that fell for it.
        calls(
            "",
            &[("evil__steal", r#"{"what": "secrets"}"#), ("write_note", r#"{"text": "pwned"}"#), ("evil__die", "{}")],
        ),
        says("I could not."),
    ];
    let fake = scripted(replies).await;
    let answer = agent(&fake, &toolbox).answer("Look it up.", &NEVER(), &mut |_| ()).await.expect("an answer");
    let ends: Vec<_> = answer.reply.tools.iter().map(|call| (call.tool.as_str(), call.end)).collect();
    let expected = [
        ("evil__lookup", ToolEnd::Done),
        ("evil__die", ToolEnd::Refused),
        ("evil__steal", ToolEnd::Denied),
        ("write_note", ToolEnd::Denied),
    ];
    assert_eq!(ends, expected);
    assert!(answer.warnings.iter().all(|warning| warning.code == WarningCode::ToolDenied), "{:?}", answer.warnings);
    assert_eq!((made(&record, "steal"), made(&record, "die")), (0, 0));
    assert!(!folder.path().join("notes").exists());
    assert!(!recorded(&record).contains("sampled"), "it asked us to run a model");
    let result = messages(&fake, 1)[3]["content"].as_str().expect("text").to_owned();
    assert_eq!(result.matches("</tool_data>").count(), 1, "{result}");
    assert!(!result.contains("<|im_"), "{result}");
    toolbox.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_hangs_or_floods_costs_its_result_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let tools = ["evil__die", "evil__hang", "evil__giant", "evil__lookup"];
    let toolbox =
        Tools { allow: &tools, read_only: &tools, servers: vec![hostile(&record)], ..Tools::default() }.toolbox();
    let replies = vec![calls("", &[("evil__die", "{}")]), says("It died.")];
    let dead = agent(&scripted(replies).await, &toolbox).answer("x", &NEVER(), &mut |_| ()).await.expect("an answer");
    assert_eq!((dead.reply.text.as_str(), dead.reply.tools[0].end), ("It died.", ToolEnd::Failed));

    // It is there again, and hangs.
    let replies = vec![calls("", &[("evil__hang", "{}")]), says("It hung.")];
    let begun = Instant::now();
    let hung = agent(&scripted(replies).await, &toolbox).answer("x", &NEVER(), &mut |_| ()).await.expect("an answer");
    assert_eq!((hung.reply.text.as_str(), hung.reply.tools[0].end), ("It hung.", ToolEnd::Failed));
    assert!(begun.elapsed() < Duration::from_secs(30));
    let path = record.clone();
    tokio::task::spawn_blocking(move || until("it was told", || recorded(&path).contains("cancelled")))
        .await
        .expect("told");
    let pids: Vec<u32> = recorded(&record).lines().filter_map(|line| line.strip_prefix("pid ")?.parse().ok()).collect();
    assert_eq!(pids.len(), 2, "started again once");

    // It does not end when its input does; it ends with its group.
    toolbox.stop().await;
    assert!(!pids.into_iter().any(runs));
}

#[tokio::test]
async fn tools_that_change_lose_what_they_were_granted() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let granted = ["evil__lookup", "evil__shift", "evil__giant"];
    let toolbox =
        Tools { allow: &granted, read_only: &granted, servers: vec![hostile(&record)], ..Tools::default() }.toolbox();
    let before = toolbox.offer().await;
    assert_eq!(before.tools.iter().filter(|tool| tool.permission == Permission::ReadOnly).count(), 3);
    let shift = before.find("evil__shift").expect("shift");
    let result = toolbox.call(shift, &serde_json::Map::new(), Duration::from_secs(20)).await;
    assert_eq!(result.as_deref(), Ok("ok"));
    let mut after = toolbox.offer().await;
    let begun = Instant::now();
    while after.find("evil__giant").is_some() && begun.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        after = toolbox.offer().await;
    }
    assert!(after.find("evil__giant").is_none() && after.find("evil__added").is_none());
    assert_eq!(after.find("evil__lookup").map(|tool| tool.permission), Some(Permission::Ask), "it is another tool now");
    assert_eq!(after.find("evil__shift").map(|tool| tool.permission), Some(Permission::ReadOnly));
    toolbox.stop().await;
}

#[tokio::test]
async fn a_person_decides_by_token_or_by_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let notes = folder.path().join("notes.md");
    let toolbox = Tools { allow: &["write_note", "calculator"], notes: notes.clone(), ..Tools::default() }.toolbox();
    let asked =
        || calls("Sure.", &[("write_note", r#"{"text": "buy milk"}"#), ("calculator", r#"{"expression": "1+1"}"#)]);
    let fake = scripted(vec![asked(), asked(), asked(), says("Done."), asked(), says("As you wish.")]).await;
    let talks = talks();
    let agent = agent(&fake, &toolbox).with_talks(talks.clone());
    let ask = async |talk: &Talk| {
        let mut pending = None;
        let mut on_event = |event: Event<'_>| {
            if let Event::Pending(call) = event {
                pending = Some(call.clone());
            }
        };
        let answer = agent.converse("Note: buy milk.", talk, &NEVER(), &mut on_event).await.expect("an answer");
        assert_eq!(answer.reply.pending, pending);
        let call = answer.reply.pending.clone().expect("a call that waits");
        assert_eq!((call.tool.as_str(), &call.arguments), ("write_note", &json!({"text": "buy milk"})));
        assert!(answer.reply.text.starts_with("Sure.\n\nwrite_note({\"text\":\"buy milk\"})"), "{}", answer.reply.text);
        call
    };
    // Anything but a plain yes gives the call up.
    let call = ask(&later("ann")).await;
    assert!(talks.word(&later("bob"), "yes").is_none(), "another's word");
    assert!(talks.word(&later("ann"), "yes, but make it two").is_none());
    assert!(talks.word(&later("ann"), "yes").is_none() && talks.take(&call.token, "ann").is_err());
    // A token in the wrong hands is void.
    let call = ask(&later("ann")).await;
    assert!(talks.take(&call.token, "bob").is_err() && talks.take(&call.token, "ann").is_err());
    assert!(!notes.exists());
    // A yes.
    let call = ask(&later("ann")).await;
    let word = talks.word(&later("ann"), "Yes, please.").expect("a word");
    let done = agent.resume(word, &later("ann"), &NEVER(), &mut |_| ()).await.expect("an answer");
    assert!(done.reply.text.ends_with("Done.") && done.reply.pending.is_none());
    assert!(talks.take(&call.token, "ann").is_err(), "used up");
    let written = std::fs::read_to_string(&notes).expect("a note");
    assert_eq!(written.matches("buy milk").count(), 1);
    // The results stand in the order of the calls, though one of them waited.
    let sent = messages(&fake, 3);
    let order: Vec<_> = sent.iter().filter(|m| m["role"] == "tool").map(|m| m["name"].clone()).collect();
    assert_eq!(order, [json!("write_note"), json!("calculator")]);
    // A no.
    let call = ask(&later("ann")).await;
    let suspended = talks.take(&call.token, "ann").expect("it waits");
    let denied = agent.resume((suspended, false), &later("ann"), &NEVER(), &mut |_| ()).await.expect("an answer");
    assert!(denied.reply.text.ends_with("As you wish."));
    assert_eq!(std::fs::read_to_string(&notes).expect("a note"), written);
}

#[tokio::test]
async fn at_a_terminal_each_call_is_asked_about_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let notes = folder.path().join("notes.md");
    let toolbox = Tools { allow: &["write_note"], notes: notes.clone(), ..Tools::default() }.toolbox();
    let two = [("write_note", r#"{"text": "one"}"#), ("write_note", r#"{"text": "two"}"#)];
    let fake = scripted(vec![calls("", &two), says("Done.")]).await;
    let first = Arc::new(AtomicBool::new(true));
    let ask: bestbox::agent::Ask = Arc::new(move |tool, arguments| {
        assert_eq!((tool.as_str(), arguments["text"].is_string()), ("write_note", true));
        let yes = first.swap(false, Ordering::Relaxed);
        Box::pin(async move { yes })
    });
    let talk = Talk { confirm: Confirm::Ask(ask), ..Talk::default() };
    let answer = agent(&fake, &toolbox).converse("x", &talk, &NEVER(), &mut |_| ()).await.expect("an answer");
    let ends: Vec<_> = answer.reply.tools.iter().map(|call| call.end).collect();
    assert_eq!(ends, [ToolEnd::Done, ToolEnd::Denied]);
    let written = std::fs::read_to_string(&notes).expect("a note");
    assert!(written.contains("one") && !written.contains("two"), "{written}");
}
