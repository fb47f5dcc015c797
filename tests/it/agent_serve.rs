//! Confirmation over HTTP, and the agent at the command line.

use super::agent_support::*;
use super::support::cli::bestbox;
use super::support::serve::serve;
use bestbox::outcome::{ToolEnd, WarningCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

struct Api {
    client: reqwest::Client,
    url: String,
    key: &'static str,
}

impl Api {
    async fn post(&self, path: &str, body: Value) -> (u16, String) {
        let asked = self.client.post(format!("{}{path}", self.url)).bearer_auth(self.key).json(&body);
        let answer = asked.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    async fn json(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, text) = self.post(path, body).await;
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    async fn confirm(&self, token: &Value, approve: bool) -> (u16, Value) {
        self.json("/v1/agent/confirm", json!({"token": token, "approve": approve})).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_confirmed_over_http() {
    let folder = tempfile::tempdir().expect("a folder");
    let notes = folder.path().join("notes.md");
    let asks = || calls("", &[("write_note", r#"{"text": "buy milk"}"#)]);
    let replies = vec![asks(), asks(), says("It is noted."), asks(), says("All right."), asks(), says("Spoken.")];
    let fake = scripted(replies).await;
    let key = |name: &str, key: &str| {
        let sha256: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{{name = \"{name}\", sha256 = \"{sha256}\"}}")
    };
    let setup = serve()
        .set("light.manage=false")
        .set("light.base_url=http://127.0.0.1:9")
        .set("heavy.manage=false")
        .set(&format!("heavy.base_url={}", fake.base_url))
        .set("agent.allow=[\"write_note\"]")
        .set(&format!("agent.notes={}", notes.display()))
        .set(&format!("serve.keys=[{}, {}]", key("ann", "bb_ann"), key("bob", "bb_bob")));
    let served = tokio::task::block_in_place(|| setup.start());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let api = |key| Api { client: reqwest::Client::new(), url: served.url.clone(), key };
    let (ann, bob) = (api("bb_ann"), api("bb_bob"));
    let ask = async || {
        let body = json!({"text": "Note: buy milk.", "route": "agent", "cleanup": "verbatim", "conversation": "c"});
        let (status, outcome) = ann.json("/v1/text", body).await;
        let pending = outcome["reply"]["pending"].clone();
        assert_eq!(
            (status, &pending["tool"], &pending["arguments"]),
            (200, &json!("write_note"), &json!({"text": "buy milk"}))
        );
        assert!(pending["token"].as_str().is_some_and(|token| token.len() >= 43) && pending["expires"].is_number());
        pending["token"].clone()
    };
    // In other hands it opens nothing, and is void.
    let token = ask().await;
    assert_eq!(bob.confirm(&token, true).await.0, 404);
    let (status, gone) = ann.confirm(&token, true).await;
    assert_eq!((status, &gone["error"]["code"]), (404, &json!("nothing_to_confirm")));
    assert!(!notes.exists());
    // In time, by whoever asked, once.
    let token = ask().await;
    let (status, outcome) = ann.confirm(&token, true).await;
    assert_eq!((status, &outcome["reply"]["text"]), (200, &json!("It is noted.")), "{outcome}");
    assert_eq!(outcome["reply"]["tools"][0]["end"], json!("done"));
    assert_eq!(ann.confirm(&token, true).await.0, 404);
    let written = std::fs::read_to_string(&notes).expect("a note");
    assert_eq!(written.matches("buy milk").count(), 1);
    // Refused, as events.
    let token = ask().await;
    let body = json!({"token": token, "approve": false, "stream": true});
    let (status, events) = ann.post("/v1/agent/confirm", body).await;
    assert_eq!(status, 200);
    assert!(
        events.contains("event: tool_result") && events.contains("\"denied\"") && events.contains("All right."),
        "{events}"
    );
    assert_eq!(std::fs::read_to_string(&notes).expect("a note"), written);
    // By word of mouth, in the same conversation.
    ask().await;
    let yes = json!({"text": "Yes.", "route": "agent", "cleanup": "verbatim", "conversation": "c", "stream": true});
    let (_, events) = ann.post("/v1/text", yes).await;
    assert!(events.contains("event: tool_call") && events.contains("Spoken."), "{events}");
    assert_eq!(std::fs::read_to_string(&notes).expect("a note").matches("buy milk").count(), 2);
    // Nonsense.
    for body in [
        json!({}),
        json!({"token": "x"}),
        json!({"token": "x", "approve": "yes"}),
        json!({"token": 1, "approve": true}),
    ] {
        assert!(matches!(ann.post("/v1/agent/confirm", body).await.0, 400 | 422));
    }
    assert_eq!(ann.confirm(&json!("x"), true).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_command_line_nobody_confirms_without_a_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("meeting.txt"), "We agreed on the blue tiles.").expect("written");
    let both = [("search_transcripts", r#"{"query": "blue tiles"}"#), ("write_note", r#"{"text": "pwned"}"#)];
    let fake = scripted(vec![calls("", &both), says("You agreed on blue.")]).await;
    let notes = folder.path().join("notes.md");
    let config = format!(
        "profile = \"tiny\"\n[heavy]\nmanage = false\nbase_url = \"{}\"\n[agent]\nallow = [\"search_transcripts\", \"write_note\"]\n\
         notes = \"{}\"\ntranscripts = [\"{}\"]\n[dictate]\ndata_dir = \"{}\"\n",
        fake.base_url,
        notes.display(),
        folder.path().display(),
        folder.path().join("dictate").display(),
    );
    let ran = tokio::task::spawn_blocking(move || {
        bestbox(["text", "--route", "agent", "--cleanup", "verbatim", "--format", "json"])
            .file("bestbox.toml", &config)
            .stdin("What did we agree on?")
            .run()
    });
    let outcome = ran.await.expect("it ran").ok().outcome();
    let reply = outcome.reply.expect("a reply");
    assert_eq!(reply.text, "You agreed on blue.");
    assert_eq!(reply.tools.iter().map(|call| call.end).collect::<Vec<_>>(), [ToolEnd::Done, ToolEnd::Denied]);
    let denied = outcome.warnings.iter().find(|warning| warning.code == WarningCode::ToolDenied).expect("a warning");
    assert!(denied.message.contains("no terminal"), "{}", denied.message);
    assert!(!notes.exists());
    let result = messages(&fake, 1)[3]["content"].as_str().expect("text").to_owned();
    assert!(result.contains("meeting.txt: We agreed on the blue tiles."), "{result}");
}
