//! What the client sends to which kind of server, and how it reads the answers.

use crate::support::fake::{Fake, Kind, Reply, Then, delta};
use bestbox::outcome::{Finish, Tier};
use bestbox::text::llm::{Capabilities, ChatRequest, Client, Endpoint, LlmError, Message, Role, ScoreRequest};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const CHAT: &str = "/v1/chat/completions";

fn client(base_url: &str) -> Client {
    Client::new(Endpoint {
        tier: Tier::Light,
        base_url: base_url.to_owned(),
        model: None,
        key: None,
        connect_timeout: Duration::from_secs(2),
        timeout: Duration::from_secs(10),
    })
    .expect("client")
}

fn messages() -> Vec<Message> {
    [(Role::System, "Sort."), (Role::User, "One."), (Role::Assistant, "a"), (Role::User, "Two.")]
        .map(|(role, content)| Message { role, content: content.to_owned() })
        .into()
}

fn request(slot: u32) -> ChatRequest {
    ChatRequest {
        messages: messages(),
        max_tokens: 8,
        temperature: 0.0,
        grammar: Some("root ::= \"x\"".to_owned()),
        slot: Some(slot),
        timeout: None,
    }
}

#[tokio::test]
async fn extras_go_only_to_servers_that_know_them() {
    let never = CancellationToken::new();
    for (kind, suffix) in [(Kind::Llama, ""), (Kind::Llama, "/v1"), (Kind::OpenAi, "/v1/"), (Kind::OpenAi, "/")] {
        let fake = Fake::chat(kind, Reply::text("x")).await;
        let client = client(&format!("{}{suffix}", fake.base_url));
        for slot in [1, 2] {
            client.chat(&request(slot), &never).await.expect("chat");
        }
        let sent = fake.requests(CHAT);
        let [first, second] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(first.body["messages"][2], json!({"role": "assistant", "content": "a"}));
        assert_eq!((&first.body["max_tokens"], &first.body["temperature"]), (&json!(8), &json!(0.0)));
        let extras = ["grammar", "cache_prompt", "chat_template_kwargs", "id_slot"].map(|key| first.body.get(key));
        if kind == Kind::Llama {
            let expected = [json!("root ::= \"x\""), json!(true), json!({"enable_thinking": false}), json!(1)];
            assert_eq!(extras, [0, 1, 2, 3].map(|index| expected.get(index)));
            assert_eq!(second.body.get("id_slot"), None, "there are two slots");
            assert_eq!(first.body.get("model"), None);
        } else {
            assert_eq!(extras, [None; 4]);
            assert_eq!(first.body["model"], "fake-model");
        }
        let can = client.capabilities().await.expect("known");
        let llama = Capabilities {
            grammar: true,
            native: true,
            slots: 2,
            context: Some(2048),
            tools: None,
            model: Some("fake".to_owned()),
        };
        let openai = Capabilities { model: Some("fake-model".to_owned()), ..Capabilities::default() };
        assert_eq!(can, if kind == Kind::Llama { llama } else { openai });
    }
}

#[tokio::test]
async fn callers_share_one_probe_and_a_failed_one_is_forgotten() {
    let probes = |fake: &Fake| fake.requests("/props").len();
    let fake = Fake::chat(Kind::Llama, Reply::text("x")).await;
    let client_a = client(&fake.base_url);
    let asked = (0..8).map(|_| {
        let client = client_a.clone();
        tokio::spawn(async move { client.capabilities().await })
    });
    for task in asked.collect::<Vec<_>>() {
        assert!(task.await.expect("task").expect("capabilities").native);
    }
    assert_eq!(probes(&fake), 1);

    let fake = Fake::start(Kind::Llama, |count, request| {
        (request.path == "/props" && count == 0).then(|| {
            std::thread::sleep(Duration::from_millis(150));
            Reply::json(500, &json!({"error": {"message": "not now"}}))
        })
    })
    .await;
    let client = client(&fake.base_url);
    let (a, b, c) = tokio::join!(client.capabilities(), client.capabilities(), client.capabilities());
    for failed in [a, b, c] {
        assert!(matches!(failed, Err(LlmError::Status { status: 500, .. })), "{failed:?}");
    }
    assert_eq!(probes(&fake), 1, "they failed together");
    assert!(client.capabilities().await.expect("now").native);
    assert_eq!(probes(&fake), 2);
}

#[tokio::test]
async fn a_prober_that_gives_up_does_not_take_the_others_along() {
    let fake = Fake::start(Kind::Llama, |count, request| {
        (request.path == "/props" && count == 0).then(|| Reply { bytes: Vec::new(), then: Then::Hold })
    })
    .await;
    let client = client(&fake.base_url);
    let cancel = CancellationToken::new();
    let never = CancellationToken::new();
    let (quits, stays) = (request(0), request(1));
    let stop = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        cancel.cancel();
    };
    let (quit, stayed, ()) = tokio::join!(client.chat(&quits, &cancel), client.chat(&stays, &never), stop);
    assert!(matches!(quit, Err(LlmError::Cancelled)), "{quit:?}");
    assert_eq!(stayed.expect("goes on").text, "Z");
}

#[tokio::test]
async fn thinking_is_stripped_whole_and_in_pieces() {
    let never = CancellationToken::new();
    let plain = ChatRequest { grammar: None, ..request(0) };
    let thought = json!({"choices": [{"finish_reason": "length", "message":
        {"reasoning_content": "secret", "content": "<think>secret</think>\n\nYes."}}]});
    let fake = Fake::chat(Kind::OpenAi, Reply::json(200, &thought)).await;
    let whole = client(&fake.base_url).chat(&plain, &never).await.expect("chat");
    assert_eq!((whole.text.as_str(), whole.finish), ("Yes.", Finish::Length));

    let reasoning = json!({"choices": [{"delta": {"reasoning_content": "secret"}}]}).to_string();
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 7}}})
    .to_string();
    let stop = json!({"choices": [{"finish_reason": "stop", "delta": {}}]}).to_string();
    let pieces = ["<th", "ink>sec", "ret</thi", "nk>\n", "Yes", ", <b>."].map(delta);
    let mut events = vec![reasoning.as_str()];
    events.extend(pieces.iter().map(String::as_str));
    events.extend([stop.as_str(), usage.as_str(), "[DONE]"]);
    let fake = Fake::chat(Kind::OpenAi, Reply::events(&events)).await;
    let mut shown = Vec::new();
    let mut take = |piece: &str| shown.push(piece.to_owned());
    let streamed = client(&fake.base_url).chat_stream(&plain, &never, &mut take).await.expect("stream");
    assert_eq!((streamed.text.as_str(), streamed.finish), ("Yes, <b>.", Finish::Stop));
    assert_eq!(shown.concat(), "Yes, <b>.");
    let counts = (streamed.prompt_tokens, streamed.cached_tokens, streamed.generated_tokens);
    assert_eq!(counts, (Some(9), Some(7), Some(4)));
    assert_eq!(fake.requests(CHAT)[0].body["stream_options"], json!({"include_usage": true}));

    // A server that does not stream is as good.
    let fake = Fake::chat(Kind::OpenAi, Reply::json(200, &thought)).await;
    let mut shown = String::new();
    let once = client(&fake.base_url).chat_stream(&plain, &never, &mut |piece: &str| shown.push_str(piece)).await;
    assert_eq!((once.expect("stream").text, shown), ("Yes.".to_owned(), "Yes.".to_owned()));
}

#[tokio::test]
async fn label_masses_come_from_either_kind_of_server() {
    let never = CancellationToken::new();
    let listed: Vec<Value> = [("note", 0.5), (" note", 0.25), ("Note", 0.125), ("  note", 0.01), ("agent", 0.0625)]
        .iter()
        .map(|(token, probability)| json!({"token": token, "logprob": f64::ln(*probability)}))
        .collect();
    let ask = ScoreRequest {
        messages: messages(),
        labels: ["agent", "note", "quick"].map(str::to_owned).into(),
        slot: Some(1),
        timeout: None,
    };
    let native = json!({"tokens_evaluated": 30, "timings": {"cache_n": 20},
        "completion_probabilities": [{"top_logprobs": listed}]});
    let openai = json!({"usage": {"prompt_tokens": 30, "prompt_tokens_details": {"cached_tokens": 20}},
        "choices": [{"message": {"content": "note"}, "logprobs": {"content": [{"top_logprobs": listed}]}}]});
    for (kind, answer) in [(Kind::Llama, native), (Kind::OpenAi, openai)] {
        let fake = Fake::start(kind, move |_, request| match request.path.as_str() {
            "/apply-template" => Some(Reply::json(200, &json!({"prompt": "<s>the prompt"}))),
            "/completion" | CHAT => Some(Reply::json(200, &answer)),
            _ => None,
        })
        .await;
        let client = client(&fake.base_url);
        let scores = client.score(&ask, &never).await.expect("scores");
        let expected = [0.0625, 0.75, 0.0];
        let near = scores.mass.iter().zip(expected).all(|(mass, expected)| (mass - expected).abs() < 1e-12);
        assert!(near && scores.mass.len() == 3, "{scores:?}");
        assert_eq!((scores.prompt_tokens, scores.cached_tokens), (Some(30), Some(20)));
        if kind == Kind::Llama {
            let sent = &fake.requests("/completion")[0].body;
            assert_eq!(
                (&sent["prompt"], &sent["id_slot"], &sent["n_predict"]),
                (&json!("<s>the prompt"), &json!(1), &json!(1))
            );
            assert!(sent["n_probs"].as_u64().is_some_and(|n| n >= 100) && sent["post_sampling_probs"] == false);
        } else {
            let sent = &fake.requests(CHAT)[0].body;
            assert_eq!(
                (&sent["logprobs"], &sent["top_logprobs"], &sent["max_tokens"]),
                (&json!(true), &json!(20), &json!(1))
            );
            assert_eq!(client.count_tokens("hello").await.expect("asked"), None);
            assert_eq!(client.single_tokens(&ask.labels).await.expect("asked"), None);
        }
    }
    // A server that gives no probabilities is an error, not "no label".
    let fake = Fake::chat(Kind::OpenAi, Reply::text("note")).await;
    let error = client(&fake.base_url).score(&ask, &never).await.expect_err("no probabilities");
    assert!(matches!(error, LlmError::Garbage { .. }) && error.to_string().contains("probabilities"), "{error}");
}
